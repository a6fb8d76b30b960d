"""An API server that hangs: whoever waits for it holds up nobody else, and no launch is worked on twice."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO, CurrentMessage, Retries
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlmodel import Session

from argosy import clusters
from argosy.client import Client
from argosy.kube.answers import Unclear
from argosy.launch.expand import Launching, expand, take
from argosy.launch.expander import Expander
from argosy.launch.media import RestMediaSource
from argosy.processes.wakeups import LAUNCH, WakeUps, broker
from argosy.processes.worker import Boot, declare
from argosy.settings import Settings
from argosy.store import launches, registry
from tests.faults.processes import Process
from tests.integration.api_server import ApiServer
from tests.support.certificates import PEM
from tests.support.launching import HELLO, api, stage
from tests.support.messages import request, send
from tests.support.queues import sql
from tests.support.readme import exported
from tests.support.stack import until

__all__ = ["api", "stage"]

TENANTS = 9


@pytest.fixture
def registered(client: Client) -> Client:
    """An algorithm for each tenant, on a cluster that refuses connections."""
    client.add_cluster(name="c", host="127.0.0.1", port=1, cert=PEM, token="t", default=True)
    for project in range(1, TENANTS + 1):
        client.register_algorithm(name=f"of-{project}", project=project, user=7, manifest=HELLO, files_per_job=1)
    return client


@pytest.fixture
def configured(settings: Settings, api: ApiServer, valkey: str) -> Settings:
    return settings.model_copy(update={"rest_url": api.url, "redis_url": SecretStr(valkey), "claim_lease": 2.0})


@contextmanager
def working(configured: Settings) -> Iterator[WakeUps]:
    """A real worker of two threads on an empty Redis."""
    boot = Boot(configured)
    made = broker(configured, [Retries(max_retries=0), CurrentMessage(), AsyncIO(), boot])
    made.client.flushall()
    declare(made, boot)
    worker = dramatiq.Worker(made, worker_threads=2, worker_timeout=100)
    worker.start()
    try:
        yield WakeUps(made)
    finally:
        worker.stop()


def row(engine: Engine, gid: object) -> Any:
    (found,) = sql(engine, "SELECT * FROM argosy.launch WHERE gid = :gid", gid=gid)
    return found


@pytest.mark.parametrize(("tenants", "asked"), [(1, 2), (8, 8)])
async def test_eight_launches_whose_media_query_hangs_hold_up_no_other_launch_and_no_submit(
    registered: Client, configured: Settings, engine: Engine, api: ApiServer, tenants: int, asked: int
) -> None:
    api.gate.clear()
    hanging = [
        registered.launch(f"of-{n % tenants + 1}", project=n % tenants + 1, user=7, media_query=f"x={n}").gid
        for n in range(8)
    ]
    with working(configured) as wakeups:
        for _ in range(3):
            for gid in hanging:
                wakeups.expand(gid)
        await until(lambda: len(api.asked), lambda count: count == asked, 10)
        message = request(project=TENANTS, algorithm_name=f"of-{TENANTS}", media_ids=[1, 2])
        send(wakeups._broker, LAUNCH, [message])
        await until(
            lambda: registered.launches(project=TENANTS), lambda all_: [x.state for x in all_] == ["expanded"], 10
        )
        asked_for = "SELECT open_tries FROM argosy.cluster"  # a submitter has tried it
        await until(lambda: sql(engine, asked_for), lambda rows: rows[0][0] > 0, 10)
        assert len(api.asked) == asked, "a launch was resolved twice, or a tenant had more than its part"
        assert {x.state for x in registered.launches() if x.gid in hanging} == {"accepted"}
        api.gate.set()


async def test_a_launch_that_is_being_resolved_is_left_alone_by_all_others_for_as_long_as_it_takes(
    registered: Client, configured: Settings, engine: Engine, api: ApiServer
) -> None:
    api.gate.clear()
    api.media = [1]
    gid = registered.launch("of-1", project=1, user=7).gid
    stage = Launching(engine, configured, RestMediaSource(configured), "w")
    expander = Expander(stage, lambda _: None)
    expander.start(gid)
    await until(lambda: len(api.asked), lambda count: count == 1, 10)
    first = row(engine, gid).next_try_at
    await until(lambda: row(engine, gid).next_try_at, lambda later: (later - first).total_seconds() > 2, 10)
    with engine.begin() as connection:
        assert launches.due(connection, 0) == []
    assert expand(stage, gid) == []
    assert (row(engine, gid).tries, row(engine, gid).claim_worker, len(api.asked)) == (1, "w", 1)
    api.gate.set()
    await until(lambda: row(engine, gid).state, lambda state: state == "expanded", 10)
    expander.stop()


def test_a_dead_workers_launch_is_found_again_and_what_it_still_writes_changes_nothing(
    registered: Client, stage: Launching, engine: Engine, api: ApiServer
) -> None:
    api.gate.clear()
    api.media = [1, 2, 3]
    gid = registered.launch("of-1", project=1, user=7).gid
    with ThreadPoolExecutor(1) as frozen:
        late = frozen.submit(expand, stage, gid)
        while not api.asked:
            assert not late.done()
        sql(engine, "UPDATE argosy.launch SET next_try_at = clock_timestamp()")  # its lease has run out
        with engine.begin() as connection:
            assert launches.due(connection, 0) == [gid]
        claimed = take(stage, gid)
        assert claimed is not None
        api.gate.set()
        assert late.result() == []
    assert (row(engine, gid).state, row(engine, gid).tries) == ("accepted", 2)
    with engine.begin() as connection:
        launches.release(connection, [claimed])
    assert expand(stage, gid)
    assert [job.media_ids for job in registered.list()] == [[1], [2], [3]]


async def test_a_worker_that_is_told_to_end_while_a_media_query_hangs_ends_and_hands_the_launch_back(
    registered: Client, configured: Settings, engine: Engine, api: ApiServer, tmp_path: Path
) -> None:
    api.gate.clear()
    gid = registered.launch("of-1", project=1, user=7, media_query="x=1").gid
    with broker(configured).client as redis:
        redis.flushall()
    environment = exported(
        configured, ARGOSY_REDIS_URL=configured.redis_url.get_secret_value(), ARGOSY_REST_URL=api.url
    )
    worker = Process(["worker", "--processes", "1", "--threads", "2"], environment, tmp_path)
    try:
        WakeUps(broker(configured)).expand(gid)
        await until(lambda: len(api.asked), lambda count: count == 1, 30)
        await worker.stopped()
    finally:
        worker.kill()
    found = row(engine, gid)
    assert (found.state, found.tries, found.claim_worker) == ("accepted", 0, None)
    with engine.begin() as connection:
        assert launches.due(connection, 0) == [gid]


def test_what_a_person_asks_of_a_cluster_ends_even_where_its_answers_do_not(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: a list that always has one page more held a thread for ever."""
    client.add_cluster(name="c", host="127.0.0.1", port=1, cert=PEM, token="t")
    monkeypatch.setattr(clusters, "_LONGEST", 0.05)
    with client.engine.connect() as connection, Session(connection) as session:
        row = registry.cluster(session, "c")
        with pytest.raises(Unclear, match="it goes on with the rest"):
            clusters._on(settings, row, lambda _: asyncio.Event().wait())
