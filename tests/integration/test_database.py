"""The database's connections: how they are addressed, and what it is called when there is none."""

import asyncio
from contextlib import ExitStack
from typing import cast

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, QueuePool, text
from sqlalchemy.exc import OperationalError

from argosy.client import Client
from argosy.errors import NotConfigured
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store import database, migrate
from tests.support.stack import Direct, until

SECRET = "a-password-that-must-not-come-out"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_POOL_TIMEOUT", 0.2)


def exhausted(engine: Engine, stack: ExitStack) -> None:
    """Every connection of its pool is in use."""
    for _ in range(cast(QueuePool, engine.pool).size() * 2):
        stack.enter_context(engine.connect())
    with pytest.raises(OperationalError, match="QueuePool limit"):
        engine.connect()


def test_a_pool_whose_connections_are_all_in_use_is_the_database_being_away(
    settings: Settings, impatient: None
) -> None:
    engine = database.engine(settings, pool_size=1)
    with ExitStack() as stack:
        exhausted(engine, stack)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


async def test_a_tracker_outlives_a_pool_whose_connections_are_all_in_use(settings: Settings, impatient: None) -> None:
    wakeups = Direct(settings)
    tracker = Tracker(wakeups.engine, settings.model_copy(update={"tracker_lease": 1.5}), wakeups)
    running = asyncio.create_task(tracker.run())
    first = tracker._renewed
    await until(lambda: tracker._renewed, lambda renewed: renewed > first)
    with ExitStack() as stack:
        await asyncio.to_thread(exhausted, wakeups.engine, stack)
        tried = tracker._renewed
        await asyncio.wait([running], timeout=2)
        assert not running.done()
        assert tracker._renewed == tried
    await until(lambda: tracker._renewed, lambda renewed: renewed > tried)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    wakeups.engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
async def test_a_database_address_means_the_same_to_everybody_however_its_scheme_is_written(
    settings: Settings, scheme: str
) -> None:
    _, _, rest = settings.database_url.get_secret_value().partition("://")
    there = settings.model_copy(update={"database_url": SecretStr(f"{scheme}://{rest}")})
    migrate.upgrade(there)
    client = Client(there)
    assert client.clusters() == []
    client.close()
    async with await database.listener(there) as connection:
        await connection.execute("LISTEN argosy_test")


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        SECRET,
        f"mysql://argosy:{SECRET}@127.0.0.1/argosy",
        f"postgresql+asyncpg://argosy:{SECRET}@127.0.0.1/argosy",
        f"postgresql://argosy:{SECRET}@127.0.0.1:port/argosy",
        f"postgresql://argosy:first@{SECRET}@127.0.0.1/argosy",
        f"postgresql://argosy:{SECRET}@127.0.0.1/argosy?no_such_option=1",
        f"//argosy:{SECRET}@127.0.0.1/argosy",
    ],
)
async def test_an_unusable_database_address_is_refused_by_everybody_and_not_repeated(
    settings: Settings, address: str
) -> None:
    there = settings.model_copy(update={"database_url": SecretStr(address)})
    for use in (Client, database.engine, migrate.upgrade):
        with pytest.raises(NotConfigured, match=r"^ARGOSY_DATABASE_URL: write postgresql://") as refused:
            use(there)
        assert SECRET not in str(refused.value)
    with pytest.raises(NotConfigured, match=r"^ARGOSY_DATABASE_URL: write postgresql://"):
        await database.listener(there)
