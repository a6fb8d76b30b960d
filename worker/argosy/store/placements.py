"""Which clusters may take a job: those that an algorithm lists, or those that carry its labels.

Each distinct choice has a row, so a queued job stores only one small number, and a cluster that is registered or labelled later can take
jobs that are queued already. A claim decides which cluster takes a job, and fixes it for that attempt (P1).
"""

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, text

from argosy.errors import NotFound

FITS = "(c.id = ANY (p.cluster_ids) OR (p.cluster_ids = '{}' AND c.labels @> p.labels))"
"""SQL: whether placement `p` lets cluster `c` take a job."""

SOLE = "CASE WHEN cardinality(p.cluster_ids) = 1 THEN p.cluster_ids[1] END"
"""SQL: the cluster of placement `p` if it allows only one."""

ONLY_HERE = (
    f"argosy.placement p JOIN argosy.cluster c ON c.id = :cluster AND {FITS} AND NOT EXISTS ("
    f"SELECT FROM argosy.cluster c WHERE c.id <> :cluster AND c.removed_at IS NULL AND {FITS})"
)
"""SQL: the placements that let cluster `:cluster` take a job and no other registered one."""


# A set of clusters and labels has one row.
_PUT = text(
    "INSERT INTO argosy.placement (cluster_ids, labels) VALUES (CAST(:ids AS int[]), CAST(:labels AS jsonb)) ON CONFLICT DO NOTHING"
)

# Find it: the row existed already, or another process has just inserted it.
_FIND = text(
    "SELECT id FROM argosy.placement WHERE cluster_ids = CAST(:ids AS int[]) AND labels = CAST(:labels AS jsonb)"
)


def put(connection: Connection, cluster_ids: Sequence[int], labels: dict[str, str]) -> int:
    """The id of a placement; its row is inserted if there is none.

    Args:
        connection: In a transaction.
        cluster_ids: The clusters that are allowed; empty for those that carry all of `labels`.
        labels: What they must carry.
    """
    parameters = {"ids": sorted(set(cluster_ids)), "labels": orjson.dumps(labels).decode()}
    connection.execute(_PUT, parameters)
    found = connection.execute(_FIND, parameters)
    return int(found.scalar_one())


# Clusters that may take jobs of these placements.
_CLUSTERS = text(
    f"SELECT DISTINCT c.id FROM argosy.placement p JOIN argosy.cluster c ON {FITS} "
    "WHERE p.id = ANY (:placements) AND c.removed_at IS NULL ORDER BY c.id"
)


def clusters(connection: Connection, placements: Sequence[int]) -> list[int]:
    """The registered clusters that may take jobs of these placements."""
    rows = connection.execute(_CLUSTERS, {"placements": list(placements)})
    return [row.id for row in rows]


# Clusters that may take jobs of the placement, locked.
_HELD = text(
    f"SELECT c.id FROM argosy.placement p JOIN argosy.cluster c ON {FITS} "
    "WHERE p.id = :placement AND c.removed_at IS NULL ORDER BY c.id FOR KEY SHARE OF c"
)


def held(connection: Connection, placement: int) -> list[int]:
    """As `clusters`, for one placement, with the rows locked: a removal locks the row too, so none of the clusters is removed before the
    transaction ends."""
    rows = connection.execute(_HELD, {"placement": placement})
    return [row.id for row in rows]


def required(connection: Connection, placement_id: int) -> list[int]:
    """As `held`, but at least one, so that no jobs are queued that no cluster may take."""
    found = held(connection, placement_id)
    if not found:
        raise NotFound(
            "no registered cluster may run its jobs any more: it was removed, or lost the labels that the algorithm asks for, while this "
            "launch was prepared; see: argosy cluster list -o wide"
        )
    return found
