"""The library for callers that await, on the connections that they use: a launch lives and dies with their own rows."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import asyncpg
import httpx
import psycopg
import psycopg2
import pytest
from fastapi import Depends, FastAPI
from psycopg.rows import dict_row
from psycopg2.extras import RealDictCursor
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from argosy.client import AsyncClient, Client, Launched
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from tests.support.launching import api, registered, stage

__all__ = ["api", "registered", "stage"]

LAUNCH: dict[str, Any] = {
    "algorithm_name": "hello", "project": 1, "user": 7, "media_ids": [2**40, 1, 5, 10], "priority": 3,
    "extra_params": [{"name": "threshold", "value": 0.5}], "token": "t",
    "success_email_spec": {"recipients": ["a@example.org"], "subject": "s", "text": "100 %s"},
}  # fmt: skip

Execute = Callable[[str], Awaitable[Any]]
Opened = tuple[Any, Execute]
"""A connection in a transaction that is committed at the end of the block, and how it runs a statement."""


@asynccontextmanager
async def of_psycopg(url: str) -> AsyncIterator[Opened]:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        yield connection, connection.execute


@asynccontextmanager
async def of_asyncpg(url: str) -> AsyncIterator[Opened]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection, connection.execute
    finally:
        await connection.close()


@asynccontextmanager
async def of_sqlalchemy(url: str, driver: str) -> AsyncIterator[Opened]:
    engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"), poolclass=NullPool)
    async with engine.begin() as connection:
        yield connection, lambda statement: connection.execute(text(statement))


@asynccontextmanager
async def of_a_session(url: str, driver: str) -> AsyncIterator[Opened]:
    engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        yield session, lambda statement: session.execute(text(statement))


WAYS: dict[str, Callable[[str], Any]] = {
    "psycopg": of_psycopg,
    "asyncpg": of_asyncpg,
    "sqlalchemy-psycopg": lambda url: of_sqlalchemy(url, "psycopg"),
    "sqlalchemy-asyncpg": lambda url: of_sqlalchemy(url, "asyncpg"),
    "session-psycopg": lambda url: of_a_session(url, "psycopg"),
    "session-asyncpg": lambda url: of_a_session(url, "asyncpg"),
}


@pytest.fixture
async def awaited(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(settings) as client:
        yield client


@pytest.mark.parametrize("way", WAYS)
async def test_a_launch_lives_and_dies_with_the_transaction_of_a_caller_that_awaits(
    awaited: AsyncClient, registered: Client, stage: Launching, settings: Settings, way: str
) -> None:
    url = settings.database_url.get_secret_value()
    with registered.engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id int)"))
    with suppress(ZeroDivisionError):
        async with WAYS[way](url) as (connection, _):
            await awaited.launch(**LAUNCH, connection=connection)
            raise ZeroDivisionError
    async with WAYS[way](url) as (connection, execute):
        await execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(NotFound, match="unknown algorithm 'helo'"):
            await awaited.launch(**LAUNCH | {"algorithm_name": "helo"}, connection=connection)
        launched = await awaited.launch(**LAUNCH, connection=connection)
        again = await awaited.launch(**LAUNCH | {"gid": launched.gid}, connection=connection)
        after = await awaited.launch(**LAUNCH | {"after": launched.gid}, connection=connection)
    assert (launched.new, again.new, again.uids) == (True, False, launched.uids)
    assert {launch.gid for launch in registered.launches()} == {launched.gid, after.gid}
    with registered.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM orders")).scalar_one() == 1
    expand(stage, launched.gid)
    assert [job.media_ids for job in await awaited.list(gid=launched.gid)] == [[2**40, 1, 5], [10]]
    assert (await awaited.get(launched.uids[1])).status == "Queued"
    assert [launch.reason for launch in await awaited.launches(gid=str(launched.gid))] == [""]


async def test_fastapi_launches_with_its_own_async_session(awaited: AsyncClient, registered: Client) -> None:
    engine = create_async_engine(registered.engine.url.set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as opened, opened.begin():
            yield opened

    @app.post("/orders", status_code=201)
    async def order(media_ids: list[int], own: Annotated[AsyncSession, Depends(session)]) -> Launched:
        return await awaited.launch("hello", project=1, user=7, media_ids=media_ids, connection=own)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/orders", json=[1, 2, 3, 4])
    (launch,) = await awaited.launches()
    assert (answer.status_code, answer.json()["gid"], len(answer.json()["uids"])) == (201, str(launch.gid), 2)


async def test_a_launch_that_is_cancelled_in_the_middle_leaves_its_callers_transaction_to_the_caller(
    awaited: AsyncClient, registered: Client, settings: Settings
) -> None:
    url = settings.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, poolclass=NullPool)

    async def launch() -> None:
        async with engine.begin() as connection:
            await awaited.launch(**LAUNCH, connection=connection)

    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with registered.engine.begin() as other:
        other.execute(text("LOCK TABLE argosy.launch"))
        launching = asyncio.create_task(launch())
        with registered.engine.connect() as looking:
            while not launching.done() and not looking.execute(waits).scalar_one():
                looking.rollback()
                await asyncio.sleep(0)
        launching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launching
    assert registered.launches() == []
    await launch()
    assert len(registered.launches()) == 1
    await engine.dispose()


async def test_without_a_connection_it_works_as_the_client_does(awaited: AsyncClient, registered: Client) -> None:
    launched = await awaited.launch(**LAUNCH)
    said = [said async for said in awaited.follow_logs([])]
    assert (said, (await awaited.cancel(launched.gid)).launches) == ([], 1)


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_in_autocommit_is_refused_in_words(
    awaited: AsyncClient, registered: Client, settings: Settings, way: str
) -> None:
    url = settings.database_url.get_secret_value()
    if way == "psycopg":
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            with pytest.raises(InvalidRequest, match="autocommit"):
                await awaited.launch(**LAUNCH, connection=connection)
    elif way == "asyncpg":
        connection = await asyncpg.connect(url)
        with pytest.raises(InvalidRequest, match="autocommit"):
            await awaited.launch(**LAUNCH, connection=connection)
        await connection.close()
    elif way.startswith("sqlalchemy"):
        address = registered.engine.url.set(drivername=f"postgresql+{way.partition('-')[2]}")
        engine = create_async_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with engine.connect() as opened:
            with pytest.raises(InvalidRequest, match="autocommit"):
                await awaited.launch(**LAUNCH, connection=opened)
    assert registered.launches() == []


async def test_the_wrong_client_for_a_connection_says_which_is_the_right_one(
    awaited: AsyncClient, registered: Client, settings: Settings
) -> None:
    url = settings.database_url.get_secret_value()
    for way in WAYS.values():
        async with way(url) as (connection, _):
            with pytest.raises(InvalidRequest, match=r"argosy\.client\.AsyncClient"):
                registered.launch(**LAUNCH, connection=connection)
    with registered.engine.connect() as connection, pytest.raises(InvalidRequest, match=r"argosy\.client\.Client"):
        await awaited.launch(**LAUNCH, connection=connection)
    closed = create_async_engine("postgresql+asyncpg://nobody@nowhere/none").connect()
    with pytest.raises(InvalidRequest, match="not open"):
        await awaited.launch(**LAUNCH, connection=closed)


def test_what_is_no_connection_to_postgresql_is_refused_in_words(registered: Client) -> None:
    with Session(create_engine("sqlite://")) as session, pytest.raises(InvalidRequest, match="one to sqlite"):
        registered.launch(**LAUNCH, connection=session)
    with pytest.raises(InvalidRequest, match="is Connection; launch takes a connection of psycopg"):
        registered.launch(**LAUNCH, connection=sqlite3.connect(":memory:"))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_how_the_caller_reads_its_own_rows_does_not_matter(registered: Client, settings: Settings, driver: str) -> None:
    url = settings.database_url.get_secret_value()
    opened: Any = (
        psycopg.connect(url, row_factory=dict_row)
        if driver == "psycopg"
        else psycopg2.connect(url, cursor_factory=RealDictCursor)
    )
    with opened as connection:
        launched = registered.launch(**LAUNCH, connection=connection)
    opened.close()
    assert [launch.gid for launch in registered.launches()] == [launched.gid]


def test_every_method_can_be_awaited() -> None:
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert {name for name in dir(AsyncClient) if not name.startswith("_")} == public
