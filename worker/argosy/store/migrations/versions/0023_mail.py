"""mails in the outbox, of launches and of callers"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.alter_column("outbox", "gid", nullable=True, schema="argosy")
    op.add_column("outbox", sa.Column("token_sealed", sa.LargeBinary(), nullable=True), schema="argosy")


def downgrade() -> None:
    op.execute("DELETE FROM argosy.outbox WHERE gid IS NULL")
    op.drop_column("outbox", "token_sealed", schema="argosy")
    op.alter_column("outbox", "gid", nullable=False, schema="argosy")
