"""The database's clock was set back, or its rows come from a server whose clock was ahead."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from argosy.access import Clusters
from argosy.client import Client
from argosy.processes.housekeeping import Housekeeping
from argosy.settings import Settings
from argosy.store import claims, clocks, launches, leases, processes
from argosy.store.database import transact
from tests.support.launching import registered
from tests.support.queues import fill, placement, sql
from tests.support.stack import Direct

__all__ = ["registered"]

AHEAD = "clock_timestamp() + interval '400 days'"


async def test_times_that_lie_ahead_after_the_clock_was_set_back_hold_nobody_up(
    registered: Client, engine: Engine, settings: Settings
) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    with engine.begin() as connection:
        where = placement(connection, 1)
        fill(connection, 2, 1, placement=where)
        fill(connection, 3, 1, placement=where, delay=60)
        claimed = claims.claim(
            connection, 1, "dead", 15.0, 1, 60.0, lambda job: claims.Rendering(f"job-{job.uid}-1", "")
        )
        assert len(claimed.jobs) == 1
        leases.acquire(connection, leases.of_cluster(1), "dead", 10.0)
        processes.renew(
            connection, id="d", kind="worker", host="h", pid=1, version="", revision="", trouble="", error="", error_age=None
        )  # fmt: skip
    sql(engine, f"UPDATE argosy.lease SET until = {AHEAD}")
    sql(engine, f"UPDATE argosy.launch SET next_try_at = {AHEAD}, woken_at = {AHEAD}")
    sql(engine, f"UPDATE argosy.attempt SET lease_until = {AHEAD}, quiet_at = {AHEAD} WHERE state = 'submitting'")
    sql(engine, f"UPDATE argosy.attempt SET not_before = {AHEAD} WHERE not_before IS NOT NULL")
    sql(engine, f"UPDATE argosy.cluster SET open_until = {AHEAD}")
    sql(engine, f"UPDATE argosy.process SET seen_at = {AHEAD}")

    with engine.begin() as connection:
        assert leases.acquire(connection, leases.of_cluster(1), "alive", 10.0) == 2
    housekeeping = Housekeeping(engine, settings, Clusters(engine, settings), Direct(settings))
    await housekeeping._see_clock()

    # What may still be on its way has its full time, and not much more.
    sooner = "clock_timestamp() + interval '11 minutes'"
    assert one(engine, f"SELECT bool_and(lease_until < {sooner} AND quiet_at < {sooner} AND quiet_at > now()) "
                       "FROM argosy.attempt WHERE state = 'submitting'")  # fmt: skip
    assert one(
        engine, f"SELECT next_try_at < {sooner} AND woken_at < now() FROM argosy.launch WHERE gid = :gid", gid=gid
    )
    assert one(engine, "SELECT bool_and(not_before < now() + interval '25 hours') FROM argosy.attempt")
    assert one(engine, "SELECT bool_and(open_until < now() + interval '25 hours') FROM argosy.cluster")
    assert one(engine, "SELECT bool_and(seen_at < now()) FROM argosy.process")
    assert await transact(engine, clocks.bring_back) == 0
    sql(
        engine,
        "UPDATE argosy.launch SET next_try_at = now() - interval '1 minute', woken_at = now() - interval '1 minute'",
    )
    assert gid in await transact(engine, launches.due, 3.0)


async def test_a_time_that_is_not_set_stays_so_where_another_of_its_row_is_brought_back(
    registered: Client, engine: Engine
) -> None:
    sql(engine, f"UPDATE argosy.cluster SET as_of = {AHEAD}")
    assert await transact(engine, clocks.bring_back) == 1
    assert one(
        engine, "SELECT open_until IS NULL AND slowed_at IS NULL AND as_of <= clock_timestamp() FROM argosy.cluster"
    )


def one(engine: Engine, statement: str, **values: UUID) -> Any:
    (row,) = sql(engine, statement, **values)
    return row[0]
