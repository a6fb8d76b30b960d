"""Notifications that are sent with a commit (LISTEN, NOTIFY): a launch that may be begun, a longer queue, what has changed. Housekeeping
finds launches and queues whose notification was missed."""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store.conditions import ended

LAUNCHES = "argosy_launch"
"""Channel whose payload is the gid of a launch that was accepted, or whose predecessor has ended."""

QUEUES = "argosy_queue"
"""Channel whose payload is the id of a cluster whose queue grew."""


CHANGES = "argosy_change"
"""Channel that says what has changed: `launch GID PROJECT` for a launch and its jobs, `job UID` for a job's steps, `cluster ID`,
`project ID`; or `*` where one transaction changed more than a hundred. Triggers send it, once a transaction (migration 0017)."""


class _Cursor(Protocol):
    def execute(self, query: Any, params: Any = None, /) -> Any: ...


def launch_accepted(cursor: _Cursor, gid: UUID) -> None:
    """Notify of a new launch when this transaction commits."""
    cursor.execute("SELECT pg_notify(%s, %s)", (LAUNCHES, str(gid)))


# Launches that wait for one of these, if that has ended as far as this transaction sees. There are few that wait, so they come first.
_FOLLOWERS = (
    "WITH f AS MATERIALIZED (SELECT gid, after_gid FROM argosy.launch WHERE waiting AND after_gid {}) "
    f"SELECT pg_notify(:channel, f.gid::text) FROM f JOIN argosy.launch p ON p.gid = f.after_gid WHERE {ended('p')}"
)
_OF_LAUNCHES = text(_FOLLOWERS.format("= ANY (CAST(:ids AS uuid[]))"))
_OF_JOBS = text(_FOLLOWERS.format("IN (SELECT gid FROM argosy.job WHERE uid = ANY (CAST(:ids AS uuid[])))"))


def launches_ended(connection: Connection, gids: Sequence[UUID]) -> None:
    """Notify of launches that wait for one of these, if all of that has ended. Takes no lock."""
    if gids:
        connection.execute(_OF_LAUNCHES, {"channel": LAUNCHES, "ids": list(gids)})


def jobs_ended(connection: Connection, uids: Sequence[UUID]) -> None:
    """As `launches_ended`, for the launches of these jobs. Called in the transaction that ends the jobs."""
    if uids:
        connection.execute(_OF_JOBS, {"channel": LAUNCHES, "ids": list(uids)})


# One queue.
_ONE = text("SELECT pg_notify(:channel, :id)")


def queue_grew(connection: Connection, cluster_id: int) -> None:
    """Notify of new jobs for a cluster when this transaction commits."""
    connection.execute(_ONE, {"channel": QUEUES, "id": str(cluster_id)})


# Every cluster's queue.
_ALL = text("SELECT pg_notify(:channel, id::text) FROM argosy.cluster WHERE removed_at IS NULL")


def queues_go_on(connection: Connection) -> None:
    """Notify for every cluster, when this transaction commits, that there may be something to submit."""
    connection.execute(_ALL, {"channel": QUEUES})
