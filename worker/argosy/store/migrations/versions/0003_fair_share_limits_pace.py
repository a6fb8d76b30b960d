"""fair share, limits, deadlines, pace, pausing, choice of clusters"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_READY = "state = 'queued' AND not_before IS NULL"
_DELAYED = "state = 'queued' AND not_before IS NOT NULL"
_QUEUED = "state = 'queued'"
_ACTIVE = "state IN ('pending', 'running', 'submitting')"


def _add(table: str, name: str, kind: Any, default: str | None = None, nullable: bool = True) -> None:
    op.add_column(table, sa.Column(name, kind, server_default=default, nullable=nullable), schema="argosy")


def _pause(table: str) -> None:
    _add(table, "paused_at", sa.DateTime(timezone=True))
    _add(table, "paused_reason", sa.Text(), "", False)


def _deadlines(table: str) -> None:
    _add(table, "pending_deadline", sa.Float())
    _add(table, "run_deadline", sa.Float())


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("weight", sa.Float(), server_default="1", nullable=False),
        sa.Column("max_queued", sa.Integer(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("weight > 0", name=op.f("ck_project_weight")),
        sa.CheckConstraint("max_queued >= 0", name=op.f("ck_project_max_queued")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        schema="argosy",
    )
    op.create_table(
        "project_limit",
        sa.Column("project", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("max_active", sa.Integer(), nullable=False),
        sa.CheckConstraint("max_active >= 0", name=op.f("ck_project_limit_max_active")),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_project_limit_cluster_id")),
        sa.PrimaryKeyConstraint("project", "cluster_id", name=op.f("pk_project_limit")),
        schema="argosy",
    )
    op.create_table(
        "placement",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cluster_ids", postgresql.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column("labels", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_placement")),
        sa.UniqueConstraint("cluster_ids", "labels", name=op.f("uq_placement_cluster_ids_labels")),
        schema="argosy",
    )
    op.create_table(
        "turn",
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("project", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_turn_cluster_id")),
        sa.PrimaryKeyConstraint("cluster_id", "project", "user_id", name=op.f("pk_turn")),
        schema="argosy",
    )
    _add("cluster", "labels", postgresql.JSONB(), "{}", False)
    _add("cluster", "project_max_active", sa.Integer())
    _deadlines("cluster")
    _add("cluster", "pace", sa.Boolean(), "true", False)
    _add("cluster", "pace_window", sa.Integer())
    _add("cluster", "slowed_at", sa.DateTime(timezone=True))
    _add("cluster", "open_until", sa.DateTime(timezone=True))
    _add("cluster", "open_reason", sa.Text(), "", False)
    _add("cluster", "open_tries", sa.Integer(), "0", False)
    _add("cluster", "virtual_time", sa.Float(), "0", False)
    _pause("cluster")
    _add("algorithm", "cluster_ids", postgresql.ARRAY(sa.Integer()), "{}", False)
    _add("algorithm", "cluster_labels", postgresql.JSONB(), "{}", False)
    _deadlines("algorithm")
    _pause("algorithm")
    _add("launch", "placement_id", sa.Integer())
    _add("launch", "priority", sa.Integer(), "0", False)
    _deadlines("launch")
    _add("attempt", "user_id", sa.BigInteger())
    _add("attempt", "algorithm_id", sa.Integer())
    _add("attempt", "priority", sa.Integer(), "0", False)
    _add("attempt", "placement_id", sa.Integer())
    _add("attempt", "run_deadline", sa.Float())
    _add("attempt", "began_at", sa.DateTime(timezone=True))
    _add("attempt", "stop_at", sa.DateTime(timezone=True))
    _add("attempt", "overdue", sa.Text(), "", False)
    op.execute(
        "INSERT INTO argosy.placement (cluster_ids) SELECT ARRAY[cluster_id] FROM argosy.attempt "
        "UNION SELECT ARRAY[cluster_id] FROM argosy.launch WHERE cluster_id IS NOT NULL"
    )
    op.execute(
        "UPDATE argosy.launch l SET placement_id = p.id FROM argosy.placement p WHERE p.cluster_ids = ARRAY[l.cluster_id]"
    )
    op.execute(
        "UPDATE argosy.attempt a SET placement_id = p.id, user_id = l.user_id, algorithm_id = l.algorithm_id "
        "FROM argosy.launch l, argosy.placement p WHERE l.gid = a.gid AND p.cluster_ids = ARRAY[a.cluster_id]"
    )
    for name in ("user_id", "algorithm_id", "placement_id"):
        op.alter_column("attempt", name, nullable=False, schema="argosy")
    op.alter_column("attempt", "cluster_id", nullable=True, schema="argosy")
    op.drop_column("launch", "cluster_id", schema="argosy")
    for table in ("launch", "attempt"):
        op.create_foreign_key(
            op.f(f"fk_{table}_placement_id"),
            table, "placement", ["placement_id"], ["id"],
            source_schema="argosy", referent_schema="argosy",
        )  # fmt: skip
    # Long lists are read and written much faster without compression. Readers page by the time of expansion.
    op.execute("ALTER TABLE argosy.launch ALTER COLUMN media_ids SET STORAGE EXTERNAL")
    op.execute(
        "UPDATE argosy.launch l SET expanded_at = j.created_at FROM (SELECT gid, min(created_at) AS created_at "
        "FROM argosy.job GROUP BY gid) j WHERE j.gid = l.gid"
    )
    for name, first in (("ix_launch_expanded_at", []), ("ix_launch_project_expanded_at", ["project"])):
        op.create_index(
            name,
            "launch",
            [*first, sa.text("expanded_at DESC"), "gid"],
            schema="argosy",
            postgresql_where=sa.text("expanded_at IS NOT NULL"),
        )
    op.drop_index("ix_job_project_created_at", table_name="job", schema="argosy")
    for name in ("queue", "active"):
        op.drop_index(f"ix_attempt_{name}", table_name="attempt", schema="argosy")
    op.create_index(
        "ix_attempt_queue",
        "attempt",
        ["placement_id", "project", "user_id", "algorithm_id", sa.text("priority DESC"), "seq"],
        schema="argosy",
        postgresql_where=sa.text(_READY),
    )
    op.create_index(
        "ix_attempt_delayed",
        "attempt",
        ["placement_id", "not_before"],
        schema="argosy",
        postgresql_where=sa.text(_DELAYED),
    )
    op.create_index(
        "ix_attempt_active",
        "attempt",
        ["cluster_id", "project", "user_id", "state"],
        schema="argosy",
        postgresql_where=sa.text(_ACTIVE),
    )
    op.create_index(
        "ix_attempt_stop_at",
        "attempt",
        ["cluster_id", "stop_at"],
        schema="argosy",
        postgresql_where=sa.text(f"stop_at IS NOT NULL AND {_ACTIVE}"),
    )


def downgrade() -> None:
    op.create_index("ix_job_project_created_at", "job", ["project", "created_at", "gid", "ordinal"], schema="argosy")
    for name in ("ix_launch_project_expanded_at", "ix_launch_expanded_at"):
        op.drop_index(name, table_name="launch", schema="argosy")
    op.execute("ALTER TABLE argosy.launch ALTER COLUMN media_ids SET STORAGE EXTENDED")
    for name in ("stop_at", "active", "delayed", "queue"):
        op.drop_index(f"ix_attempt_{name}", table_name="attempt", schema="argosy")
    _add("launch", "cluster_id", sa.Integer())
    op.create_foreign_key(
        op.f("fk_launch_cluster_id"), "launch", "cluster", ["cluster_id"], ["id"],
        source_schema="argosy", referent_schema="argosy",
    )  # fmt: skip
    op.execute(
        "UPDATE argosy.attempt a SET cluster_id = p.cluster_ids[1] FROM argosy.placement p "
        "WHERE p.id = a.placement_id AND a.cluster_id IS NULL"
    )
    op.execute(
        "UPDATE argosy.launch l SET cluster_id = p.cluster_ids[1] FROM argosy.placement p WHERE p.id = l.placement_id"
    )
    op.alter_column("attempt", "cluster_id", nullable=False, schema="argosy")
    dropped = {
        "attempt": "overdue stop_at began_at run_deadline placement_id priority algorithm_id user_id",
        "launch": "run_deadline pending_deadline priority placement_id",
        "algorithm": "paused_reason paused_at run_deadline pending_deadline cluster_labels cluster_ids",
        "cluster": "paused_reason paused_at virtual_time open_tries open_reason open_until slowed_at pace_window pace "
        "run_deadline pending_deadline project_max_active labels",
    }
    for table, names in dropped.items():
        for name in names.split():
            op.drop_column(table, name, schema="argosy")
    op.create_index(
        "ix_attempt_queue", "attempt", ["cluster_id", "seq"], schema="argosy", postgresql_where=sa.text(_QUEUED)
    )
    op.create_index(
        "ix_attempt_active", "attempt", ["cluster_id", "state"], schema="argosy", postgresql_where=sa.text(_ACTIVE)
    )
    for table in ("turn", "placement", "project_limit", "project"):
        op.drop_table(table, schema="argosy")
