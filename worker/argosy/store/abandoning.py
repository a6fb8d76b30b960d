"""Giving up a cluster that is gone for good: what ran there, and what nothing else may run, ends, because nobody will ever see how.

A few jobs a transaction, of which there may be a million, in the order in which the tracker locks them. The cluster is paused before, so
that nothing more is claimed there, and its lease is revoked for the last look, so that no tracker writes any more. Whoever dies in
between leaves a paused cluster, and the same command goes on.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from argosy.states import ACTIVE
from argosy.store import placements, reconciling, retries, rows
from argosy.store.conditions import DELAYED, READY, in_states, retry_due
from argosy.store.strays import ABANDONED

_BATCH = 1_000
"""Jobs ended at a time."""

_UNFINISHED = (
    f"SELECT uid, number FROM argosy.attempt WHERE cluster_id = :cluster AND {in_states(ACTIVE)} "
    f"UNION ALL SELECT a.uid, a.number FROM {placements.ONLY_HERE} JOIN argosy.attempt a ON a.placement_id = p.id AND {READY} "
    f"UNION ALL SELECT a.uid, a.number FROM {placements.ONLY_HERE} JOIN argosy.attempt a ON a.placement_id = p.id AND {DELAYED}"
)


# Launches not cut that only this cluster may take.
_LAUNCHES = text(
    f"SELECT l.gid FROM {placements.ONLY_HERE} JOIN argosy.launch l ON l.placement_id = p.id AND l.state = 'resolved'"
)


def launches(connection: Connection, cluster_id: int) -> list[UUID]:
    """Those that are not cut to their end, and whose jobs no other cluster may take."""
    rows = connection.execute(_LAUNCHES, {"cluster": cluster_id})
    return list(rows.scalars())


def doubtful(connection: Connection, cluster_id: int) -> tuple[list[tuple[UUID, int]], list[UUID]]:
    """What another cluster takes when a held one is abandoned, and perhaps ran there: attempts that wait from before the hold, and launches
    that are not cut to their end."""
    elsewhere = f"p.id NOT IN (SELECT p.id FROM {placements.ONLY_HERE})"
    rows = connection.execute(
        text(
            f"SELECT a.uid, a.number FROM argosy.cluster c JOIN argosy.placement p ON {placements.FITS} AND {elsewhere} "
            "JOIN argosy.attempt a ON a.placement_id = p.id JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
            f"WHERE c.id = :cluster AND (a.state = 'queued' AND a.queued_at < c.held_at OR {retry_due('a')})"
        ),
        {"cluster": cluster_id},
    )
    only_here = set(launches(connection, cluster_id))
    uncut = [gid for gid in reconciling.uncut(connection, cluster_id) if gid not in only_here]
    return [(row.uid, row.number) for row in rows], uncut


# Some of what has not ended there.
_UNFINISHED_BATCH = text(f"SELECT * FROM ({_UNFINISHED}) u LIMIT :limit")

# Jobs that may run on this cluster alone can run nowhere now.
_UNPLACED = text(
    "WITH here AS MATERIALIZED (SELECT p.id FROM " + placements.ONLY_HERE + ") UPDATE argosy.attempt a SET "
    "state = CASE WHEN a.state = 'queued' OR j.cancel_requested THEN 'cancelled' ELSE 'lost' END, "
    "message = CASE WHEN a.state = 'queued' THEN 'its cluster was abandoned, and no other may take it' "
    "ELSE :why END, "
    "retries_left = CASE WHEN a.placement_id IN (SELECT id FROM here) THEN 0 ELSE a.retries_left END, "
    "finished_at = clock_timestamp(), as_of = clock_timestamp(), lease_until = NULL "
    "FROM argosy.job j, " + rows.KEYS + " "
    "WHERE a.uid = k.uid AND a.number = k.number AND j.uid = a.uid AND (a.state = 'queued' "
    f"AND a.placement_id IN (SELECT id FROM here) OR a.cluster_id = :cluster AND {in_states(ACTIVE, 'a')}) "
    "RETURNING a.uid"
)


def end(connection: Connection, cluster_id: int) -> int:
    """End some of what is unfinished: on the cluster as `lost`, or `cancelled` where that was asked for; as `cancelled` what waits for it
    and may go nowhere else. What was lost and may run elsewhere is tried again there, if its algorithm says so.

    Returns:
        How many; 0 where nothing is left.
    """
    found = connection.execute(_UNFINISHED_BATCH, {"cluster": cluster_id, "limit": _BATCH}).all()
    if not found:
        return 0
    keys = rows.keys((row.uid, row.number) for row in found)
    retries.lock_attempts(connection, keys)
    ended = connection.execute(_UNPLACED, {"cluster": cluster_id, "keys": keys, "why": ABANDONED}).scalars()
    retries.follow(connection, list(ended))
    return len(found)
