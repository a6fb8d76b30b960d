"""which database server was seen last; workflows and Secrets that no row knows"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "installation", sa.Column("timeline", sa.BigInteger(), server_default="0", nullable=False), schema="argosy"
    )
    op.add_column("installation", sa.Column("doubted_at", sa.DateTime(timezone=True)), schema="argosy")
    op.create_table(
        "stray",
        sa.Column("cluster_id", sa.Integer(), sa.ForeignKey("argosy.cluster.id"), nullable=False),
        sa.Column("k8s_uid", sa.Text(), nullable=False),
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("gid", sa.Uuid()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "k8s_uid"),
        schema="argosy",
    )
    op.create_index("ix_stray_uid", "stray", ["uid"], schema="argosy")
    op.create_index("ix_stray_gid", "stray", ["gid"], schema="argosy")
    op.drop_constraint("fk_launch_secret_gid", "launch_secret", schema="argosy")


def downgrade() -> None:
    op.execute("DELETE FROM argosy.launch_secret s WHERE NOT EXISTS (SELECT FROM argosy.launch l WHERE l.gid = s.gid)")
    op.create_foreign_key(
        "fk_launch_secret_gid",
        "launch_secret",
        "launch",
        ["gid"],
        ["gid"],
        source_schema="argosy",
        referent_schema="argosy",
    )
    op.drop_table("stray", schema="argosy")
    op.drop_column("installation", "doubted_at", schema="argosy")
    op.drop_column("installation", "timeline", schema="argosy")
