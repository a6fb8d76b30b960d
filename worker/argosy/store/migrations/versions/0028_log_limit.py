"""kept logs say of which launch they are, so that a launch's can be counted"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.add_column("container_log", sa.Column("gid", sa.Uuid(), nullable=True), schema="argosy")


def downgrade() -> None:
    op.drop_column("container_log", "gid", schema="argosy")
