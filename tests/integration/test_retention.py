"""Forgetting: what goes, what stays, and that nothing forgotten can run again."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text

from argosy.client import Client
from argosy.errors import InvalidRequest
from argosy.launch.expand import Launching
from argosy.states import State
from argosy.store import retention, retries
from tests.integration.races import meanwhile, with_old_eyes
from tests.support.jobs import claim, launched, record, registered, run, stage, statuses
from tests.support.queues import sql

__all__ = ["registered", "stage"]

OLD = "00000000-9000-11ee-8de9-0242ac120002"


def aged(engine: Engine, gid: UUID, days: int) -> None:
    with engine.begin() as connection:
        for statement in (
            "UPDATE argosy.launch SET created_at = created_at - make_interval(days => :days) WHERE gid = :gid",
            "UPDATE argosy.attempt SET finished_at = finished_at - make_interval(days => :days) WHERE gid = :gid",
        ):
            connection.execute(text(statement), {"gid": gid, "days": days})


def forget(engine: Engine) -> int:
    total = 0
    while True:
        with engine.begin() as connection:
            count = retention.forget(connection, 90)
        if not count:
            return total
        total += count


def test_a_launch_that_ended_long_ago_goes_with_its_jobs_attempts_and_nodes_and_no_other(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    old, young, unfinished = (launched(registered, stage) for _ in range(3))
    run(engine, State.SUCCEEDED, 6)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO argosy.node (uid, attempt, node_id) SELECT uid, 1, 'n' FROM argosy.job"))
        connection.execute(
            text(
                "INSERT INTO argosy.container_log (uid, attempt, node_id, container, cut, text) "
                "SELECT uid, 1, 'n', 'main', false, '' FROM argosy.job"
            )
        )
    for gid, days in ((old, 91), (young, 89), (unfinished, 91)):
        aged(engine, gid, days)
    assert forget(engine) == 3 + 1
    assert {launch.gid for launch in registered.launches()} == {young, unfinished}
    with engine.connect() as connection:
        for table in ("job", "attempt", "node", "container_log"):
            assert connection.execute(text(f"SELECT count(*) FROM argosy.{table}")).scalar_one() == 6


def test_an_old_launch_with_one_job_that_ended_lately_stays_whole(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage)
    run(engine, State.FAILED)
    aged(engine, gid, 91)
    registered.retry(registered.list(gid=gid)[0].uid)
    run(engine, State.SUCCEEDED)
    assert forget(engine) == 0
    assert len(registered.list(gid=gid)) == 3


def test_a_launch_whose_secret_is_not_surely_gone_stays(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage)
    run(engine, State.SUCCEEDED)
    aged(engine, gid, 91)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO argosy.launch_secret (gid, cluster_id) VALUES (:gid, 1)"), {"gid": gid})
    assert forget(engine) == 0


def test_many_jobs_go_in_small_batches(
    registered: Client, stage: Launching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_JOBS", 2)
    gid = launched(registered, stage, 5)
    run(engine, State.SUCCEEDED)
    aged(engine, gid, 91)
    with engine.begin() as connection:
        assert retention.forget(connection, 90) == 2
    assert len(registered.list(gid=gid)) == 3
    assert forget(engine) == 3 + 1


def test_a_gid_from_before_the_window_is_refused_so_that_nothing_forgotten_runs_again(registered: Client) -> None:
    with pytest.raises(InvalidRequest, match="within the last 90 days"):
        registered.launch("hello", project=1, user=7, media_ids=[1], gid=OLD)
    assert registered.launches() == []


def test_a_gid_from_an_hour_ahead_of_its_launch_is_refused_as_long_as_that_launch_is_forgotten(
    registered: Client,
) -> None:
    """Launched 90 days and ten minutes ago and forgotten, by a clock that was 50 minutes ahead."""
    time = int(datetime.now(UTC).timestamp() * 1e7) + 0x01B21DD213814000 + (40 * 60 - 90 * 86_400) * 10**7
    gid = UUID(fields=(time & 0xFFFFFFFF, time >> 32 & 0xFFFF, time >> 48 & 0xFFF | 0x1000, 0x80, 1, 2))
    with pytest.raises(InvalidRequest, match="within the last 90 days"):
        registered.launch("hello", project=1, user=7, media_ids=[1], gid=gid)


def test_a_claim_of_what_was_forgotten_meanwhile_writes_nothing(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    from argosy.store import queue

    gid = launched(registered, stage, 1)
    (waiting,) = claim(engine)
    registered.cancel(gid)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM argosy.job"))
    record(engine, queue.Created(waiting.uid, 1, waiting.epoch, "name", "d", "k"))
    assert registered.list(gid=gid) == []


async def test_a_job_that_a_retry_queues_while_retention_looks_is_not_forgotten(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    (waiting,) = run(engine, State.FAILED)
    aged(engine, gid, 91)
    async with with_old_eyes(engine, lambda connection: retention.forget(connection, 90)) as forgetting:
        assert registered.retry(gid) == 1
    assert await forgetting == 0
    assert [job.status for job in registered.list(gid=gid)] == ["Queued"]
    assert [again.number for again in claim(engine)] == [waiting.number + 1]


async def test_a_job_that_is_followed_by_itself_while_retention_looks_is_not_forgotten(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, State.FAILED)
    aged(engine, gid, 91)
    sql(engine, "UPDATE argosy.attempt SET state = 'error', retries_left = 1")

    def follow(connection: Connection) -> None:
        assert retries.follow(connection) == 1

    def forget() -> int:
        with engine.begin() as connection:
            return retention.forget(connection, 90)

    assert await meanwhile(engine, follow, forget) == 0
    assert statuses(registered, gid) == ["Queued"]
