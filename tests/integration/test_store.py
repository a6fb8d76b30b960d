"""The tables and what is promised of them, on a real PostgreSQL."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from argosy.settings import Settings
from argosy.store import database
from argosy.store.tables import SCHEMA, metadata


def test_the_migrations_make_exactly_the_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": SCHEMA,
                "compare_server_default": True,
                "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_an_upgrade_of_an_upgraded_database_changes_nothing(settings: Settings, engine: Engine) -> None:
    with engine.connect() as connection:
        before = connection.execute(text("SELECT id FROM argosy.installation")).all()
    database.upgrade(settings)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM argosy.installation")).all() == before


def test_a_session_that_sleeps_in_a_transaction_is_ended(engine: Engine) -> None:
    with engine.connect() as connection:
        limits = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        }
    assert limits == {
        "idle_in_transaction_session_timeout": "10s",
        "lock_timeout": "5s",
        "statement_timeout": "1min",
    }
