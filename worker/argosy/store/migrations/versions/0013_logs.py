"""the last lines of containers that failed"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cluster", sa.Column("logs", sa.Boolean(), server_default="true", nullable=False), schema="argosy")
    op.create_table(
        "container_log",
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("container", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("cut", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["uid", "attempt"],
            ["argosy.attempt.uid", "argosy.attempt.number"],
            name=op.f("fk_container_log_uid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uid", "attempt", "node_id", "container", name=op.f("pk_container_log")),
        schema="argosy",
    )


def downgrade() -> None:
    op.drop_table("container_log", schema="argosy")
    op.drop_column("cluster", "logs", schema="argosy")
