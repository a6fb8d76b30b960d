"""What readers see, on a real PostgreSQL: pages of jobs against the same choice made over all rows, and the figures behind the gauges."""

from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.store import reading
from tests.integration.launching import cut
from tests.support.certificates import PEM
from tests.support.launching import HELLO

MEDIA = 40


@pytest.fixture
def stage(engine: Engine, settings: Settings) -> Launching:
    return Launching(engine, settings, RestMediaSource(settings))


@pytest.fixture
def registered(client: Client) -> Client:
    client.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", default=True)
    for project, files_per_job in ((1, 1), (2, 2), (3, 7)):
        client.register_algorithm(
            name=f"of-{project}", project=project, user=7, manifest=HELLO, files_per_job=files_per_job
        )
    return client


def launched(client: Client, random: Random) -> UUID:
    project = random.randint(1, 3)
    media_ids = random.choices(range(MEDIA), k=random.randint(1, 25))
    return client.launch(f"of-{project}", project=project, user=7, media_ids=media_ids).gid


def stored(engine: Engine) -> list[Any]:
    """All jobs in the order that is promised."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM argosy.job")).all()
    return sorted(rows, key=lambda row: (-row.created_at.timestamp(), row.gid.bytes, row.ordinal))


def spoil(engine: Engine, random: Random) -> None:
    """Some jobs are hidden, and some are forgotten already."""
    with engine.begin() as connection:
        for row in connection.execute(text("SELECT uid FROM argosy.job")).all():
            fate = random.random()
            if fate < 0.1:
                connection.execute(text("DELETE FROM argosy.job WHERE uid = :uid"), {"uid": row.uid})
            elif fate < 0.3:
                connection.execute(text("UPDATE argosy.job SET hidden = true WHERE uid = :uid"), {"uid": row.uid})


@pytest.mark.parametrize("seed", range(3))
def test_a_page_is_what_the_filter_leaves_newest_launch_first_in_the_order_of_batches(
    registered: Client, engine: Engine, stage: Launching, seed: int
) -> None:
    random = Random(seed)
    gids = [launched(registered, random) for _ in range(25)]
    for gid in gids[:15]:
        expand(stage, gid)
    spoil(engine, random)
    for gid in gids[15:20]:
        expand(stage, gid)
    rows = stored(engine)
    for _ in range(150):
        chosen: dict[str, Any] = {"hidden": random.random() < 0.3}
        for name, values in (("project", range(1, 5)), ("gid", gids), ("media_id", range(MEDIA + 2))):
            if random.random() < 0.4:
                chosen[name] = random.choice(values)
        limit, offset = random.choice((1, 3, 10, 1000)), random.choice((0, 0, 1, 7, 60))
        page = registered.list(**chosen, limit=limit, offset=offset)
        expected = [
            row
            for row in rows
            if (chosen["hidden"] or not row.hidden)
            and chosen.get("project") in {None, row.project}
            and chosen.get("gid") in {None, row.gid}
            and ("media_id" not in chosen or chosen["media_id"] in row.media_ids)
        ][offset : offset + limit]
        assert [(job.uid, job.media_ids) for job in page] == [(row.uid, row.media_ids) for row in expected], chosen


def test_launches_that_are_expanded_at_once_are_in_the_order_of_their_gids_and_not_mixed(
    registered: Client, engine: Engine, stage: Launching
) -> None:
    gids = [registered.launch("of-1", project=1, user=7, media_ids=range(3)).gid for _ in range(4)]
    resolve(stage, engine, gids)
    with engine.begin() as connection:
        for gid in sorted(gids):
            cut(connection, gid)
    jobs = registered.list(limit=1000)
    assert [job.gid for job in jobs] == [gid for gid in sorted(gids) for _ in range(3)]


def test_the_launch_whose_expansion_began_last_is_first(registered: Client, engine: Engine, stage: Launching) -> None:
    first, second = (registered.launch("of-1", project=1, user=7, media_ids=[1, 2]).gid for _ in range(2))
    resolve(stage, engine, [first, second])
    with engine.begin() as begun_first:
        begun_first.execute(text("SELECT now()"))
        with engine.begin() as begun_last:
            cut(begun_last, second)
        cut(begun_first, first)
    assert [job.gid for job in registered.list()] == [second, second, first, first]
    assert [row.gid for row in stored(engine)] == [second, second, first, first]


def resolve(stage: Launching, engine: Engine, gids: list[UUID]) -> None:
    """Freeze launches without cutting them: expand each, and take that back."""
    for gid in gids:
        expand(stage, gid)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM argosy.job"))
        connection.execute(text("UPDATE argosy.launch SET state = 'resolved', expanded_at = NULL, expanded_jobs = 0"))


def test_one_job_is_read_in_any_attempt_and_by_its_project_only(
    registered: Client, engine: Engine, stage: Launching
) -> None:
    launch = registered.launch("of-1", project=1, user=7, media_ids=[5, 6])
    expand(stage, launch.gid)
    registered.cancel(launch.gid)
    registered.retry(launch.gid)
    uid = launch.uids[1]
    with engine.connect() as connection:
        found = {
            attempt: reading.jobs(connection, reading.Filter(uid=uid, attempt=attempt), limit=1)
            for attempt in (None, 1, 2, 3)
        }
        others = reading.jobs(connection, reading.Filter(uid=uid, project=2), limit=1)
    seen = {attempt: [(job.uid, job.attempt, job.status) for job in jobs] for attempt, jobs in found.items()}
    newest = [(uid, 2, "Queued")]
    assert seen == {None: newest, 1: [(uid, 1, "Cancelled")], 2: newest, 3: []}
    assert others == []


def test_gauges_count_what_waits_for_its_time_too(registered: Client, engine: Engine, stage: Launching) -> None:
    expand(stage, registered.launch("of-1", project=1, user=7, media_ids=range(5)).gid)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE argosy.attempt SET not_before = clock_timestamp() + interval '1 hour', "
                "queued_at = clock_timestamp() - interval '1 minute' WHERE seq = (SELECT min(seq) FROM argosy.attempt)"
            )
        )
        states, queues = reading.jobs_by_state(connection), reading.queues(connection)
    assert states == {"queued": 5}
    ((name, (depth, oldest)),) = queues.items()
    assert (name, depth, oldest > 59) == ("c", 5, True)


def test_gauges_forget_what_ended_before_yesterday(registered: Client, engine: Engine, stage: Launching) -> None:
    launch = registered.launch("of-1", project=1, user=7, media_ids=range(5))
    expand(stage, launch.gid)
    registered.cancel(launch.gid)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE argosy.attempt SET finished_at = clock_timestamp() - interval '25 hours' "
                "WHERE seq = (SELECT min(seq) FROM argosy.attempt)"
            )
        )
        states, queues = reading.jobs_by_state(connection), reading.queues(connection)
    assert states == {"cancelled": 4, "queued": 0}
    assert queues == {"c": (0, 0.0)}
