"""The outbox: what is to be told about launches that ended, and to whom. A row is there once for a launch, its end and a receiver.

Housekeeping writes it when all jobs of a launch have ended, together with the launch's mark that this end is told. Whoever sends a row has
it for a time; a process that dies after it has sent, and before it has written so, sends it again with the same key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from argosy.store import rows, summaries
from argosy.store.conditions import ended

_AT_ONCE = 10
"""Launches of which the end is told in one transaction: their rows are locked until it ends."""

# What a launch with very many failures may cost.
_BRIEF = text("SET LOCAL statement_timeout = '3s'")

_FAILURES = 10
"""Groups of failures that are told."""

_CLAIM = 60.0
"""Seconds for which somebody who sends a row has it."""

_FIRST, _LONGEST = 5.0, 3600.0
"""Seconds between two tries: at first, and at most. They double."""

_GIVE_UP = 72
"""Hours after which a row is given up."""


@dataclass(frozen=True)
class Notification:
    """A row that is to be sent now. `key` is the same at each try."""

    id: int
    gid: UUID
    project: int
    kind: str
    recipient: str
    key: str
    body: dict[str, Any]
    tries: int


# Launches that ended, and whose end somebody wants to know and was not told; locked, so that no retry comes between.
_ENDED = text(
    f"SELECT l.gid, l.webhook FROM argosy.launch l WHERE l.untold AND {ended('l')} ORDER BY l.created_at LIMIT :most "
    "FOR NO KEY UPDATE SKIP LOCKED"
)

# Asked again under the lock.
_STILL = text(
    f"SELECT l.gid FROM argosy.launch l WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND l.untold AND {ended('l')}"
)

# What each receiver was told last.
_TOLD_LAST = text(
    "SELECT DISTINCT ON (gid, kind, recipient) gid, split_part(key, '.', 2) AS ended, "
    "count(*) OVER (PARTITION BY gid, kind, recipient) AS many "
    "FROM argosy.outbox WHERE gid = ANY (CAST(:gids AS uuid[])) ORDER BY gid, kind, recipient, id DESC"
)

# What is overtaken by a later end is not sent any more.
_OVERTAKEN = text(
    "UPDATE argosy.outbox SET open = false, reason = 'overtaken by a later end' WHERE gid = ANY (CAST(:gids AS uuid[])) AND open"
)

# One row for an end and a receiver.
_PUT = text(
    "INSERT INTO argosy.outbox (gid, project, kind, recipient, key, body) "
    "SELECT gid, project, kind, recipient, key, body FROM json_to_recordset(CAST(:rows AS json)) "
    "AS r (gid uuid, project bigint, kind text, recipient text, key text, body jsonb) ON CONFLICT DO NOTHING"
)

# Their end is told.
_TOLD = text("UPDATE argosy.launch SET untold = false WHERE gid = ANY (CAST(:gids AS uuid[]))")


def fill(connection: Connection) -> int:
    """Write what is to be told about launches that ended. Returns how many launches these are."""
    found = {row.gid: row.webhook for row in connection.execute(_ENDED, {"most": _AT_ONCE})}
    gids = list(connection.execute(_STILL, {"gids": list(found)}).scalars()) if found else []
    last = {row.gid: row for row in connection.execute(_TOLD_LAST, {"gids": gids})}
    new = []
    for gid in gids:
        end, body = _end(connection, gid)
        told, number = (last[gid].ended, last[gid].many) if gid in last else ("", 0)
        if told != end:
            new.append(_row(gid, found[gid], f"{gid}.{end}" + (f".{number + 1}" if number else ""), body))
    connection.execute(_OVERTAKEN, {"gids": [row["gid"] for row in new]})
    connection.execute(_PUT, {"rows": rows.recordset(new)})
    connection.execute(_TOLD, {"gids": gids})
    return len(gids)


def _end(connection: Connection, gid: UUID) -> tuple[str, dict[str, Any]]:
    """How a launch ended, in a word, and what is told about it."""
    (launch,) = summaries.launches(connection, gid=gid)
    succeeded = launch.state == "expanded" and launch.counts.keys() <= {"Succeeded"}
    end = "succeeded" if succeeded else "failed"
    return end, {
        "type": f"launch.{end}",
        "timestamp": datetime.now(UTC).isoformat(),
        "data": launch.model_dump(mode="json", exclude={"notifications"}) | {"failures": _failures(connection, gid)},
    }


def _failures(connection: Connection, gid: UUID) -> list[dict[str, Any]] | None:
    """What failed, in groups; None if there is so much that it would keep others waiting."""
    apart = connection.begin_nested()
    try:
        connection.execute(_BRIEF)
        found = summaries.failures(connection, gid)
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return None
    finally:
        apart.rollback()  # nothing was written; the time-out is as it was
    return [each.model_dump(mode="json") for each in found[:_FAILURES]]


def _row(gid: UUID, webhook: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    project = body["data"]["project"]
    return {"gid": gid, "project": project, "kind": "webhook", "recipient": webhook, "key": key, "body": body}


# Some rows of each project that are due.
_CLAIMED = text(
    "UPDATE argosy.outbox o SET tries = tries + 1, next_try_at = clock_timestamp() + make_interval(secs => :claim) FROM ("
    "SELECT id FROM argosy.outbox WHERE id IN (SELECT id FROM (SELECT id, next_try_at, project = ANY (CAST(:busy AS bigint[])) AS busy, "
    "row_number() OVER (PARTITION BY project ORDER BY next_try_at, id) AS place FROM argosy.outbox WHERE open "
    "AND next_try_at <= clock_timestamp()) d WHERE place <= CASE WHEN busy THEN 1 ELSE 4 END AND (:room OR NOT busy) "
    "ORDER BY busy, place, next_try_at LIMIT :most) AND open AND next_try_at <= clock_timestamp() "
    "FOR UPDATE SKIP LOCKED) d WHERE o.id = d.id "
    "RETURNING o.id, o.gid, o.project, o.kind, o.recipient, o.key, o.body, o.tries"
)


def claim(connection: Connection, most: int, busy: Sequence[int], room: bool) -> list[Notification]:
    """Take rows that are due, for a time: the oldest few of each project, those of projects that have nothing under way first.

    Args:
        connection: In a transaction.
        most: How many at most.
        busy: Projects that have something under way.
        room: Whether there is room for more of these.
    """
    found = connection.execute(_CLAIMED, {"claim": _CLAIM, "most": most, "busy": list(busy), "room": room})
    return [Notification(**row._mapping) for row in found]


# Taken by its receiver.
_SENT = text("UPDATE argosy.outbox SET open = false, sent_at = clock_timestamp(), reason = '' WHERE id = :id AND open")


def sent(connection: Connection, notification: Notification) -> None:
    """Record that a notification was taken."""
    connection.execute(_SENT, {"id": notification.id})


# Tried again later, or given up.
_FAILED = text(
    "UPDATE argosy.outbox SET reason = :reason, open = NOT :final AND created_at > clock_timestamp() - make_interval(hours => :hours), "
    "next_try_at = clock_timestamp() + make_interval(secs => least(:first * 2 ^ least(tries - 1, 20), :longest)) "
    "WHERE id = :id AND open RETURNING open"
)


def failed(connection: Connection, notification: Notification, reason: str, final: bool) -> bool:
    """Record that a notification was not taken. Returns whether it was given up."""
    parameters = {"id": notification.id, "reason": reason[:2000], "final": final, "hours": _GIVE_UP}
    times = {"first": _FIRST, "longest": _LONGEST}
    return not connection.execute(_FAILED, parameters | times).scalar_one_or_none()


# What is not sent.
_AGES = text(
    "SELECT kind, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS age, "
    "greatest(extract(epoch FROM clock_timestamp() - min(next_try_at)), 0)::float8 AS overdue "
    "FROM argosy.outbox WHERE open GROUP BY kind"
)


def ages(connection: Connection) -> dict[str, tuple[float, float]]:
    """By kind, for how many seconds the oldest row is not sent, and the one that is due longest waits to be tried."""
    return {row.kind: (row.age, row.overdue) for row in connection.execute(_AGES)}
