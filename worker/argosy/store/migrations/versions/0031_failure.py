"""the key of the group to which a failure belongs, as a function that an index may have"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
serves = "0015"

_FAILURE = """
CREATE FUNCTION argosy.failure(state text, exit_code integer, message text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT left(md5(state || coalesce('/' || exit_code::text, '') || '/' || argosy.alike(message)), 8)
$$
"""


def upgrade() -> None:
    op.execute(_FAILURE)


def downgrade() -> None:
    op.execute("DROP FUNCTION argosy.failure(text, integer, text)")
