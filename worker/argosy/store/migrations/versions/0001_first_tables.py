"""first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cluster",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("organization", sa.BigInteger(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("port", sa.Integer(), server_default="443", nullable=False),
        sa.Column("cert", sa.Text(), server_default="", nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("credential_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("namespace", sa.Text(), server_default="argosy", nullable=False),
        sa.Column("service_account", sa.Text(), nullable=True),
        sa.Column("is_default", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("finalizer", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("token_in_clear", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("max_active", sa.Integer(), server_default="500", nullable=False),
        sa.Column("health", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("health_message", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "health_since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kubernetes_version", sa.Text(), server_default="", nullable=False),
        sa.Column("argo_version", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
        schema="argosy",
    )
    op.create_index(
        "uq_cluster_default",
        "cluster",
        ["is_default"],
        unique=True,
        schema="argosy",
        postgresql_where=sa.text("is_default AND removed_at IS NULL"),
    )
    op.create_index(
        "uq_cluster_name",
        "cluster",
        ["name"],
        unique=True,
        schema="argosy",
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        schema="argosy",
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        schema="argosy",
    )
    op.create_table(
        "algorithm",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=True),
        sa.Column("files_per_job", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.Text(), server_default="", nullable=False),
        sa.Column("categories", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("files_per_job >= 1", name=op.f("ck_algorithm_files_per_job")),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_algorithm_cluster_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_algorithm")),
        sa.UniqueConstraint("name", name=op.f("uq_algorithm_name")),
        schema="argosy",
    )
    op.create_index(op.f("ix_algorithm_project"), "algorithm", ["project"], unique=False, schema="argosy")
    op.create_table(
        "launch",
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("algorithm_name", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("media_query", sa.Text(), nullable=True),
        sa.Column("media_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("extra_params", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("success_email", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("failure_email", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), server_default="accepted", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "next_try_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("algorithm_id", sa.Integer(), nullable=True),
        sa.Column("cluster_id", sa.Integer(), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.Column("parameters", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("files_per_job", sa.Integer(), nullable=True),
        sa.Column("jobs", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expanded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('accepted', 'resolved', 'expanded', 'rejected')", name=op.f("ck_launch_state")),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_launch_cluster_id")),
        sa.PrimaryKeyConstraint("gid", name=op.f("pk_launch")),
        schema="argosy",
    )
    op.create_index("ix_launch_project_created_at", "launch", ["project", "created_at"], unique=False, schema="argosy")
    op.create_index(
        "ix_launch_unexpanded",
        "launch",
        ["next_try_at"],
        unique=False,
        schema="argosy",
        postgresql_where=sa.text("state IN ('accepted', 'resolved')"),
    )
    op.create_table(
        "job",
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("media_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["gid"], ["argosy.launch.gid"], name=op.f("fk_job_gid")),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_job")),
        sa.UniqueConstraint("gid", "ordinal", name=op.f("uq_job_gid_ordinal")),
        schema="argosy",
    )
    op.create_index(
        "ix_job_project_created_at", "job", ["project", "created_at", "gid", "ordinal"], unique=False, schema="argosy"
    )
    op.create_table(
        "launch_secret",
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("deleting", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_launch_secret_cluster_id")),
        sa.ForeignKeyConstraint(["gid"], ["argosy.launch.gid"], name=op.f("fk_launch_secret_gid")),
        sa.PrimaryKeyConstraint("gid", "cluster_id", name=op.f("pk_launch_secret")),
        schema="argosy",
    )
    op.create_table(
        "attempt",
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("project", sa.BigInteger(), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("k8s_uid", sa.Text(), nullable=True),
        sa.Column("claim_worker", sa.Text(), nullable=True),
        sa.Column("claim_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("progress", sa.Text(), server_default="", nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("as_of", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint(
            "state IN ('cancelled', 'deleted', 'error', 'failed', 'lost', 'pending', 'queued', 'rejected', 'running', 'submitting', 'succeeded')",
            name=op.f("ck_attempt_state"),
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["argosy.cluster.id"], name=op.f("fk_attempt_cluster_id")),
        sa.ForeignKeyConstraint(["uid"], ["argosy.job.uid"], name=op.f("fk_attempt_uid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uid", "number", name=op.f("pk_attempt")),
        schema="argosy",
    )
    op.create_index(
        "ix_attempt_active",
        "attempt",
        ["cluster_id", "state"],
        unique=False,
        schema="argosy",
        postgresql_where=sa.text("state IN ('pending', 'running', 'submitting')"),
    )
    op.create_index(
        "ix_attempt_finished_at",
        "attempt",
        ["finished_at"],
        unique=False,
        schema="argosy",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index("ix_attempt_gid", "attempt", ["gid"], unique=False, schema="argosy")
    op.create_index(
        "ix_attempt_queue",
        "attempt",
        ["cluster_id", "seq"],
        unique=False,
        schema="argosy",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "node",
        sa.Column("uid", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), server_default="", nullable=False),
        sa.Column("type", sa.Text(), server_default="", nullable=False),
        sa.Column("phase", sa.Text(), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("children", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["uid", "attempt"],
            ["argosy.attempt.uid", "argosy.attempt.number"],
            name=op.f("fk_node_uid_attempt"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uid", "attempt", "node_id", name=op.f("pk_node")),
        schema="argosy",
    )

    op.execute("INSERT INTO argosy.installation (id) VALUES (left(replace(gen_random_uuid()::text, '-', ''), 12))")


def downgrade() -> None:
    op.drop_table("node", schema="argosy")
    op.drop_index(
        "ix_attempt_queue", table_name="attempt", schema="argosy", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index("ix_attempt_gid", table_name="attempt", schema="argosy")
    op.drop_index(
        "ix_attempt_finished_at",
        table_name="attempt",
        schema="argosy",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_attempt_active",
        table_name="attempt",
        schema="argosy",
        postgresql_where=sa.text("state IN ('pending', 'running', 'submitting')"),
    )
    op.drop_table("attempt", schema="argosy")
    op.drop_table("launch_secret", schema="argosy")
    op.drop_index("ix_job_project_created_at", table_name="job", schema="argosy")
    op.drop_table("job", schema="argosy")
    op.drop_index(
        "ix_launch_unexpanded",
        table_name="launch",
        schema="argosy",
        postgresql_where=sa.text("state IN ('accepted', 'resolved')"),
    )
    op.drop_index("ix_launch_project_created_at", table_name="launch", schema="argosy")
    op.drop_table("launch", schema="argosy")
    op.drop_index(op.f("ix_algorithm_project"), table_name="algorithm", schema="argosy")
    op.drop_table("algorithm", schema="argosy")
    op.drop_table("lease", schema="argosy")
    op.drop_table("installation", schema="argosy")
    op.drop_index(
        "uq_cluster_name", table_name="cluster", schema="argosy", postgresql_where=sa.text("removed_at IS NULL")
    )
    op.drop_index(
        "uq_cluster_default",
        table_name="cluster",
        schema="argosy",
        postgresql_where=sa.text("is_default AND removed_at IS NULL"),
    )
    op.drop_table("cluster", schema="argosy")
