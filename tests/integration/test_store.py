"""The tables and what is promised of them, on a real PostgreSQL."""

from hashlib import sha256

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError, OperationalError

from argosy.settings import Settings
from argosy.store import migrate
from argosy.store.registered import SCHEMA
from argosy.store.tables import metadata


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
    migrate.upgrade(settings)
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


def test_a_session_that_was_ended_because_it_slept_is_a_database_that_was_away(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SET idle_in_transaction_session_timeout = '50ms'"))
        (pid,) = connection.execute(text("SELECT pg_backend_pid()")).one()
        with engine.connect() as other:
            ended = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
            while other.execute(ended, {"pid": pid}).scalar_one():
                other.rollback()
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))


def test_a_value_over_a_limit_is_no_database_that_is_away(engine: Engine) -> None:
    long = "".join(sha256(str(number).encode()).hexdigest() for number in range(500))
    with engine.begin() as connection, pytest.raises(DataError):
        connection.execute(text("INSERT INTO argosy.lease (name, epoch) VALUES (:name, 1)"), {"name": long})


def test_a_server_that_only_reads_is_away_and_its_connections_are_given_up(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
    with pytest.raises(OperationalError), engine.begin() as connection:
        connection.execute(text("DELETE FROM argosy.lease"))
    with engine.begin() as connection:  # another session, which would be the successor's
        connection.execute(text("DELETE FROM argosy.lease"))
