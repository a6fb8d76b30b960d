"""Launched jobs, brought into whichever state."""

from uuid import UUID

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.states import State
from argosy.store import claims, queue, tracking
from tests.support.certificates import PEM
from tests.support.launching import HELLO


@pytest.fixture
def stage(engine: Engine, settings: Settings) -> Launching:
    return Launching(engine, settings, RestMediaSource(settings))


@pytest.fixture
def registered(client: Client) -> Client:
    client.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", default=True)
    client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=1)
    client.register_algorithm(
        name="stubborn", project=1, user=7, manifest=HELLO, files_per_job=1, max_attempts=3, retry_backoff=7
    )
    return client


def launched(
    client: Client, stage: Launching, jobs: int = 3, algorithm: str = "hello", token: str | None = None
) -> UUID:
    gid = client.launch(algorithm, project=1, user=7, media_ids=range(1, jobs + 1), token=token).gid
    expand(stage, gid)
    return gid


def statuses(client: Client, gid: UUID) -> list[str]:
    return [job.status for job in client.list(gid=gid)]


def claim(engine: Engine, limit: int = 10) -> list[claims.Waiting]:
    with engine.begin() as connection:
        return claims.claim(
            connection, 1, "w", 20.0, limit, 60.0, lambda w: claims.Rendering(f"job-{w.uid}-{w.number}", "d")
        ).jobs


def record(engine: Engine, *outcomes: queue.Outcome) -> None:
    with engine.begin() as connection:
        queue.record(connection, outcomes)


def created(waiting: claims.Waiting) -> queue.Created:
    return queue.Created(waiting.uid, waiting.number, waiting.epoch, "name", "d", f"k-{waiting.uid}-{waiting.number}")


def end(engine: Engine, waiting: claims.Waiting, state: State) -> None:
    """As the tracker would write it."""
    k8s_uid = f"k-{waiting.uid}-{waiting.number}"
    change = tracking.Change(waiting.uid, waiting.number, 1, "name", state, k8s_uid, "why", "", None, None)
    with engine.begin() as connection:
        tracking.known(connection, [(waiting.uid, waiting.number)], 1)
        tracking.change(connection, [change])


def run(engine: Engine, state: State, limit: int = 10) -> list[claims.Waiting]:
    """Claim, create and end what is queued."""
    claimed = claim(engine, limit)
    record(engine, *(created(waiting) for waiting in claimed))
    for waiting in claimed:
        end(engine, waiting, state)
    return claimed
