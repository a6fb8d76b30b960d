"""Leases on a real PostgreSQL: one holder at a time, and nobody waits for one who is frozen."""

import pytest
from sqlalchemy import Engine, text

from argosy.errors import Fenced
from argosy.store import leases


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
