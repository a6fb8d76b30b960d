"""Engines and migrations.

Every session gives up by itself: a process that is stopped inside a transaction (SIGSTOP, a paused VM) must hold nobody up for longer
than `idle_in_transaction_session_timeout`, and nobody waits for a row lock for ever (design §5.3).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, StatementError

from argosy.errors import NotConfigured
from argosy.settings import Settings

SESSION = (
    "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s -c statement_timeout=60s "
    "-c tcp_user_timeout=10s -c timezone=UTC -c jit=off "  # compiling takes longer than any statement here
    # What we ask for are few rows of tables that keep all that ever ran: their indexes are in memory, and the default, which is for a
    # disk's head, has the planner read a whole table of a million jobs to count the queued ones.
    "-c random_page_cost=1.1"
)


_SLEPT = ("25P03", "25P04")
"""idle_in_transaction_session_timeout and transaction_timeout."""


def engine(settings: Settings, pool_size: int = 5) -> Engine:
    """A pool of connections.

    Args:
        settings: Where the database is.
        pool_size: Connections kept; twice as many are opened under load.
    """
    made = create_engine(
        settings.sqlalchemy_url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "options": SESSION, "application_name": "argosy"},
    )
    event.listen(made, "handle_error", _sorted, retval=True)
    return made


def _sorted(context: ExceptionContext) -> DBAPIError | None:
    """So that `OperationalError` means one thing everywhere: the database was away, the same again will do.

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


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Bring the schema to a revision. Safe to run from several processes at once: they take turns.

    Raises:
        NotConfigured: The database cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    migrator = create_engine(settings.sqlalchemy_url, connect_args={"connect_timeout": 5})
    try:
        with migrator.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('argosy migrations'))"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except OperationalError as error:
        raise NotConfigured(f"database: {error.orig}; check ARGOSY_DATABASE_URL") from error
    finally:
        migrator.dispose()
