"""launches that leave out what is done, split failed batches, or wait for another one"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INPUTS = """
UPDATE argosy.launch l SET inputs_digest = encode(sha256(convert_to(concat_ws(E'\\n',
    encode(sha256(convert_to(manifest, 'UTF8')), 'hex'),
    (SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM (
        SELECT encode(sha256(convert_to(p ->> 0, 'UTF8')), 'hex') || encode(sha256(convert_to(p ->> 1, 'UTF8')), 'hex') AS line
        FROM jsonb_array_elements(l.parameters) p) q)
), 'UTF8')), 'hex') WHERE manifest IS NOT NULL AND inputs_digest IS NULL
"""


def upgrade() -> None:
    op.add_column(
        "launch", sa.Column("skip_done", sa.Boolean(), server_default="false", nullable=False), schema="argosy"
    )
    op.add_column("launch", sa.Column("skipped", sa.Integer(), server_default="0", nullable=False), schema="argosy")
    op.add_column("launch", sa.Column("inputs_digest", sa.Text(), nullable=True), schema="argosy")
    op.add_column("launch", sa.Column("parent_gid", sa.Uuid(), nullable=True), schema="argosy")
    op.add_column("launch", sa.Column("after_gid", sa.Uuid(), nullable=True), schema="argosy")
    op.add_column("launch", sa.Column("after_if", sa.Text(), server_default="ok", nullable=False), schema="argosy")
    for name in ("cancel_with", "waiting"):
        op.add_column("launch", sa.Column(name, sa.Boolean(), server_default="false", nullable=False), schema="argosy")
    op.execute(INPUTS)
    op.create_index(
        "ix_launch_inputs",
        "launch",
        ["project", "inputs_digest"],
        schema="argosy",
        postgresql_where=sa.text("inputs_digest IS NOT NULL"),
    )
    op.create_index(
        "ix_launch_parent",
        "launch",
        ["parent_gid"],
        schema="argosy",
        postgresql_where=sa.text("parent_gid IS NOT NULL"),
    )
    op.create_index("ix_launch_waiting", "launch", ["after_gid"], schema="argosy", postgresql_where=sa.text("waiting"))
    op.create_check_constraint(
        op.f("ck_launch_waiting"),
        "launch",
        "NOT waiting OR state = 'accepted' AND after_gid IS NOT NULL",
        schema="argosy",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_launch_waiting"), "launch", schema="argosy")
    op.drop_index("ix_launch_waiting", "launch", schema="argosy")
    op.drop_index("ix_launch_parent", "launch", schema="argosy")
    op.drop_index("ix_launch_inputs", "launch", schema="argosy")
    for column in (
        "waiting",
        "cancel_with",
        "after_if",
        "after_gid",
        "parent_gid",
        "inputs_digest",
        "skipped",
        "skip_done",
    ):
        op.drop_column("launch", column, schema="argosy")
