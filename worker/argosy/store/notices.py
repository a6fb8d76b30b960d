"""Notifications that are sent with a commit (LISTEN, NOTIFY): a new launch, a longer queue. Housekeeping finds launches and queues whose
notification was missed."""

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
    """Notify of a new launch when this transaction commits."""
    cursor.execute("SELECT pg_notify(%s, %s)", (LAUNCHES, str(gid)))


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
