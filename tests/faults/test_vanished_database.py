"""PostgreSQL's host vanishes without a word: no answer, no error, no acknowledgement. Everybody notices, in seconds."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from argosy.demo.embedded import free_ports
from argosy.errors import NotConfigured
from argosy.settings import Settings
from argosy.store import database, migrate, processes
from argosy.store.processes import API, TRACKER, WORKER
from tests.faults import vanishing
from tests.faults.processes import Fleet
from tests.support.readme import exported
from tests.support.stack import until

BOUND = 20
"""Seconds in which a connection must have been given up, a new one tried and refused."""

pytestmark = pytest.mark.skipif(bool(vanishing.unable()), reason=vanishing.unable())


@pytest.fixture
def host(postgres: str) -> Iterator[vanishing.Host]:
    with vanishing.host(str(Path(postgres.partition("host=")[2]) / ".s.PGSQL.5432")) as host:
        yield host


@pytest.fixture
def there(settings: Settings, host: vanishing.Host) -> Settings:
    """The database at an address that can vanish."""
    name = urlsplit(settings.database_url.get_secret_value()).path
    return settings.model_copy(update={"database_url": SecretStr(f"postgresql://postgres@{host.address}{name}")})


async def test_every_connection_notices_in_seconds_that_the_databases_host_has_vanished(
    settings: Settings, there: Settings, host: vanishing.Host
) -> None:
    """One that waits for an answer, one of the pool that asks something new, one that listens, one that migrates."""
    engine = database.engine(there)
    waiting, listening = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        with engine.connect() as connection:
            loop.call_soon_threadsafe(waiting.set)
            connection.execute(text("SELECT pg_sleep(50)"))

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    async def listen() -> None:
        async with await database.listener(there) as connection:
            await connection.execute("LISTEN argosy_test")
            listening.set()
            async for _ in connection.notifies():
                pass

    async def took(work: "asyncio.Future[Any]") -> float:
        with pytest.raises((OperationalError, NotConfigured, psycopg.OperationalError)):
            await asyncio.wait_for(work, 3 * BOUND)
        return time.monotonic() - vanished

    async def works() -> None:
        await asyncio.to_thread(ask)

    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as migrating:
        migrating.execute("SELECT pg_advisory_lock(hashtext('argosy migrations'))")
        migrator = asyncio.ensure_future(asyncio.to_thread(migrate.upgrade, there))
        sleeper = asyncio.ensure_future(asyncio.to_thread(wait))
        listener = asyncio.ensure_future(listen())
        await asyncio.wait_for(asyncio.gather(waiting.wait(), listening.wait()), 20)
        tries = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE '%pg_try_advisory%' AND pid <> pg_backend_pid()"
        )
        await until(lambda: migrating.execute(tries).fetchone(), (1,).__eq__)
        await works()  # and leaves its connection in the pool
        await asyncio.to_thread(host.vanish)
        vanished = time.monotonic()
        asker = asyncio.ensure_future(works())
        assert max(await asyncio.gather(*map(took, (migrator, sleeper, listener, asker)))) < BOUND
        await asyncio.to_thread(host.come_back)
        await works()
    engine.dispose()


async def test_no_process_is_ready_while_the_databases_host_has_vanished_and_all_live(
    there: Settings, host: vanishing.Host, valkey: str, tmp_path: Path, engine: Engine
) -> None:
    environment = exported(there, ARGOSY_REDIS_URL=valkey)
    with Fleet(environment, tmp_path) as fleet:
        fleets = [fleet.worker(), fleet.tracker(), fleet.command("api", "--port", str(free_ports(1)[0]))]
        for process in fleets:
            await process.probed("readyz", 200, 60)
        with engine.connect() as connection:
            assert {each.kind for each in processes.alive(connection)} == {WORKER, TRACKER, API}
        await asyncio.to_thread(host.vanish)
        vanished = time.monotonic()
        for process in fleets:
            assert "the database has not answered for" in await process.probed("readyz", 503, BOUND)
        assert time.monotonic() - vanished < BOUND
        for process in fleets:
            assert await process.probed("livez", 200) == "ok\n"
        await asyncio.to_thread(host.come_back)
        for process in fleets:
            await process.probed("readyz", 200, 60)
            await process.stopped()
        with engine.connect() as connection:
            assert processes.alive(connection) == []
