"""Forgetting: launches that ended long ago, with their jobs, attempts and nodes, a small batch a transaction.

A whole launch at a time, never a part of one that still runs. The rows are the tombstones of their workflows (P1); they can go
only because a gid from before the window is refused (`requests.insert`), and not before the launch's Secrets are surely gone.

Asked twice, the second time under the launches' locks, which a retry and an automatic retry take first: else one that commits in between
would find its job gone.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import holds, strays

_LAUNCHES = 10
"""Launches begun at a time."""

_JOBS = 500
"""Jobs removed at a time, their attempts and nodes with them."""

_ENDED = (
    "l.created_at < now() - make_interval(days => :days) AND l.state NOT IN ('accepted', 'resolved') "
    # Two looks at the index by gid and end, however many jobs there are.
    "AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = l.gid AND a.finished_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = l.gid AND a.finished_at > now() - make_interval(days => :days)) "
    "AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = l.gid) "
    f"AND NOT {holds.in_hold('l')}"
)
"""SQL: whether launch `l` may be forgotten."""


# Launches that may go.
_OLD = text(
    f"SELECT l.gid FROM argosy.launch l WHERE {_ENDED} ORDER BY l.created_at LIMIT :limit FOR UPDATE SKIP LOCKED"
)

# Asked again under their locks.
_STILL = text(f"SELECT l.gid FROM argosy.launch l WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND {_ENDED}")

# Some jobs; their attempts and nodes go with them.
_DELETE_JOBS = text(
    "DELETE FROM argosy.job WHERE uid IN (SELECT uid FROM argosy.job WHERE gid = ANY (CAST(:gids AS uuid[])) "
    "LIMIT :limit)"
)

# Those without jobs.
_DELETE_LAUNCHES = text(
    "DELETE FROM argosy.launch l WHERE gid = ANY (CAST(:gids AS uuid[])) "
    "AND NOT EXISTS (SELECT FROM argosy.job j WHERE j.gid = l.gid)"
)


def forget(connection: Connection, days: int) -> int:
    """Remove a batch of what ended more than so many days ago.

    Returns:
        How many jobs and launches were removed; 0 where nothing is left to remove.
    """
    strays.forget_abandoned(connection, days)
    found = _OLD
    locked: list[UUID] = list(connection.execute(found, {"days": days, "limit": _LAUNCHES}).scalars())
    if not locked:
        return 0
    again = _STILL
    gids = list(connection.execute(again, {"days": days, "gids": locked}).scalars())
    jobs = connection.execute(_DELETE_JOBS, {"gids": gids, "limit": _JOBS}).rowcount
    launches = connection.execute(_DELETE_LAUNCHES, {"gids": gids}).rowcount
    return jobs + launches


# Turns that decide nothing any more.
_TURNS = text(
    "DELETE FROM argosy.turn t USING argosy.cluster c WHERE c.id = t.cluster_id "
    "AND t.tag < c.virtual_time - 1 / (SELECT least(min(weight), 1) FROM argosy.project)"
)


def forget_turns(connection: Connection) -> int:
    """Drop what tenants have paid so long ago that they would start at the present anyway (`fair.earliest`); how many there were."""
    return connection.execute(_TURNS).rowcount
