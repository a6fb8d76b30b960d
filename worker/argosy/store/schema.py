"""Which code runs on which schema.

The schema changes while processes of the release before still run, and processes of the new release may start before or after the change:
a release works on its own schema and on the next release's. Each migration names, as `serves`, the newest migration that code must know to
run after it; it is kept in the installation's row, so that older code, which cannot know a newer migration, can still read whether it may
run. A migration that takes away what older code uses raises it (worker/docs/migrations.md).
"""

from pathlib import Path

from psycopg.errors import InvalidSchemaName, UndefinedColumn, UndefinedFunction, UndefinedTable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from argosy.errors import NotConfigured
from argosy.store.database import away

MIGRATIONS = Path(__file__).parent / "migrations"

NEWEST = "0032"
"""The newest migration that this code knows. Migrations are numbered, so they compare as texts."""

LACKING = (InvalidSchemaName, UndefinedColumn, UndefinedFunction, UndefinedTable)
"""The driver's errors where a schema lacks what this code uses."""

# The revision of the schema, if there is any.
_REVISION = text("SELECT (SELECT version_num FROM argosy.alembic_version)")

# The newest migration that code must know.
_SERVES = text("SELECT serves FROM argosy.installation")


def check(engine: Engine) -> None:
    """See that this code may run on the schema.

    Raises:
        NotConfigured: It may not, or the database cannot be reached; the message says what to do.
    """
    try:
        with engine.connect() as connection:
            found = revision(connection)
            serves = connection.execute(_SERVES).scalar_one() if found >= NEWEST else ""
    except OperationalError as error:
        raise away(error) from error
    except ProgrammingError as error:
        raise NotConfigured(f"database: {error.orig}; grant it to the user in ARGOSY_DATABASE_URL") from error
    if found < NEWEST:
        has = f"schema is at {found}" if found else "the database has no argosy schema yet"
        raise NotConfigured(f"{has}, this argosy needs {NEWEST}: run argosy db upgrade")
    if serves > NEWEST:
        raise NotConfigured(
            f"schema is at {found}, it serves argosy that knows {serves} or newer, and this one knows {NEWEST}: "
            "run a newer argosy"
        )


def revision(connection: Connection) -> str:
    """The revision of the schema; empty if there is none yet."""
    try:
        return connection.execute(_REVISION).scalar_one() or ""
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedTable | InvalidSchemaName):
            raise
        connection.rollback()
        return ""
