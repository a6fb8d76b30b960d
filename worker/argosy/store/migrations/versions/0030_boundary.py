"""which steps or DAG a node belongs to, so that steps nest as a person reads them"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.add_column("node", sa.Column("boundary", sa.Text(), server_default="", nullable=False), schema="argosy")


def downgrade() -> None:
    op.drop_column("node", "boundary", schema="argosy")
