"""a caller that may launch and read locks what it must through functions, and needs no right to change it"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
serves = "0015"

# The cap of a project, if it has one; other launches of the project then wait for this transaction. The row is written, not just locked.
_ROOM = """
CREATE FUNCTION argosy.room_of(bigint) RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
UPDATE argosy.project SET max_queued = max_queued WHERE id = $1 AND max_queued IS NOT NULL RETURNING max_queued
$$
"""

# Retention does not delete this launch of a project before this transaction ends.
_KEEP = """
CREATE FUNCTION argosy.keep_launch(uuid, bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT FROM argosy.launch WHERE gid = $1 AND project = $2 FOR KEY SHARE
$$
"""


def upgrade() -> None:
    op.execute(_ROOM)
    op.execute(_KEEP)


def downgrade() -> None:
    op.execute("DROP FUNCTION argosy.keep_launch(uuid, bigint)")
    op.execute("DROP FUNCTION argosy.room_of(bigint)")
