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
    # Reset virtual times that a smaller weight has made too large: beyond 2^53 a float does not grow by small steps any more. Tenants that
    # wait then start at the present time.
    op.execute("DELETE FROM argosy.turn WHERE tag > 1e12")
    op.execute("UPDATE argosy.cluster SET virtual_time = 0 WHERE virtual_time > 1e12")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_project_weight"), "project", schema="argosy")
    op.create_check_constraint(op.f("ck_project_weight"), "project", "weight > 0", schema="argosy")
    op.drop_index("ix_attempt_gid", table_name="attempt", schema="argosy")
    op.create_index("ix_attempt_gid", "attempt", ["gid"], schema="argosy")
