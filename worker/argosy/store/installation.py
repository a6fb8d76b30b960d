"""The id of this installation. The first migration makes it at random, so that no two databases have the same one."""

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from argosy.errors import NotConfigured
from argosy.store.database import away

# The table has one row.
_IDENTITY = text("SELECT id FROM argosy.installation")


def identity(engine: Engine) -> str:
    """The installation's id, a label on all its objects.

    Raises:
        NotConfigured: The database cannot be reached, or has not been migrated.
    """
    try:
        with engine.connect() as connection:
            return str(connection.execute(_IDENTITY).scalar_one())
    except ProgrammingError as error:
        raise NotConfigured("the database has no argosy schema yet; run: argosy db upgrade") from error
    except OperationalError as error:
        raise away(error) from error
