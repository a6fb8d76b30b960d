"""The algorithm that a request names, read with any cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from argosy.errors import NotFound
from argosy.store.cursors import Cursor


@dataclass(frozen=True)
class Named:
    """An algorithm, as far as a launch can be judged by it."""

    files_per_job: int
    manifest: str
    parameters: list[dict[str, Any]]


# The algorithm; its parameters as text, because each driver reads JSON its own way.
_NAMED = "SELECT files_per_job, manifest, parameters::text FROM argosy.algorithm WHERE project = %s AND name = %s"

# Those that the caller may have meant.
_NAMES = "SELECT name FROM argosy.algorithm WHERE project = %s ORDER BY name LIMIT 1000"


def named(cursor: Cursor, project: int, name: str) -> Named:
    """The algorithm that a launch names.

    Raises:
        NotFound: The project has none of that name; the message names those it has.
    """
    cursor.execute(_NAMED, (project, name))
    row = cursor.fetchone()
    if row is not None:
        return Named(row[0], row[1], orjson.loads(row[2]))
    cursor.execute(_NAMES, (project,))
    names = []
    while (row := cursor.fetchone()) is not None:
        names.append(row[0])
    raise NotFound(f"unknown algorithm {name!r} in project {project}; {known(names)}")


def known(names: Sequence[str]) -> str:
    """Which algorithms there are, for who named none of them."""
    if not names:
        return "none is registered: argosy algorithm register FILE …"
    return "registered: " + ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
