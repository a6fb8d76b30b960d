"""finding by cluster, failure, user, algorithm and parameter: indexes that have these"""

from sqlalchemy import text

from argosy.store.migrations.steps import create_index, drop_index

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None
serves = "0015"

_FAILED = "listed AND state IN ('deleted', 'error', 'failed', 'lost', 'rejected')"
_ALIKE = "argosy.failure(state, exit_code, message)"


def upgrade() -> None:
    create_index(
        "ix_attempt_found",
        "attempt",
        ["project", "state", text("argosy.age(gid)"), "gid", "uid", "cluster_id"],
        where="listed",
    )
    drop_index("ix_attempt_listed")
    create_index(
        "ix_attempt_alike",
        "attempt",
        [text(_ALIKE), "project", "state", text("argosy.age(gid)"), "gid", "uid"],
        where=_FAILED,
    )
    create_index("ix_launch_found", "launch", ["project", text("argosy.age(gid)"), "gid", "user_id", "algorithm_name"])
    create_index("ix_launch_parameters", "launch", [text("parameters jsonb_path_ops")], using="gin")


def downgrade() -> None:
    drop_index("ix_launch_parameters")
    drop_index("ix_launch_found")
    drop_index("ix_attempt_alike")
    create_index(
        "ix_attempt_listed", "attempt", ["project", "state", text("argosy.age(gid)"), "gid", "uid"], where="listed"
    )
    drop_index("ix_attempt_found")
