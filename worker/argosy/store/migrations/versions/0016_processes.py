"""which processes are alive, and which code may run on this schema"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
serves = "0015"


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=None if nullable else "")


def _time(name: str, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    op.create_table(
        "process",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        _time("started_at"),
        _time("seen_at"),
        _text("trouble"),
        _text("error"),
        _time("error_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
        schema="argosy",
    )
    op.add_column("installation", sa.Column("serves", sa.Text(), server_default="", nullable=False), schema="argosy")


def downgrade() -> None:
    op.drop_column("installation", "serves", schema="argosy")
    op.drop_table("process", schema="argosy")
