"""where a cluster's token comes from and when it ends, and the path of a proxied apiserver"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.add_column("cluster", sa.Column("path", sa.Text(), server_default="", nullable=False), schema="argosy")
    op.add_column("cluster", sa.Column("token_source", JSONB(), server_default="{}", nullable=False), schema="argosy")
    op.add_column("cluster", sa.Column("token_expires_at", sa.DateTime(timezone=True)), schema="argosy")


def downgrade() -> None:
    for name in ("token_expires_at", "token_source", "path"):
        op.drop_column("cluster", name, schema="argosy")
