"""ends of a launch by an index; weights that virtual time can carry"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_attempt_gid", table_name="attempt", schema="argosy")
    op.create_index("ix_attempt_gid", "attempt", ["gid", "finished_at"], schema="argosy")
    op.execute("UPDATE argosy.project SET weight = 0.001 WHERE weight < 0.001")
    op.drop_constraint(op.f("ck_project_weight"), "project", schema="argosy")
    op.create_check_constraint(op.f("ck_project_weight"), "project", "weight >= 0.001", schema="argosy")
    # What a smaller weight has made of it: beyond 2^53 it moves no more. Whoever waits starts at the present then.
    op.execute("DELETE FROM argosy.turn WHERE tag > 1e12")
    op.execute("UPDATE argosy.cluster SET virtual_time = 0 WHERE virtual_time > 1e12")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_project_weight"), "project", schema="argosy")
    op.create_check_constraint(op.f("ck_project_weight"), "project", "weight > 0", schema="argosy")
    op.drop_index("ix_attempt_gid", table_name="attempt", schema="argosy")
    op.create_index("ix_attempt_gid", "attempt", ["gid"], schema="argosy")
