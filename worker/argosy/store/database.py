"""Engines.

Every session has time-outs: a process that is stopped inside a transaction (SIGSTOP, a paused VM) must not block others for longer than
`idle_in_transaction_session_timeout`, and nobody waits for a row lock for ever (P3). Every connection has keepalives: a host that loses
power does not close its connections, and without keepalives a client would wait for an answer for hours.

`OperationalError` means the same everywhere: the database cannot be reached at the moment, and a retry will work. A pool whose connections
are all in use raises it too.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    PoolProxiedConnection,
    QueuePool,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from argosy.errors import NotAllowed, NotConfigured
from argosy.metrics import DATABASE_ERRORS, DATABASE_SECONDS
from argosy.settings import Settings
from argosy.store.actor import actor

P = ParamSpec("P")
T = TypeVar("T")

_SESSION = {
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "tcp_user_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",  # compiling would take longer than any statement here runs
    # Our statements read few rows of large tables whose indexes are in memory. The default is for spinning disks: with it the planner would
    # read a whole table of a million jobs to count the queued ones.
    "random_page_cost": "1.1",
}

_CONNECTION = {
    "connect_timeout": 5,
    "application_name": "argosy",
    # A host counts as gone if it acknowledges neither data nor, while no data is sent, keepalive probes within 10 s.
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

_READS = "25006"
"""A server that only reads: a standby after a fail-over, or one whose provider found its disk full."""

_POOLED = (
    "ARGOSY_DATABASE_URL: a pooler between argosy and PostgreSQL gives each transaction another session, as PgBouncer does with "
    "pool_mode = transaction; argosy needs sessions of its own, for its time-outs and notices: set pool_mode = session, or write "
    "PostgreSQL's own address"
)


class _Pool(QueuePool):
    __module__ = QueuePool.__module__  # the name of its logger; so it logs no more than SQLAlchemy's own pool

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolExhausted as error:
            raise OperationalError(None, None, error) from error


async def transact(
    engine: Engine, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call a function with a connection, in a transaction of its own, in another thread."""

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
        NotConfigured: The address cannot be used. The first connection raises it too, if a pooler on the way shares sessions (PgBouncer).
    """
    made = create_engine(
        _url(settings),
        poolclass=_Pool,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text goes to the log, and parameters are what users gave
        pool_timeout=_POOL_TIMEOUT,
        connect_args=_CONNECTION,
    )
    event.listen(made, "handle_error", _sorted, retval=True)
    event.listen(made, "first_connect", lambda raw, _: _see_that_sessions_are_own(raw, settings))
    event.listen(made, "connect", lambda raw, _: _set_session(raw, _SESSION))
    event.listen(made, "begin", _tell_actor)
    event.listen(made, "before_cursor_execute", _begin)
    event.listen(made, "after_cursor_execute", _measure)
    return made


def migrator(settings: Settings, session: Mapping[str, str]) -> Engine:
    """An engine for migrations, with other time-outs. What it makes belongs to the schema's owner, if that is a role. Raises as `engine`.

    Args:
        settings: Where the database is.
        session: Parameters of each session.
    """
    made = create_engine(_url(settings), poolclass=NullPool, connect_args=_CONNECTION)
    event.listen(made, "first_connect", lambda raw, _: _see_that_sessions_are_own(raw, settings))
    event.listen(made, "connect", lambda raw, _: _set_session(raw, session, _BECOME_OWNER))
    event.listen(made, "handle_error", _sorted, retval=True)
    return made


async def listener(settings: Settings) -> psycopg.AsyncConnection[Any]:
    """A connection of its own to LISTEN on, in autocommit; the caller closes it. Raises psycopg's errors, and as `engine`."""
    return await psycopg.AsyncConnection.connect(autocommit=True, **_arguments(_url(settings)))


def _arguments(url: URL) -> dict[str, Any]:
    """Arguments with which psycopg connects to the engine's database; SQLAlchemy parses the address for both."""
    found: dict[str, Any] = PGDialect_psycopg().create_connect_args(url)[1]  # type: ignore[no-untyped-call]
    return found | _CONNECTION


