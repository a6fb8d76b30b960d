"""Engines and migrations.

Every session gives up by itself: a process that is stopped inside a transaction (SIGSTOP, a paused VM) must hold nobody up for longer
than `idle_in_transaction_session_timeout`, and nobody waits for a row lock for ever (P3). Every connection gives up by itself
too: a host that loses its power closes none, and without keepalives a client waits for its answer for hours.

`OperationalError` means one thing everywhere: the database is away, the same again will do. A pool whose connections are all in use is that
too.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from argosy.errors import NotConfigured
from argosy.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_SESSION = {
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "tcp_user_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",  # compiling takes longer than any statement here
    # What we ask for are few rows of tables that keep all that ever ran: their indexes are in memory, and the default, which is for a
    # disk's head, has the planner read a whole table of a million jobs to count the queued ones.
    "random_page_cost": "1.1",
}

_CONNECTION = {
    "connect_timeout": 5,
    "application_name": "argosy",
    # What was sent is acknowledged within 10 s, and while nothing is sent a probe is: else the host has vanished.
    "tcp_user_timeout": 10_000,
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

_POOL_TIMEOUT = 10.0
"""Seconds that a thread waits for a connection while all are in use."""

_SLEPT = ("25P03", "25P04")
"""idle_in_transaction_session_timeout and transaction_timeout."""

_POOLED = (
    "ARGOSY_DATABASE_URL: something between argosy and PostgreSQL, as PgBouncer does with pool_mode = transaction, gives each transaction "
    "another session; argosy's time-outs and notices need their own: set pool_mode = session, or write PostgreSQL's own address"
)


class _Pool(QueuePool):
    __module__ = QueuePool.__module__  # names its logger, which is then as quiet as SQLAlchemy's

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolExhausted as error:
            raise OperationalError(None, None, error) from error


async def transact(
    engine: Engine, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do something with a connection, in a transaction and a thread of its own."""

    def run() -> T:
        with engine.begin() as connection:
            return work(connection, *args, **kwargs)

    return await asyncio.to_thread(run)


def engine(settings: Settings, pool_size: int = 5) -> Engine:
    """A pool of connections.

    Args:
        settings: Where the database is.
        pool_size: Connections kept; twice as many are opened under load.

    Raises:
        NotConfigured: The address cannot be used. So does the first connection where sessions are shared on the way (PgBouncer).
    """
    made = create_engine(
        _url(settings),
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=_POOL_TIMEOUT,
        connect_args=_CONNECTION,
    )
    event.listen(made, "handle_error", _sorted, retval=True)
    event.listen(made, "first_connect", lambda raw, _: _see_that_sessions_are_own(raw, settings))
    event.listen(made, "connect", lambda raw, _: _set_session(raw))
    return made


async def listener(settings: Settings) -> psycopg.AsyncConnection[Any]:
    """A connection of its own to LISTEN on, in autocommit; the caller closes it. Raises psycopg's errors, and as `engine`."""
    return await psycopg.AsyncConnection.connect(autocommit=True, **_arguments(_url(settings)))


def _arguments(url: URL) -> dict[str, Any]:
    """How psycopg connects to where an engine does: one parser of addresses for both."""
    found: dict[str, Any] = PGDialect_psycopg().create_connect_args(url)[1]  # type: ignore[no-untyped-call]
    return found | _CONNECTION


def _url(settings: Settings) -> URL:
    """The database's address; what people write for the same thing, with this driver."""
    try:
        url = make_url(settings.database_url.get_secret_value())
        usable = url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}
        psycopg.conninfo.make_conninfo(**_arguments(url))
    except (ArgumentError, ValueError, psycopg.Error):
        usable = False
    if not usable:
        # The address itself is not told: a password may be in it.
        raise NotConfigured("ARGOSY_DATABASE_URL: write postgresql://user:password@host:port/database")
    return url.set(drivername="postgresql+psycopg")


def _set_session(raw: Any) -> None:
    """Not as startup options, which PgBouncer refuses or drops."""
    raw.autocommit = True
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items())
    raw.execute(f"SELECT {settings}")
    raw.autocommit = False


def _see_that_sessions_are_own(raw: Any, settings: Settings) -> None:
    """Refuse a pooler that shares sessions between clients.

    A pooler tells its clients an id of the backend that is not PostgreSQL's. Where there is one, two connections ask who serves them: one
    that shares sessions serves both by the same, or one of them by two, whichever way it picks.

    Raises:
        NotConfigured: It does.
    """

    def backend(connection: psycopg.Connection[Any]) -> int:
        row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
        return int(cast(tuple[int], row)[0])

    first = cast(psycopg.Connection[Any], raw)
    first.autocommit = True
    if backend(first) != first.info.backend_pid:
        with psycopg.connect(autocommit=True, **_arguments(_url(settings))) as second:
            seen = [(backend(first), backend(second), backend(second)) for _ in range(5)]
        if len(set(seen)) > 1 or len(set(seen[0])) != 2 or seen[0][1] != seen[0][2]:
            raise NotConfigured(_POOLED)
    first.autocommit = False


def _sorted(context: ExceptionContext) -> DBAPIError | None:
    """So that `OperationalError` means one thing.

    The driver's classes are the server's, and two are wrong for that: a session that was ended because it slept in its transaction is an
    internal error there, and a value over a limit (class 54) an operational one.
    """
    error, state = context.sqlalchemy_exception, getattr(context.original_exception, "sqlstate", None) or ""
    wanted = OperationalError if state in _SLEPT else DataError if state.startswith("54") else None
    if wanted is None or not isinstance(error, StatementError):
        return None
    original = context.original_exception
    assert isinstance(original, Exception)  # noqa: S101 -- the driver raised it
    return wanted(error.statement, error.params, original, connection_invalidated=context.is_disconnect)


# One migration at a time.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('argosy migrations'))")

# Where the schema is.
_REVISION = text("SELECT version_num FROM argosy.alembic_version")


def upgrade(settings: Settings, revision: str = "head") -> str:
    """Bring the schema to a revision. Safe to run from several processes at once: they take turns.

    Returns:
        The revision that it is at afterwards: a newer one than was asked for stays.

    Raises:
        NotConfigured: The database cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    migrator = create_engine(_url(settings), connect_args=_CONNECTION)
    try:
        with migrator.begin() as connection:
            connection.execute(_ALONE)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            return str(connection.execute(_REVISION).scalar_one())
    except OperationalError as error:
        raise NotConfigured(f"database: {error.orig}; check ARGOSY_DATABASE_URL") from error
    finally:
        migrator.dispose()
