"""an index of callers' mails, which retention looks for"""

from argosy.store.migrations.steps import create_index, drop_index

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    create_index("ix_outbox_mail", "outbox", ["created_at"], where="gid IS NULL")


def downgrade() -> None:
    drop_index("ix_outbox_mail")
