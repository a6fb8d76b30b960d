"""Two transactions that meet at a chosen point. No sleeps: one waits at a lock of the other, or at a gate that the test opens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

T = TypeVar("T")

_GATE = 4711
"""The advisory lock that a gated session waits for."""

# Without cost and leakproof, so that it is the first that is asked of each row.
_GATE_FUNCTION = f"""
CREATE FUNCTION argosy.gate(uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE LEAKPROOF COST 0.0001 AS $$
BEGIN
    IF current_setting('argosy.gated', true) = 'yes' THEN
        PERFORM pg_advisory_xact_lock_shared({_GATE});
    END IF;
    RETURN true;
END $$
"""

_GATED = (
    "CREATE VIEW argosy.attempt WITH (security_barrier) AS SELECT * FROM argosy.attempt_behind WHERE argosy.gate(uid)"
)


async def meanwhile(engine: Engine, first: Callable[[Connection], object], second: Callable[[], T]) -> T:
    """Leave the transaction of `first` open until `second`, in a thread, waits for it (or has ended without); then commit it."""
    with engine.begin() as connection:
        await asyncio.to_thread(first, connection)
        waiting = asyncio.create_task(asyncio.to_thread(second))
        await _stopped(engine, "wait_event_type = 'Lock'", waiting)
    return await waiting


@asynccontextmanager
async def with_old_eyes(engine: Engine, statement: Callable[[Connection], T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run something whose first look at the attempts has begun, and not yet come to a row, while the block does; it ends after the block.

    What the block commits, that look does not see: its snapshot is older.
    """
    with engine.begin() as connection:
        for part in (_GATE_FUNCTION, "ALTER TABLE argosy.attempt RENAME TO attempt_behind", _GATED):
            connection.exec_driver_sql(part)

    def look() -> T:
        with engine.begin() as connection:
            # Row by row, or an index would leave out those for which the gate is there.
            for plan in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
                connection.execute(text(f"SET LOCAL {plan} = off"))
            connection.execute(text("SET LOCAL argosy.gated = 'yes'"))
            return statement(connection)

    with engine.connect() as keeper:
        keeper.execute(text("SELECT pg_advisory_lock(:gate)"), {"gate": _GATE})
        keeper.commit()
        looking = asyncio.create_task(asyncio.to_thread(look))
        await _stopped(engine, "wait_event = 'advisory'", looking)
        assert not looking.done(), "it did not look at the attempts"
        yield looking
        keeper.execute(text("SELECT pg_advisory_unlock(:gate)"), {"gate": _GATE})
        keeper.commit()
    await looking


async def _stopped(engine: Engine, where: str, task: asyncio.Task[T]) -> None:
    def waits() -> bool:
        with engine.connect() as connection:
            query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {where}"
            return bool(connection.execute(text(query)).scalar_one())

    while not task.done() and not await asyncio.to_thread(waits):
        pass
