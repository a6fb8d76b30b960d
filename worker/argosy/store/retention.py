"""Forgetting: deletes launches that ended long ago, with their jobs, attempts, nodes and events, a small batch in each transaction.

Nothing of a launch is deleted while a part of it still runs. The rows prove that their workflows existed (P1). They can be deleted only
because a gid from before the retention window is refused (`requests.insert`), and only after the launch's Secrets are surely deleted.

The condition is checked again after the launches are locked, because a retry may have committed in between: its job must not be deleted.
Retries lock the launch first.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import events, holds, strays

_LAUNCHES = 10
"""Launches in one batch."""

_JOBS = 500
"""Jobs deleted in one transaction, with their attempts and nodes."""

_ENDED = (
    "l.created_at < now() - make_interval(days => :days) AND l.state NOT IN ('accepted', 'resolved') "
    # Two lookups in the index by gid and end, however many jobs there are.
    "AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = l.gid AND a.finished_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = l.gid AND a.finished_at > now() - make_interval(days => :days)) "
    "AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = l.gid) "
    "AND NOT EXISTS (SELECT FROM argosy.launch f WHERE f.after_gid = l.gid AND f.waiting) "
    f"AND NOT {holds.in_hold('l')}"
)
"""SQL: whether launch `l` may be forgotten."""


# Launches that may go.
_OLD = text(
    f"SELECT l.gid FROM argosy.launch l WHERE {_ENDED} ORDER BY l.created_at LIMIT :limit FOR UPDATE SKIP LOCKED"
)

# Checked again after they are locked.
_STILL = text(f"SELECT l.gid FROM argosy.launch l WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND {_ENDED}")

# Some jobs; their attempts and nodes go with them.
_DELETE_JOBS = text(
    "DELETE FROM argosy.job WHERE uid IN (SELECT uid FROM argosy.job WHERE gid = ANY (CAST(:gids AS uuid[])) "
    "LIMIT :limit) RETURNING uid"
)

# Those without jobs.
_DELETE_LAUNCHES = text(
    "DELETE FROM argosy.launch l WHERE gid = ANY (CAST(:gids AS uuid[])) "
    "AND NOT EXISTS (SELECT FROM argosy.job j WHERE j.gid = l.gid) RETURNING gid"
)


def forget(connection: Connection, days: int) -> int:
    """Delete a batch of launches that ended more than `days` days ago.

    Returns:
        How many jobs and launches were deleted; 0 if nothing is left to delete.
    """
    strays.forget_abandoned(connection, days)
    found = _OLD
    locked: list[UUID] = list(connection.execute(found, {"days": days, "limit": _LAUNCHES}).scalars())
    if not locked:
        return events.forget_clusters(connection, days, _JOBS)
    again = _STILL
    gids = list(connection.execute(again, {"days": days, "gids": locked}).scalars())
    jobs = connection.execute(_DELETE_JOBS, {"gids": gids, "limit": _JOBS}).scalars().all()
    events.forget_jobs(connection, jobs)
    launches = connection.execute(_DELETE_LAUNCHES, {"gids": gids}).scalars().all()
    events.forget_launches(connection, launches)
    return len(jobs) + len(launches) + events.forget_clusters(connection, days, _JOBS)


# Turns that are too old to change who comes next.
_TURNS = text(
    "DELETE FROM argosy.turn t USING argosy.cluster c WHERE c.id = t.cluster_id "
    "AND t.tag < c.virtual_time - 1 / (SELECT least(min(weight), 1) FROM argosy.project)"
)


def forget_turns(connection: Connection) -> int:
    """Delete the turns of tenants that paid so long ago that they would start at the present virtual time anyway (`fair.earliest`). Returns
    how many."""
    return connection.execute(_TURNS).rowcount
