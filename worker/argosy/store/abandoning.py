"""Giving up a cluster that is gone for good: this ends the jobs that ran there, because nobody will ever see how they ended, and the queued
jobs that no other cluster may take.

There may be a million jobs, so each transaction ends one batch and locks its rows in the same order as the tracker. The cluster is paused
first, so that nothing more is claimed there. Its lease is revoked before the last check, so that no tracker writes any more. If the process
dies half-way, the cluster stays paused, and the same command continues.
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


# Launches that are not fully cut and that only this cluster may take.
_LAUNCHES = text(
    f"SELECT l.gid FROM {placements.ONLY_HERE} JOIN argosy.launch l ON l.placement_id = p.id AND l.state = 'resolved'"
)


def launches(connection: Connection, cluster_id: int) -> list[UUID]:
    """The launches that are not fully cut and whose jobs no other cluster may take."""
    rows = connection.execute(_LAUNCHES, {"cluster": cluster_id})
    return list(rows.scalars())


def doubtful(connection: Connection, cluster_id: int) -> tuple[list[tuple[UUID, int]], list[UUID]]:
    """What may have run on a held cluster, and would run again on another one when the held one is abandoned: attempts that were queued
    before the hold, and launches that are not fully cut."""
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


# A batch of the unfinished attempts.
_UNFINISHED_BATCH = text(f"SELECT * FROM ({_UNFINISHED}) u LIMIT :limit")

# End them. Jobs that only this cluster may take get no automatic retry.
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
    """End a batch of unfinished attempts. Those on the cluster end `lost`, or `cancelled` if a cancel was requested; queued ones that no
    other cluster may take end `cancelled`. Lost jobs that another cluster may take are retried there, if their algorithm has automatic
    retries.

    Returns:
        How many; 0 if nothing is left.
    """
    found = connection.execute(_UNFINISHED_BATCH, {"cluster": cluster_id, "limit": _BATCH}).all()
    if not found:
        return 0
    keys = rows.keys((row.uid, row.number) for row in found)
    retries.lock_attempts(connection, keys)
    ended = connection.execute(_UNPLACED, {"cluster": cluster_id, "keys": keys, "why": ABANDONED}).scalars()
    retries.follow(connection, list(ended))
    return len(found)
