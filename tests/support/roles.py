"""Users of the database who may do only what a role may; what rights there are, and what a caller has none to."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
from sqlalchemy import LargeBinary, make_url

from argosy.client import Client
from argosy.settings import Settings
from argosy.store import migrate, roles
from argosy.store.requests import COLUMNS
from argosy.store.tables import metadata
from tests.support import databases

USERS = {"migrates": roles.OWNER, "works": roles.PROCESS, "calls": roles.CALLER}
"""Members of the roles, by their names."""


def give(settings: Settings) -> None:
    """Make the roles and their members on the server, and give them their rights in the database."""
    migrate.grant(settings)
    join(settings)


def join(settings: Settings) -> None:
    """Make members of the roles."""
    for user, role in USERS.items():
        databases.execute(
            settings.database_url.get_secret_value(),
            f"DO $$ BEGIN CREATE ROLE {user} LOGIN IN ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )


def of(settings: Settings, user: str) -> Settings:
    """The settings of a process that connects as another user."""
    url = make_url(settings.database_url.get_secret_value()).set(username=user, password=None)
    address = url.render_as_string(hide_password=False)
    return Settings.model_validate(settings.model_dump() | {"database_url": address})


RIGHTS = """
SELECT 'table', c.relname::text, a.attname::text, x.grantee::regrole::text, x.privilege_type FROM pg_class c
    LEFT JOIN pg_attribute a ON false CROSS JOIN aclexplode(c.relacl) x WHERE c.relnamespace = 'argosy'::regnamespace
UNION ALL SELECT 'column', c.relname::text, a.attname::text, x.grantee::regrole::text, x.privilege_type FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN aclexplode(a.attacl) x WHERE c.relnamespace = 'argosy'::regnamespace
UNION ALL SELECT 'function', p.oid::regprocedure::text, NULL, x.grantee::regrole::text, x.privilege_type FROM pg_proc p
    CROSS JOIN aclexplode(p.proacl) x WHERE p.pronamespace = 'argosy'::regnamespace
UNION ALL SELECT 'owner', c.relname::text, NULL, c.relowner::regrole::text, '' FROM pg_class c
    WHERE c.relnamespace = 'argosy'::regnamespace
ORDER BY 1, 2, 3, 4, 5
"""
"""Every right and every owner in the schema."""


def done(caller: Client) -> list[str]:
    """What a caller could do of all that it may not."""
    found = []
    with closing(caller.engine.raw_connection()) as connection:
        for statement in _forbidden():
            try:
                connection.cursor().execute(statement)
                found.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
            connection.rollback()
    return found


def _forbidden() -> Iterator[str]:
    """What a caller may not do, for each table and column as they are now."""
    written, tables = set(COLUMNS), [*metadata.tables.values()]
    for table in tables:
        yield f"DELETE FROM {table} WHERE false"
        yield f"TRUNCATE {table}"
        yield f"LOCK TABLE {table}"
        yield f"SELECT FROM {table} FOR KEY SHARE"
        for column in table.columns:
            yield f'UPDATE {table} SET "{column.name}" = "{column.name}" WHERE false'
            if table.name != "launch" or column.name not in written:
                yield f'INSERT INTO {table} ("{column.name}") SELECT NULL WHERE false'
            secret = isinstance(column.type, LargeBinary) or column.name in roles.READ.get(table.name, ())
            if secret or table.name not in roles.READ:
                yield f'SELECT "{column.name}" FROM {table} WHERE false'
    yield from (
        "CREATE TABLE argosy.mine (a int)",
        "CREATE FUNCTION argosy.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER mine AFTER INSERT ON argosy.launch FOR EACH ROW EXECUTE FUNCTION argosy.note_launch()",
        "ALTER TABLE argosy.launch ADD COLUMN mine int",
        "DROP TABLE argosy.turn",
        "DROP SCHEMA argosy CASCADE",
        "SELECT argosy.tell('*')",
        "UPDATE argosy.alembic_version SET version_num = '0001'",
        f"SET ROLE {roles.PROCESS}",
        f"SET ROLE {roles.OWNER}",
        f"GRANT {roles.PROCESS} TO calls",
        "CREATE ROLE mine",
    )
