"""the gateway's manifests and tokens"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _time(name: str, nullable: bool = True) -> sa.Column[Any]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "manifest",
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        _time("created_at", nullable=False),
        sa.PrimaryKeyConstraint("project", "digest", name=op.f("pk_manifest")),
        schema="argosy",
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("projects", ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("organizations", ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        _time("expires_at"),
        _time("revoked_at"),
        _time("created_at", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_token_digest")),
        schema="argosy",
    )


def downgrade() -> None:
    op.drop_table("api_token", schema="argosy")
    op.drop_table("manifest", schema="argosy")
