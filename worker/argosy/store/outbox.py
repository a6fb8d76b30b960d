"""The outbox: what is to be told, and to whom: the ends of launches, and mails that callers send. A row is there once for a launch, its end
and a receiver.

`store/telling.py` writes the rows of launches that ended. Whoever sends a row has it for a time; a process that dies after it has sent, and
before it has written so, sends it again with the same key.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from argosy.errors import QueueFull
from argosy.shapes.mails import EmailSpec
from argosy.store import rows

_CLAIM = 60.0
"""Seconds for which somebody who sends a row has it."""

_FIRST, _LONGEST = 5.0, 3600.0
"""Seconds between two tries: at first, and at most. They double."""

_GIVE_UP = 72
"""Hours after which a row is given up."""

_MAILS_MOST = 1000
"""Mails of callers that may wait in one project."""

_FORGOTTEN = 1000
"""Rows of one batch that retention deletes."""


@dataclass(frozen=True)
class Notification:
    """A row that is to be sent now. `key` is the same at each try. `token_sealed` is the token with which the platform is asked for what a
    mail attaches."""

    id: int
    gid: UUID | None
    project: int
    kind: str
    recipient: str
    key: str
    body: dict[str, Any]
    tries: int
    token_sealed: bytes | None = None


# One row for an end and a receiver.
_PUT = text(
    "INSERT INTO argosy.outbox (gid, project, kind, recipient, key, body, token_sealed) "
    "SELECT gid, project, kind, recipient, key, body, decode(token, 'base64') FROM json_to_recordset(CAST(:rows AS json)) "
    "AS r (gid uuid, project bigint, kind text, recipient text, key text, body jsonb, token text) ON CONFLICT DO NOTHING"
)


def put(connection: Connection, new: Sequence[Mapping[str, Any]]) -> None:
    """Write rows. One that is there already stays as it is."""
    connection.execute(_PUT, {"rows": rows.recordset(list(new))})


def mails(
    spec: EmailSpec, project: int, key: str, token: bytes | None, gid: UUID | None = None
) -> list[dict[str, Any]]:
    """The rows of a mail, one for each recipient, so that one who is refused keeps it from no other.

    Args:
        spec: The mail.
        project: In whose name.
        key: The same at each try.
        token: The sealed token of who sends it; it is kept only where there is something to attach.
        gid: The launch that it tells of.
    """
    body = spec.model_dump(exclude={"recipients"}, exclude_none=True)
    sealed = b64encode(token).decode() if token and spec.attachments else None
    common = {"gid": gid, "project": project, "kind": "email", "key": key, "token": sealed}
    return [common | {"recipient": address, "body": body | {"name": name}} for address, name in spec.people().items()]


# Mails of callers that wait; the project's are counted one after another.
_ORDER = text("SELECT pg_advisory_xact_lock(hashtextextended('argosy.outbox', :project))")
_WAITING = text("SELECT count(*) FROM argosy.outbox WHERE open AND gid IS NULL AND project = :project")


def mail(connection: Connection, project: int, spec: EmailSpec, token: bytes | None) -> None:
    """Write a mail that a caller sends.

    Raises:
        QueueFull: Too many mails of the project wait.
    """
    connection.execute(_ORDER, {"project": project})
    waiting = connection.execute(_WAITING, {"project": project}).scalar_one()
    if waiting + len(spec.people()) > _MAILS_MOST:
        raise QueueFull(f"{waiting} mails of project {project} wait already, and {_MAILS_MOST} may; try again later")
    put(connection, mails(spec, project, f"mail.{uuid4()}", token))


# Some rows of each project that are due: one look into the index `ix_outbox_due` for each project that has open rows, however many these
# are. The statement's time and not the clock's: what changes within a statement is no bound of an index.
_CLAIMED = text(
    """
    WITH RECURSIVE tenant AS (
        (SELECT project FROM argosy.outbox WHERE open AND kind = :kind ORDER BY project LIMIT 1)
        UNION ALL
        SELECT (SELECT o.project FROM argosy.outbox o WHERE o.open AND o.kind = :kind AND o.project > t.project
            ORDER BY o.project LIMIT 1) FROM tenant t WHERE t.project IS NOT NULL
    ), due AS (
        SELECT d.id, d.next_try_at, t.busy, row_number() OVER (PARTITION BY t.project ORDER BY d.next_try_at, d.id) AS place
        FROM (SELECT project, project = ANY (CAST(:busy AS bigint[])) AS busy FROM tenant WHERE project IS NOT NULL) t
        CROSS JOIN LATERAL (SELECT id, next_try_at FROM argosy.outbox WHERE open AND kind = :kind AND project = t.project
            AND next_try_at <= statement_timestamp() ORDER BY next_try_at, id LIMIT CASE WHEN t.busy THEN 1 ELSE 4 END) d
        WHERE :room OR NOT t.busy
    )
    UPDATE argosy.outbox o SET tries = tries + 1, next_try_at = clock_timestamp() + make_interval(secs => :claim) FROM (
        SELECT id FROM argosy.outbox WHERE id IN (SELECT id FROM due ORDER BY busy, place, next_try_at LIMIT :most)
        AND open AND next_try_at <= statement_timestamp() FOR UPDATE SKIP LOCKED
    ) d WHERE o.id = d.id
    RETURNING o.id, o.gid, o.project, o.kind, o.recipient, o.key, o.body, o.tries, o.token_sealed
    """
)


def claim(connection: Connection, kind: str, most: int, busy: Sequence[int], room: bool) -> list[Notification]:
    """Take rows that are due, for a time: the oldest few of each project, those of projects that have nothing under way first.

    Args:
        connection: In a transaction.
        kind: `webhook` or `email`.
        most: How many at most.
        busy: Projects that have something under way.
        room: Whether there is room for more of these.
    """
    parameters = {"claim": _CLAIM, "kind": kind, "most": most, "busy": list(busy), "room": room}
    return [Notification(**row._mapping) for row in connection.execute(_CLAIMED, parameters)]


# Taken by its receiver.
_SENT = text(
    "UPDATE argosy.outbox SET open = false, sent_at = clock_timestamp(), reason = :note, token_sealed = NULL "
    "WHERE id = :id AND open"
)


def sent(connection: Connection, notification: Notification, note: str = "") -> None:
    """Record that a notification was taken.

    Args:
        connection: In a transaction.
        notification: Which.
        note: What was not as it should be.
    """
    connection.execute(_SENT, {"id": notification.id, "note": note[:2000]})


# Tried again later, or given up.
_FAILED = text(
    "UPDATE argosy.outbox SET reason = :reason, open = goes_on, token_sealed = CASE WHEN goes_on THEN token_sealed END, "
    "next_try_at = clock_timestamp() + make_interval(secs => least(:first * 2 ^ least(tries - 1, 20), :longest)) "
    "FROM (SELECT id AS this, NOT :final AND created_at > clock_timestamp() - make_interval(hours => :hours) AS goes_on "
    "FROM argosy.outbox WHERE id = :id) f WHERE id = this AND open RETURNING open"
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


# Mails of callers that are done with; those of launches go with their launch.
_FORGET = text(
    "DELETE FROM argosy.outbox WHERE id IN (SELECT id FROM argosy.outbox WHERE gid IS NULL AND NOT open "
    "AND created_at < now() - make_interval(days => :days) LIMIT :most)"
)


def forget(connection: Connection, days: int) -> int:
    """Delete a batch of callers' mails that were sent or given up, and are more than `days` days old. Returns how many."""
    return connection.execute(_FORGET, {"days": days, "most": _FORGOTTEN}).rowcount
