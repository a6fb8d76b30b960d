"""The algorithm that a request names, read with any cursor."""

from collections.abc import Mapping, Sequence
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
    labels: dict[str, str]
    defaults: bool
    placed: bool
    """Whether there is a cluster that may take its jobs; if `defaults`, only the default one may."""


# The algorithm; its parameters and labels as text, because each driver reads JSON its own way. What it names is registered.
_NAMED = (
    "WITH a AS (SELECT *, cluster_labels = '{}' AND cluster_ids = '{}' AND cluster_id IS NULL AS defaults "
    "FROM argosy.algorithm WHERE project = %s AND name = %s) "
    "SELECT files_per_job, manifest, parameters::text, cluster_labels::text, defaults, "
    "(NOT defaults AND cluster_labels = '{}') OR EXISTS (SELECT FROM argosy.cluster c WHERE c.removed_at IS NULL "
    "AND CASE WHEN defaults THEN c.is_default ELSE c.labels @> a.cluster_labels END) FROM a"
)

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
        return Named(row[0], row[1], orjson.loads(row[2]), orjson.loads(row[3]), row[4], row[5])
    cursor.execute(_NAMES, (project,))
    names = []
    while (row := cursor.fetchone()) is not None:
        names.append(row[0])
    raise NotFound(f"unknown algorithm {name!r} in project {project}; {known(names)}")


def unlabelled(labels: Mapping[str, str]) -> NotFound:
    """The error where no cluster carries the labels that an algorithm asks for."""
    wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
    return NotFound(f"no registered cluster carries the labels {wanted}; see: argosy cluster list -o wide")


def known(names: Sequence[str]) -> str:
    """Which algorithms there are, for who named none of them."""
    if not names:
        return "none is registered: argosy algorithm register FILE …"
    return "registered: " + ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
