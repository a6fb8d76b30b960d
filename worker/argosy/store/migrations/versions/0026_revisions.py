"""retries with what is registered now: what they run in place of what their launch was frozen with"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
serves = "0015"


def upgrade() -> None:
    op.create_table(
        "revision",
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("algorithm_id", sa.Integer(), nullable=False),
        sa.Column("placement_id", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("extra_params", JSONB(), nullable=False),
        sa.Column("parameters", JSONB(), nullable=False),
        sa.Column("inputs_digest", sa.Text(), nullable=False),
        sa.Column("pending_deadline", sa.Float(), nullable=True),
        sa.Column("run_deadline", sa.Float(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("gid", "number", name=op.f("pk_revision")),
        sa.ForeignKeyConstraint(
            ["gid"], ["argosy.launch.gid"], name=op.f("fk_revision_gid_launch"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["placement_id"], ["argosy.placement.id"], name=op.f("fk_revision_placement_id_placement")
        ),
        schema="argosy",
    )
    op.create_index("ix_revision_inputs_digest", "revision", ["inputs_digest"], schema="argosy")
    op.add_column("attempt", sa.Column("revision", sa.Integer(), server_default="0", nullable=False), schema="argosy")
    op.add_column("launch", sa.Column("manifest_digest", sa.Text(), nullable=True), schema="argosy")


def downgrade() -> None:
    op.drop_column("launch", "manifest_digest", schema="argosy")
    op.drop_column("attempt", "revision", schema="argosy")
    op.drop_table("revision", schema="argosy")
