"""Engines and migrations.

Every session gives up by itself: a process that is stopped inside a transaction (SIGSTOP, a paused VM) must hold nobody up for longer
than `idle_in_transaction_session_timeout`, and nobody waits for a row lock for ever (design §5.3).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from argosy.errors import NotConfigured
from argosy.settings import Settings

SESSION = (
    "-c idle_in_transaction_session_timeout=10s -c lock_timeout=5s -c statement_timeout=60s "
    "-c tcp_user_timeout=10s -c timezone=UTC"
)


def engine(settings: Settings, pool_size: int = 5) -> Engine:
    """A pool of connections.

    Args:
        settings: Where the database is.
        pool_size: Connections kept; twice as many are opened under load.
    """
    return create_engine(
        settings.sqlalchemy_url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "options": SESSION, "application_name": "argosy"},
    )


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
