"""Forgetting: launches that ended long ago, with their jobs, attempts and nodes, a small batch a transaction.

A whole launch at a time, never a part of one that still runs. The rows are the tombstones of their workflows (design §5.1); they can go
only because a gid from before the window is refused (`launches.insert`), and not before the launch's Secrets are surely gone.
"""

from sqlalchemy import Connection, text

_LAUNCHES = 10
"""Launches begun at a time."""

_JOBS = 500
"""Jobs removed at a time, their attempts and nodes with them."""


def forget(connection: Connection, days: int) -> int:
    """Remove a batch of what ended more than so many days ago.

    Returns:
        How many jobs and launches were removed; 0 where nothing is left to remove.
    """
    gids = list(
        connection.execute(
            text(
                "SELECT gid FROM argosy.launch l WHERE created_at < clock_timestamp() - make_interval(days => :days) "
                "AND state IN ('expanded', 'rejected', 'cancelled') AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = l.gid "
                "AND (a.finished_at IS NULL OR a.finished_at > clock_timestamp() - make_interval(days => :days))) "
                "AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = l.gid) "
                "ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED"
            ),
            {"days": days, "limit": _LAUNCHES},
        ).scalars()
    )
    if not gids:
        return 0
    jobs = connection.execute(
        text(
            "DELETE FROM argosy.job WHERE uid IN (SELECT uid FROM argosy.job WHERE gid = ANY (CAST(:gids AS uuid[])) "
            "LIMIT :limit)"
        ),
        {"gids": gids, "limit": _JOBS},
    ).rowcount
    launches = connection.execute(
        text(
            "DELETE FROM argosy.launch l WHERE gid = ANY (CAST(:gids AS uuid[])) "
            "AND NOT EXISTS (SELECT FROM argosy.job j WHERE j.gid = l.gid)"
        ),
        {"gids": gids},
    ).rowcount
    return jobs + launches
