"""indexes of a launch's kept logs, and of what each project has to tell"""

from argosy.store.migrations.steps import create_index, drop_index

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    create_index("ix_container_log_gid", "container_log", ["gid", "attempt"])
    create_index("ix_outbox_due", "outbox", ["kind", "project", "next_try_at", "id"], where="open")


def downgrade() -> None:
    drop_index("ix_outbox_due")
    drop_index("ix_container_log_gid")
