"""names of launches' Secrets that nobody can guess; those of launches that are here stay as they are"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("launch", sa.Column("secret_id", sa.Uuid(), nullable=True), schema="argosy")
    op.execute("UPDATE argosy.launch SET secret_id = gid")
    op.alter_column("launch", "secret_id", nullable=False, server_default=sa.text("gen_random_uuid()"), schema="argosy")


def downgrade() -> None:
    op.drop_column("launch", "secret_id", schema="argosy")
