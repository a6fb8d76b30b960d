"""finding jobs: which attempt stands for its job in lists"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
serves = "0015"

_AGE = """
CREATE FUNCTION argosy.age(gid uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT -(('x' || substr(gid::text, 16, 3) || substr(gid::text, 10, 4) || left(gid::text, 8))::bit(60)::bigint)
$$
"""

_LIST = """
CREATE FUNCTION argosy.list_attempts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE argosy.attempt a SET listed = (a.number = n.attempt AND NOT n.hidden) FROM new_job n JOIN old_job o ON o.uid = n.uid
    WHERE (n.attempt <> o.attempt OR n.hidden <> o.hidden) AND a.uid = n.uid AND a.listed <> (a.number = n.attempt AND NOT n.hidden);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.add_column("attempt", sa.Column("listed", sa.Boolean(), server_default="true", nullable=False), schema="argosy")
    op.execute(_AGE)
    op.execute(_LIST)
    op.execute(
        "CREATE TRIGGER list_attempts AFTER UPDATE ON argosy.job REFERENCING OLD TABLE AS old_job NEW TABLE AS new_job "
        "FOR EACH STATEMENT EXECUTE FUNCTION argosy.list_attempts()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER list_attempts ON argosy.job")
    op.execute("DROP FUNCTION argosy.list_attempts()")
    op.execute("DROP FUNCTION argosy.age(uuid)")
    op.drop_column("attempt", "listed", schema="argosy")
