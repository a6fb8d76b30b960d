"""Leases on a real PostgreSQL: one holder at a time, and nobody waits for one who is frozen."""

import asyncio
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, text

from argosy.errors import Fenced
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store import leases
from tests.support.stack import Direct


def acquire(engine: Engine, holder: str, seconds: float = 20.0) -> int | None:
    with engine.begin() as connection:
        return leases.acquire(connection, "cluster/1", holder, seconds)


def expire(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.lease SET until = clock_timestamp() - interval '1s'"))


def test_a_lease_has_one_holder_until_it_runs_out_or_is_given_back(engine: Engine) -> None:
    assert (acquire(engine, "a"), acquire(engine, "b"), acquire(engine, "a")) == (1, None, 1)
    expire(engine)
    assert (acquire(engine, "b"), acquire(engine, "a")) == (2, None)
    with engine.begin() as connection:
        leases.release(connection, "cluster/1", "b")
    assert acquire(engine, "a") == 3


def test_a_former_holder_is_fenced_for_good(engine: Engine) -> None:
    acquire(engine, "a")
    expire(engine)
    acquire(engine, "b")
    with engine.begin() as connection, pytest.raises(Fenced):
        leases.fence(connection, "cluster/1", 1)


def test_a_take_over_does_not_happen_during_a_holders_transaction_and_does_not_wait_for_its_end(engine: Engine) -> None:
    acquire(engine, "a")
    with engine.begin() as writing:
        leases.fence(writing, "cluster/1", 1)
        expire(engine)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
            assert leases.acquire(connection, "cluster/1", "b", 20.0) is None
    assert acquire(engine, "b") == 2


def test_a_holder_renews_during_its_own_transactions(engine: Engine) -> None:
    acquire(engine, "a")
    with engine.begin() as writing:
        leases.fence(writing, "cluster/1", 1)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
            assert leases.acquire(connection, "cluster/1", "a", 20.0) == 1


async def test_a_tracker_that_ends_while_it_renews_gives_its_leases_back_and_takes_none_again(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups = Direct(settings)
    tracker = Tracker(wakeups.engine, settings, wakeups)
    renewing, go_on, renew = Event(), Event(), tracker._renew

    def slow() -> Any:
        renewing.set()
        go_on.wait(20)
        return renew()

    monkeypatch.setattr(tracker, "_renew", slow)
    running = asyncio.create_task(tracker.run())
    await asyncio.to_thread(renewing.wait, 20)
    running.cancel()
    asyncio.get_running_loop().call_later(0.2, go_on.set)
    await asyncio.gather(running, return_exceptions=True)
    await wakeups.clusters.close()
    await asyncio.to_thread(tracker._renewer.shutdown)
    with engine.connect() as connection:
        held = connection.execute(text("SELECT name FROM argosy.lease WHERE holder <> ''")).scalars().all()
    assert held == []
