"""finding jobs: old attempts and hidden jobs are not listed; the index that finds and counts the others"""

from sqlalchemy import text

from argosy.store.migrations import steps

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    steps.in_batches(
        "UPDATE argosy.attempt a SET listed = false FROM (SELECT t.uid, t.number FROM argosy.attempt t JOIN argosy.job j ON j.uid = t.uid "
        "WHERE t.listed AND (j.hidden OR t.number <> j.attempt) LIMIT 5000) o WHERE a.uid = o.uid AND a.number = o.number"
    )
    steps.create_index(
        "ix_attempt_listed", "attempt", ["project", "state", text("argosy.age(gid)"), "gid", "uid"], where="listed"
    )


def downgrade() -> None:
    steps.drop_index("ix_attempt_listed")
