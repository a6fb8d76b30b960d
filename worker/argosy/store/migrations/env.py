"""Alembic's entry: migrations run on the connection that `database.upgrade` holds, inside its transaction."""

from alembic import context
from sqlalchemy import text

from argosy.store.registered import SCHEMA
from argosy.store.tables import metadata

connection = context.config.attributes["connection"]
connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
context.configure(connection=connection, target_metadata=metadata, version_table_schema=SCHEMA, include_schemas=True)
context.run_migrations()
