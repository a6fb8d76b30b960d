"""marks of clusters, holds, workflows that are to be read once more"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_IDENTITY = "identity <> '' AND removed_at IS NULL"


def _add(table: str, name: str, kind: Any, default: str | None = None) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=default is None), schema="argosy")


def upgrade() -> None:
    _add("attempt", "unread", sa.Boolean(), "false")
    op.create_index("ix_attempt_unread", "attempt", ["cluster_id"], schema="argosy", postgresql_where=sa.text("unread"))
    _add("cluster", "identity", sa.Text(), "")
    _add("cluster", "epoch", sa.BigInteger(), "0")
    _add("cluster", "beat_at", sa.DateTime(timezone=True))
    _add("cluster", "held_at", sa.DateTime(timezone=True))
    _add("cluster", "held_reason", sa.Text(), "")
    op.create_index(
        "uq_cluster_identity",
        "cluster",
        ["identity"],
        unique=True,
        schema="argosy",
        postgresql_where=sa.text(_IDENTITY),
    )


def downgrade() -> None:
    op.drop_index("uq_cluster_identity", "cluster", schema="argosy")
    for name in ("held_reason", "held_at", "beat_at", "epoch", "identity"):
        op.drop_column("cluster", name, schema="argosy")
    op.drop_index("ix_attempt_unread", "attempt", schema="argosy")
    op.drop_column("attempt", "unread", schema="argosy")
