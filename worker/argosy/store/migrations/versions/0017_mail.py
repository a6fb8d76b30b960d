"""mails in the outbox"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
serves = "0016"


def upgrade() -> None:
    op.alter_column("outbox", "gid", nullable=True, schema="argosy")
    op.add_column("outbox", sa.Column("token_sealed", sa.LargeBinary(), nullable=True), schema="argosy")
    op.create_index(
        "ix_outbox_mail", "outbox", ["created_at"], schema="argosy", postgresql_where=sa.text("gid IS NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_outbox_mail", "outbox", schema="argosy")
    op.execute("DELETE FROM argosy.outbox WHERE gid IS NULL")
    op.drop_column("outbox", "token_sealed", schema="argosy")
    op.alter_column("outbox", "gid", nullable=False, schema="argosy")
