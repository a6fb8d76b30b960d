"""Alembic's entry: migrations run on the connection that `store/migrate.py` holds, each in a transaction of its own; without a connection
their SQL is only written out."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from sqlalchemy import text

from argosy.store.registered import SCHEMA
from argosy.store.tables import metadata

# What code may run on the schema, since there is a place for it.
_SERVES = text("UPDATE argosy.installation SET serves = :serves")

# Whoever owns the schema need not have the right to make one.
_EXISTS = text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema)")


def _note(ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]) -> None:
    """Note, in the migration's transaction, which code may run on the schema that it makes."""
    reached = step.destination_revisions
    serves = getattr(reached[0].module, "serves", None) if reached and isinstance(reached[0], Script) else None
    if serves is not None and ctx.connection is not None:
        ctx.connection.execute(_SERVES, {"serves": serves})


options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table_schema": SCHEMA,
    "include_schemas": True,
    "transaction_per_migration": True,
}
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", **options)
else:
    connection = context.config.attributes["connection"]
    if not connection.execute(_EXISTS, {"schema": SCHEMA}).scalar_one():
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    connection.commit()
    context.configure(connection=connection, on_version_apply=_note, **options)
with context.begin_transaction():
    context.run_migrations()
