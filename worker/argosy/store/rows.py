"""How values are passed to PostgreSQL: a list of ids as one array, rows as one JSON text.

With one array for each column, a driver would take far longer than PostgreSQL takes for the whole statement. A statement unpacks the rows
with `json_to_recordset`, which names their columns and types.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import orjson

KEYS = "json_to_recordset(CAST(:keys AS json)) AS k (uid uuid, number int)"
"""SQL: attempts, by job and number. Its parameter is a recordset of anything that has a `uid` and a `number`."""


def recordset(items: Sequence[object]) -> str:
    """Dataclasses or mappings as JSON, for `json_to_recordset`. It reads only the fields that the statement names."""
    return orjson.dumps(items).decode()


def keys(attempts: Iterable[tuple[UUID, int]]) -> str:
    """The parameter of `KEYS`."""
    return recordset([{"uid": uid, "number": number} for uid, number in attempts])


def array(ids: Sequence[int] | None) -> str | None:
    """A bigint[] as text that PostgreSQL reads; drivers take far longer to write a long list."""
    return None if ids is None else f"{{{orjson.dumps(ids)[1:-1].decode()}}}"


def json(value: object) -> str | None:
    """A json or jsonb value; None becomes NULL."""
    return None if value is None else orjson.dumps(value).decode()
