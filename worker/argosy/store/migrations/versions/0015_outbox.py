"""the outbox: who is told how a launch ended"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.add_column("launch", sa.Column("webhook", sa.Text(), nullable=True), schema="argosy")
    op.add_column("launch", sa.Column("untold", sa.Boolean(), server_default="false", nullable=False), schema="argosy")
    op.create_index("ix_launch_untold", "launch", ["created_at"], schema="argosy", postgresql_where=sa.text("untold"))
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("open", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        _time("next_try_at"),
        _time("created_at"),
        _time("sent_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.ForeignKeyConstraint(["gid"], ["argosy.launch.gid"], name=op.f("fk_outbox_gid_launch"), ondelete="CASCADE"),
        sa.UniqueConstraint("gid", "key", "kind", "recipient", name=op.f("uq_outbox_gid_key_kind_recipient")),
        schema="argosy",
    )
    op.create_index("ix_outbox_open", "outbox", ["next_try_at"], schema="argosy", postgresql_where=sa.text("open"))


def downgrade() -> None:
    op.drop_table("outbox", schema="argosy")
    op.drop_index("ix_launch_untold", "launch", schema="argosy")
    for name in ("untold", "webhook"):
        op.drop_column("launch", name, schema="argosy")
