"""Steps of migrations that take longer than a lock may be held. Each commits by itself and may be run again: an upgrade that was interrupted
runs the whole migration anew. So a migration that has such a step has no others (worker/docs/migrations.md; a test sees to it)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic import op
from sqlalchemy import TextClause, text

from argosy.store.migrate import LIMITS
from argosy.store.registered import SCHEMA

_PATIENT = {"lock_timeout": "10min", "statement_timeout": "2h"}
"""Nobody waits behind such a step, so that it may wait and take long."""


def create_index(
    name: str,
    table: str,
    columns: Sequence[str | TextClause],
    *,
    unique: bool = False,
    where: str | None = None,
    using: str | None = None,
) -> None:
    """Build an index while others write.

    Args:
        name: Of the index.
        table: Of the schema `argosy`.
        columns: Names, or expressions.
        unique: Whether no two rows may have the same.
        where: Only rows for which this holds.
        using: Its kind; a B-tree by default.
    """
    with _alone():
        # A build that was interrupted leaves an index that is kept up to date and never used.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {SCHEMA}.{name}")
        op.create_index(
            name,
            table,
            list(columns),
            schema=SCHEMA,
            unique=unique,
            postgresql_where=None if where is None else text(where),
            postgresql_using=using,
            postgresql_concurrently=True,
        )


def drop_index(name: str) -> None:
    """Drop an index while others read and write."""
    with _alone():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {SCHEMA}.{name}")


def validate(table: str, constraint: str) -> None:
    """Check all rows for a constraint that an earlier migration added as NOT VALID."""
    with _alone():
        op.execute(f"ALTER TABLE {SCHEMA}.{table} VALIDATE CONSTRAINT {constraint}")


def in_batches(statement: str) -> None:
    """Run an UPDATE or DELETE, which changes a bounded number of rows each time, until it changes none."""
    with _alone():
        context = op.get_context()
        if context.as_sql:
            op.execute(statement)
            return
        assert context.connection is not None  # noqa: S101 -- it runs on one
        while context.connection.execute(text(statement)).rowcount:
            pass


@contextmanager
def _alone() -> Iterator[None]:
    """Outside of a transaction, with time."""
    with op.get_context().autocommit_block():
        for name, value in _PATIENT.items():
            op.execute(f"SET {name} = '{value}'")
        yield
        for name in _PATIENT:
            op.execute(f"SET {name} = '{LIMITS[name]}'")
