"""What happened to a launch, its jobs, or a cluster, as triggers wrote it (migration 0011, P12).

Events of one attempt are in order, because their writers hold its row. Others may be committed a little out of order, so somebody who
follows goes by the transactions that were still open when he last looked, not by ids: none is missed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import InvalidRequest
from argosy.shapes.history import EventPage, EventShape

_OPEN = "10 minutes"
"""Longer than any transaction that writes events to something that somebody can follow already."""

_OF = {
    "uid": "(e.uid = :uid OR e.gid = :gid AND e.uid IS NULL)",
    "gid": "e.gid = :gid",
    "cluster": "e.gid IS NULL AND e.cluster_id = :cluster",
}

_READ = (
    "SELECT e.id, e.xact, e.at, e.last_at, e.times, e.kind, e.gid, e.uid, e.attempt, e.node_id, c.name AS cluster, e.actor, "
    "e.message, e.detail "
    "FROM argosy.event e LEFT JOIN argosy.cluster c ON c.id = e.cluster_id WHERE {of}"
)

# The newest ones.
_NEWEST = "SELECT * FROM ({read} ORDER BY e.last_at DESC, e.id DESC LIMIT :limit) n ORDER BY last_at, id"

# Those of transactions that were open, or not begun, when the cursor was made, and are over now.
_SINCE = (
    "SELECT * FROM ({read} AND e.last_at > CAST(:looked AS timestamptz) - interval '" + _OPEN + "' "
    "AND (e.xact, e.id) > (:first, :last) AND e.xact < :end ORDER BY e.xact, e.id LIMIT :limit) n ORDER BY last_at, id"
)

# The first transaction that may still write, the first that has no number yet, and the time.
_NOW = text(
    "SELECT CAST(CAST(pg_snapshot_xmin(s) AS text) AS bigint) AS first, CAST(CAST(pg_snapshot_xmax(s) AS text) AS bigint) AS beyond, "
    "clock_timestamp() AS looked FROM pg_current_snapshot() s"
)


@dataclass(frozen=True)
class Subject:
    """Of what events are read: a job (with its launch's own events), a whole launch, or a cluster."""

    gid: UUID | None = None
    uid: UUID | None = None
    cluster: int | None = None

    @property
    def kind(self) -> str:
        """Which of the three."""
        return "uid" if self.uid is not None else "gid" if self.gid is not None else "cluster"


def page(connection: Connection, of: Subject, limit: int, after: str | None = None) -> EventPage:
    """Events in their order, and a cursor.

    Args:
        connection: Where to ask.
        of: Whose.
        limit: The most; without a cursor the newest ones.
        after: The cursor of a page before: what came since. An event that came while that page was read may be in both.

    Raises:
        InvalidRequest: It is no cursor.
    """
    now = connection.execute(_NOW).one()
    read = _READ.format(of=_OF[of.kind])
    parameters: dict[str, Any] = {"gid": of.gid, "uid": of.uid, "cluster": of.cluster, "limit": limit}
    looked = now.looked
    if after is None:
        statement = _NEWEST.format(read=read)
    else:
        first, last, looked = _cursor(after)
        if first > now.beyond:
            raise InvalidRequest(
                "after: the cursor is of another database, from which this one was restored; begin anew without it"
            )
        statement = _SINCE.format(read=read)
        parameters |= {"first": first, "last": last, "end": now.first, "looked": looked}
    found = connection.execute(text(statement), parameters).all()
    # While the same transaction is open, what it wrote long ago is still to come.
    since = looked if after is not None and parameters["first"] == now.first else now.looked
    cursor = f"{now.first}.0@{since.isoformat()}"
    if after is not None and len(found) == limit:  # there may be more
        xact, last = max((row.xact, row.id) for row in found)
        cursor = f"{xact}.{last}@{looked.isoformat()}"
    return EventPage(events=[EventShape(**row._mapping) for row in found], cursor=cursor)


def _cursor(text: str) -> tuple[int, int, datetime]:
    found = _CURSOR.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        first, last, time = int(found[1]), int(found[2]), datetime.fromisoformat(found[3])
        if max(first, last) >= 1 << 63 or time.tzinfo is None:
            raise ValueError
    except ValueError:
        raise InvalidRequest("after: not the cursor of a page of events") from None
    return first, last, time


_CURSOR = re.compile("([0-9]{1,19})[.]([0-9]{1,19})@(.{20,40})", re.ASCII)


# With their jobs.
_FORGET_JOBS = text("DELETE FROM argosy.event WHERE uid = ANY (CAST(:uids AS uuid[]))")

# With their launches.
_FORGET_LAUNCHES = text("DELETE FROM argosy.event WHERE gid = ANY (CAST(:gids AS uuid[]))")

# What happened to clusters long ago.
_FORGET_CLUSTERS = text(
    "DELETE FROM argosy.event WHERE id IN (SELECT id FROM argosy.event WHERE gid IS NULL "
    "AND cluster_id = ANY (ARRAY(SELECT id FROM argosy.cluster)) AND last_at < now() - make_interval(days => :days) LIMIT :most)"
)


def forget_jobs(connection: Connection, uids: Sequence[UUID]) -> None:
    """Delete the events of jobs that are deleted in the same transaction."""
    connection.execute(_FORGET_JOBS, {"uids": list(uids)})


def forget_launches(connection: Connection, gids: Sequence[UUID]) -> None:
    """Delete the events of launches that are deleted in the same transaction; those of their jobs are gone already."""
    connection.execute(_FORGET_LAUNCHES, {"gids": list(gids)})


def forget_clusters(connection: Connection, days: int, most: int) -> int:
    """Delete events of clusters that are older than some days, so many at most. Returns how many."""
    return connection.execute(_FORGET_CLUSTERS, {"days": days, "most": most}).rowcount
