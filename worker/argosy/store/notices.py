"""Notifications of a commit (LISTEN, NOTIFY): a new launch, a longer queue. Housekeeping finds those that were missed."""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, text

LAUNCHES = "argosy_launch"
"""Channel whose payload is the gid of a launch that was accepted."""

QUEUES = "argosy_queue"
"""Channel whose payload is the id of a cluster whose queue grew."""


class _Cursor(Protocol):
    def execute(self, query: Any, params: Any = None, /) -> Any: ...


def launch_accepted(cursor: _Cursor, gid: UUID) -> None:
    """Say so when this commits."""
    cursor.execute("SELECT pg_notify(%s, %s)", (LAUNCHES, str(gid)))


# One queue.
_ONE = text("SELECT pg_notify(:channel, :id)")


def queue_grew(connection: Connection, cluster_id: int) -> None:
    """Say so when this commits."""
    connection.execute(_ONE, {"channel": QUEUES, "id": str(cluster_id)})


# Every cluster's queue.
_ALL = text("SELECT pg_notify(:channel, id::text) FROM argosy.cluster WHERE removed_at IS NULL")


def queues_go_on(connection: Connection) -> None:
    """Say of every cluster, when this commits, that there may be something to submit."""
    connection.execute(_ALL, {"channel": QUEUES})
