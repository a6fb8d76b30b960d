"""A cursor on whatever connection a caller has, so that a launch is written in the caller's transaction by the same statements.

Drivers differ in how they write parameters, and asynchronous ones have nothing that a function without `await` can call. SQLAlchemy's
greenlets solve that for its own drivers, and here for the others, so the code that writes a launch is there once (aio.py runs it in one).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import import_module
from itertools import count
from typing import Any, Protocol

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection, CursorResult
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from argosy.errors import InvalidRequest

_TAKES = (
    "launch takes a connection of psycopg, psycopg2, asyncpg or Django, or a connection or session of SQLAlchemy; to PostgreSQL, where "
    "argosy's tables are"
)


class Cursor(Protocol):
    """The part of a DB-API cursor that an insert needs; parameter style `%s`."""

    def execute(self, query: Any, params: Any = None, /) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """The next row, or None."""


class OwnCursor:
    """A cursor on SQLAlchemy's connection, whose errors are SQLAlchemy's and whose broken connections leave the pool.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbered = connection.dialect.paramstyle == "numeric_dollar"
        self._result: CursorResult[Any] | None = None

    def execute(self, query: Any, params: Any = None, /) -> Any:
        """Run one statement."""
        self._result = self._connection.exec_driver_sql(_numbered(query) if self._numbered else query, params)

    def fetchone(self) -> Any:
        """The next row, or None."""
        return None if self._result is None else self._result.fetchone()


class _PsycopgCursor:
    """A cursor on an asynchronous connection of psycopg, to be used in a greenlet."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._cursor = connection.cursor(row_factory=tuple_row)

    def execute(self, query: Any, params: Any = None, /) -> Any:
        await_only(self._cursor.execute(query, params))

    def fetchone(self) -> Any:
        return await_only(self._cursor.fetchone())

    def close(self) -> None:
        await_only(self._cursor.close())


class _AsyncpgCursor:
    """A cursor on asyncpg's connection, to be used in a greenlet."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rows: Iterator[Any] = iter(())

    def execute(self, query: Any, params: Any = None, /) -> Any:
        self._rows = iter(await_only(self._connection.fetch(_numbered(query), *(params or ()))))

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def close(self) -> None:
        """Nothing is open."""


def _numbered(query: str) -> str:
    """The statement with PostgreSQL's own parameters: $1 instead of %s."""
    parts = query.split("%s")
    numbers = count(1)
    return parts[0] + "".join(f"${next(numbers)}{part}" for part in parts[1:])


@contextmanager
def cursor(connection: Any) -> Iterator[Cursor]:
    """A cursor on a caller's connection.

    Args:
        connection: A DB-API connection, SQLAlchemy connection or session, or Django connection; in a greenlet also the asynchronous ones.

    Raises:
        InvalidRequest: It is none of these, or not PostgreSQL's.
    """
    if asynchronous(connection) and (_of_sqlalchemy(connection) or not in_greenlet()):
        raise InvalidRequest("connection: it is one that is used with await; hand it to argosy.client.AsyncClient")
    if isinstance(connection, Session):
        connection = connection.connection()
    if isinstance(connection, Connection):
        _check_dialect(connection)
        yield OwnCursor(connection)
        return
    with _opened(connection) as opened:
        yield opened


def asynchronous(connection: object) -> bool:
    """Whether this is a connection or session that is used with `await`."""
    modules = {each.__module__ for each in type(connection).__mro__}
    return (
        isinstance(connection, psycopg.AsyncConnection)
        or _of_sqlalchemy(connection)
        or any(module.partition(".")[0] == "asyncpg" for module in modules)
    )


def synchronous_part(connection: Any) -> Any:
    """SQLAlchemy's own connection or session in an asynchronous one, which works in a greenlet; any other connection as it is.

    Raises:
        InvalidRequest: The connection is not open yet.
    """
    if not _of_sqlalchemy(connection):
        return connection
    found = getattr(connection, "sync_session", None) or getattr(connection, "sync_connection", None)
    if found is None:
        raise InvalidRequest("connection: it is not open; use it in `async with`, or await it first")
    return found


def _of_sqlalchemy(connection: object) -> bool:
    return any(each.__module__.startswith("sqlalchemy.ext.asyncio") for each in type(connection).__mro__)


def _check_dialect(connection: Connection) -> None:
    dialect = connection.dialect
    if dialect.name != "postgresql":
        raise InvalidRequest(f"connection: it is one to {dialect.name}; {_TAKES}")
    if dialect.paramstyle not in {"format", "pyformat", "numeric_dollar"}:
        raise InvalidRequest(f"connection: the driver {dialect.driver} takes other parameters; {_TAKES}")


def _opened(connection: Any) -> AbstractContextManager[Cursor]:
    """A cursor whose rows are tuples, whatever they are in the caller's own cursors."""
    roots = {each.__module__.partition(".")[0] for each in type(connection).__mro__}
    if isinstance(connection, psycopg.AsyncConnection):
        return closing(_PsycopgCursor(connection))
    if "asyncpg" in roots:
        return closing(_AsyncpgCursor(connection))
    if isinstance(connection, psycopg.Connection):
        return connection.cursor(row_factory=tuple_row)
    if "psycopg2" in roots:
        made: AbstractContextManager[Cursor] = connection.cursor(cursor_factory=_psycopg2_cursor())
        return made
    if (vendor := getattr(connection, "vendor", None)) is None or not hasattr(connection, "cursor"):
        raise InvalidRequest(f"connection: is {type(connection).__name__}; {_TAKES}")
    if vendor != "postgresql":
        raise InvalidRequest(f"connection: it is one to {vendor}; {_TAKES}")
    django: AbstractContextManager[Cursor] = connection.cursor()
    return django


def _psycopg2_cursor() -> Any:
    return import_module("psycopg2.extensions").cursor
