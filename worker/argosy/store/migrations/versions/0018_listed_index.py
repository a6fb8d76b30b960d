"""finding jobs: old attempts and hidden jobs are not listed; the index that finds and counts the others"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
serves = "0015"

# The next jobs of which an attempt is not listed.
_NEXT = sa.text(
    "SELECT uid FROM argosy.job WHERE (hidden OR attempt > 1) AND uid > CAST(:last AS uuid) ORDER BY uid LIMIT 5000"
)

_UNLIST = sa.text(
    "UPDATE argosy.attempt a SET listed = false FROM argosy.job j WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND a.uid = j.uid "
    "AND a.listed AND (j.hidden OR a.number <> j.attempt)"
)


def upgrade() -> None:
    # Each statement by itself, so that nobody waits long; all of it can be done again if it was interrupted.
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        last = "00000000-0000-0000-0000-000000000000"
        while uids := list(connection.execute(_NEXT, {"last": last}).scalars()):
            connection.execute(_UNLIST, {"uids": uids})
            last = str(uids[-1])
        op.execute("SET lock_timeout = 0")  # it waits for the transactions of others, who do not wait for it
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS argosy.ix_attempt_listed")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_attempt_listed ON argosy.attempt (project, state, argosy.age(gid), gid, uid) WHERE listed"
        )
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.drop_index("ix_attempt_listed", "attempt", schema="argosy")
