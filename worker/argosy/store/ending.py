"""Queries of the tracker about workflows that are to end: their deadline has passed, or a cancel was requested. They run as those of
tracking.py do."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from argosy.states import ON_CLUSTER
from argosy.store import rows
from argosy.store.conditions import in_states
from argosy.store.tracking import AT_ONCE, Workflow

_LATE = (
    f"a.cluster_id = :cluster AND {in_states(ON_CLUSTER, 'a')} AND a.stop_at < clock_timestamp() AND a.overdue = '' "
    "AND a.k8s_uid IS NOT NULL"
)


# In random order, so that one that cannot be read does not block the others.
_LATE_ONES = text(
    f"SELECT uid, number, name, k8s_uid, gid FROM argosy.attempt a WHERE {_LATE} ORDER BY random() LIMIT :most"
)


def late(connection: Connection, cluster_id: int) -> list[Workflow]:
    """Some workflows on a cluster whose deadline has passed, as far as the rows know. They are read before anything is ended."""
    rows = connection.execute(_LATE_ONES, {"cluster": cluster_id, "most": AT_ONCE})
    return [Workflow(**row._mapping) for row in rows]


# The reason includes what a pod of it waits for.
_OVERDUE = text(
    "UPDATE argosy.attempt a SET as_of = clock_timestamp(), overdue = CASE WHEN a.began_at IS NULL THEN "
    "'no pod of it had run when its pending deadline passed' ELSE 'it still ran when its run deadline passed' END "
    "|| coalesce((SELECT ': ' || n.message FROM argosy.node n WHERE n.uid = a.uid AND n.attempt = a.number "
    "AND n.phase = 'Pending' AND n.message <> '' ORDER BY n.node_id LIMIT 1), '') "
    f"FROM {rows.KEYS} WHERE a.uid = k.uid AND a.number = k.number AND {_LATE}"
)


def overdue(connection: Connection, cluster_id: int, read: Sequence[Workflow]) -> int:
    """Mark workflows whose deadline has passed, with what their pods waited for.

    Args:
        connection: In a transaction.
        cluster_id: Which.
        read: Those that `late` returned and that were read since. Their rows have what was read, so one whose pod began in time has its run
            deadline now and is not marked.

    Returns:
        How many.
    """
    return connection.execute(_OVERDUE, {"cluster": cluster_id, "keys": rows.recordset(read)}).rowcount


# Workflows that are to end.
_ENDING = text(
    "SELECT a.name, a.k8s_uid, j.cancel_requested FROM argosy.attempt a JOIN argosy.job j USING (uid) "
    f"WHERE a.cluster_id = :cluster AND {in_states(ON_CLUSTER, 'a')} AND (j.cancel_requested OR a.overdue <> '') "
    "AND a.k8s_uid IS NOT NULL"
)


def ending(connection: Connection, cluster_id: int) -> list[tuple[str, str, str]]:
    """(name, k8s uid, `cancelled` if a cancel was requested, else empty) of the unfinished workflows on a cluster that are to end, because
    of a cancel or because a deadline has passed."""
    rows = connection.execute(_ENDING, {"cluster": cluster_id})
    return [(row.name, row.k8s_uid, "cancelled" if row.cancel_requested else "") for row in rows]
