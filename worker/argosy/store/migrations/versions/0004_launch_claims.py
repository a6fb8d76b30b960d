"""claims on launches, expansion in batches, gids that are no uids"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UNEXPANDED = "state IN ('accepted', 'resolved')"
_NODES = {
    "ix_launch_gid_node": "substring(uuid_send(gid) from 12 for 5)",
    "ix_launch_uids_node": "substring(sha256(uuid_send(gid)) from 4 for 5)",
}


def _index(column: str) -> None:
    op.drop_index("ix_launch_unexpanded", table_name="launch", schema="argosy")
    op.create_index("ix_launch_unexpanded", "launch", [column], schema="argosy", postgresql_where=sa.text(_UNEXPANDED))


def upgrade() -> None:
    # First a constant default, so that PostgreSQL does not rewrite the table, which contains all media.
    op.add_column(
        "launch",
        sa.Column("woken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        schema="argosy",
    )
    op.alter_column("launch", "woken_at", server_default=sa.text("clock_timestamp()"), schema="argosy")
    op.add_column("launch", sa.Column("claim_worker", sa.Text(), nullable=True), schema="argosy")
    for name in ("claim_epoch", "expanded_jobs"):
        op.add_column("launch", sa.Column(name, sa.Integer(), server_default="0", nullable=False), schema="argosy")
    op.execute("UPDATE argosy.launch SET expanded_jobs = jobs WHERE state = 'expanded'")
    _index("woken_at")
    for name, sql in _NODES.items():
        op.create_index(name, "launch", [sa.text(f"({sql})")], schema="argosy")


def downgrade() -> None:
    for name in _NODES:
        op.drop_index(name, table_name="launch", schema="argosy")
    _index("next_try_at")
    for name in ("expanded_jobs", "claim_epoch", "claim_worker", "woken_at"):
        op.drop_column("launch", name, schema="argosy")
