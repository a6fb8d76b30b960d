"""what a cluster's owner lets manifests do there"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cluster", sa.Column("policy", JSONB(), server_default="{}", nullable=False), schema="argosy")


def downgrade() -> None:
    op.drop_column("cluster", "policy", schema="argosy")
