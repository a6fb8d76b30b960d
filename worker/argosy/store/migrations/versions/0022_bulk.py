"""work on all jobs that a filter chooses"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.create_table(
        "bulk",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("chosen", JSONB(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("projects", ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("counts", JSONB(), nullable=False),
        sa.Column("begun", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk")),
        schema="argosy",
    )
    op.create_index("ix_bulk_created_at", "bulk", ["created_at"], schema="argosy")
    op.create_table(
        "bulk_item",
        sa.Column("bulk_id", sa.Uuid(), nullable=False),
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", "gid", "key", name=op.f("pk_bulk_item")),
        sa.ForeignKeyConstraint(
            ["bulk_id"], ["argosy.bulk.id"], name=op.f("fk_bulk_item_bulk_id_bulk"), ondelete="CASCADE"
        ),
        schema="argosy",
    )
    op.create_index(
        "ix_bulk_item_open",
        "bulk_item",
        ["bulk_id", "gid", "key"],
        schema="argosy",
        postgresql_where=sa.text("why IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("bulk_item", schema="argosy")
    op.drop_table("bulk", schema="argosy")
