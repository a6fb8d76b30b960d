"""Alembic's entry: each migration runs in a transaction of its own, on the connection that `database.upgrade` holds. What cannot be in a
transaction, such as an index that is built while others write, is in an `autocommit_block`."""

from alembic import context

from argosy.store.registered import SCHEMA
from argosy.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
