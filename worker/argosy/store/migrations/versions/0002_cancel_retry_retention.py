"""cancel, retry, retention"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATES = "state IN ('accepted', 'resolved', 'expanded', 'rejected'{})"
_RETRY_DUE = "retries_left > 0 AND state IN ('error', 'lost')"


def upgrade() -> None:
    for table in ("algorithm", "launch"):
        op.add_column(
            table, sa.Column("max_attempts", sa.Integer(), server_default="1", nullable=False), schema="argosy"
        )
        op.add_column(
            table, sa.Column("retry_backoff", sa.Float(), server_default="10", nullable=False), schema="argosy"
        )
    op.create_check_constraint(op.f("ck_algorithm_max_attempts"), "algorithm", "max_attempts >= 1", schema="argosy")
    for name in ("token_wiped", "hidden"):
        op.add_column("launch", sa.Column(name, sa.Boolean(), server_default="false", nullable=False), schema="argosy")
    op.drop_constraint(op.f("ck_launch_state"), "launch", schema="argosy")
    op.create_check_constraint(op.f("ck_launch_state"), "launch", _STATES.format(", 'cancelled'"), schema="argosy")
    op.create_index("ix_launch_created_at", "launch", ["created_at"], schema="argosy")
    op.add_column(
        "attempt", sa.Column("retries_left", sa.Integer(), server_default="0", nullable=False), schema="argosy"
    )
    op.add_column("attempt", sa.Column("quiet_at", sa.DateTime(timezone=True), nullable=True), schema="argosy")
    op.create_index(
        "ix_attempt_retry_due", "attempt", ["finished_at"], schema="argosy", postgresql_where=sa.text(_RETRY_DUE)
    )
    op.create_table(
        "early_cancel",
        sa.Column("gid", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default="false", nullable=False),
        sa.ForeignKeyConstraint(["gid"], ["argosy.launch.gid"], name=op.f("fk_early_cancel_gid"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("gid", "ordinal", name=op.f("pk_early_cancel")),
        schema="argosy",
    )


def downgrade() -> None:
    op.drop_table("early_cancel", schema="argosy")
    op.drop_index("ix_attempt_retry_due", table_name="attempt", schema="argosy")
    op.drop_column("attempt", "quiet_at", schema="argosy")
    op.drop_column("attempt", "retries_left", schema="argosy")
    op.drop_index("ix_launch_created_at", table_name="launch", schema="argosy")
    op.execute("UPDATE argosy.launch SET state = 'rejected', reason = 'cancelled' WHERE state = 'cancelled'")
    op.drop_constraint(op.f("ck_launch_state"), "launch", schema="argosy")
    op.create_check_constraint(op.f("ck_launch_state"), "launch", _STATES.format(""), schema="argosy")
    for name in ("hidden", "token_wiped"):
        op.drop_column("launch", name, schema="argosy")
    op.drop_constraint(op.f("ck_algorithm_max_attempts"), "algorithm", schema="argosy")
    for table in ("launch", "algorithm"):
        for name in ("retry_backoff", "max_attempts"):
            op.drop_column(table, name, schema="argosy")