def _url(settings: Settings) -> URL:
    """The database's address, with our driver. Accepts the other usual ways of writing the scheme."""
    try:
        url = make_url(settings.database_url.get_secret_value())
        # The rest of a password whose @ is not written %40 is taken for the beginning of the host, and shown with it.
        usable = url.drivername in {"postgres", "postgresql", "postgresql+psycopg"} and "@" not in (url.host or "")
        psycopg.conninfo.make_conninfo(**_arguments(url))
    except (ArgumentError, ValueError, psycopg.Error):
        usable = False
    if not usable:
        # The message does not contain the address: a password may be in it.
        raise NotConfigured(
            "ARGOSY_DATABASE_URL: write postgresql://user:password@host:port/database, special characters of the password as %XX"
        )
    return url.set(drivername="postgresql+psycopg")


def _set_session(raw: Any, parameters: Mapping[str, str], then: str = "") -> None:
    """Set the session's parameters. Not as startup options, because PgBouncer refuses or drops these."""
    raw.autocommit = True
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in parameters.items())
    raw.execute(f"SELECT {settings}")
    if then:
        raw.execute(then)
    raw.autocommit = False


# Its members make things in its name (store/roles.py), so that any of them can change these later.
_BECOME_OWNER = (
    "SELECT set_config('role', r.rolname, false) FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner "
    "WHERE n.nspname = 'argosy' AND r.rolname = 'argosy_owner' AND pg_has_role(r.oid, 'MEMBER')"
)


def _tell_actor(connection: Connection) -> None:
    """Tell the transaction who acts, for the events that it writes."""
    if who := actor():
        connection.execute(_ACTOR, {"who": who})


# Until the transaction ends.
_ACTOR = text("SELECT set_config('argosy.actor', :who, true)")


def _see_that_sessions_are_own(raw: Any, settings: Settings) -> None:
    """Refuse a pooler that shares sessions between clients.

    A pooler tells its clients a backend pid that differs from PostgreSQL's own. If it differs, two connections ask several times which
    backend serves them: a pooler that shares sessions serves both with the same backend, or one connection with several.

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


def away(error: OperationalError) -> NotConfigured:
    """The error of a person's command that needs a database which does not answer."""
    said = str(error.orig or error).partition("\n")[0].removeprefix("connection failed: ")
    return NotConfigured(f"database: {said}; check ARGOSY_DATABASE_URL, and that PostgreSQL answers there")


def denied(error: object) -> NotAllowed | None:
    """What a driver's error means, if it is that the user lacks a right; None if it means something else.

    Args:
        error: Of any driver: psycopg's own, or Django's, which has it as its cause.
    """
    for one in (error, getattr(error, "__cause__", None)):
        if getattr(one, "sqlstate", None) == "42501":
            return NotAllowed(f"database: {str(one).splitlines()[0]}; {_RIGHTS}")
    return None


_RIGHTS = (
    "the user in ARGOSY_DATABASE_URL lacks this right: members of argosy_caller launch and read, those of argosy_process do what processes "
    "and operators do, those of argosy_owner run argosy db upgrade; which rights these are: argosy db roles --sql"
)


def _sorted(context: ExceptionContext) -> DBAPIError | NotAllowed | None:
    """Change an error's class, so that `OperationalError` always means the same; those are counted. A right that is missing is no error of
    the driver's but one of ours.

    The driver takes its classes from the server's error codes, and some do not fit: a session that was ended by
    idle_in_transaction_session_timeout and a server that only reads are internal errors there, and a value over a limit (class 54) is an
    operational one. The connection to a server that only reads is given up, because the next one may lead to its successor.
    """
    if refused := denied(context.original_exception):
        return refused
    error, state = context.sqlalchemy_exception, getattr(context.original_exception, "sqlstate", None) or ""
    wanted = OperationalError if state in (*_SLEPT, _READS) else DataError if state.startswith("54") else None
    context.is_disconnect = context.is_disconnect or state == _READS
    if wanted is OperationalError or (wanted is None and isinstance(error, OperationalError)):
        DATABASE_ERRORS.inc()
    if wanted is None or not isinstance(error, StatementError):
        return None
    original = context.original_exception
    assert isinstance(original, Exception)  # noqa: S101 -- the driver raised it
    return wanted(error.statement, error.params, original, connection_invalidated=context.is_disconnect)


def _begin(connection: Connection, *_: object) -> None:
    connection.info["sent"] = time.perf_counter()


def _measure(connection: Connection, *_: object) -> None:
    DATABASE_SECONDS.observe(time.perf_counter() - connection.info["sent"])
