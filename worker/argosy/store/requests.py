"""A launch request as a row. It is written in the caller's own transaction: together with the caller's other rows, or not at all (P10).

Of the caller's database library it only needs a DB-API cursor.
"""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from argosy.batches import JobUids, count, made, ordinal
from argosy.errors import Conflict, InvalidRequest, NotFound, QueueFull
from argosy.shapes.given import LaunchRequest, Origin
from argosy.shapes.mails import EmailSpec
from argosy.store import notices, rows
from argosy.store.conditions import DELAYED, GID_NODE, READY, UIDS_NODE, ended
from argosy.store.cursors import Cursor

SKEW = timedelta(seconds=5)
"""How far the clock that made a gid may be ahead of the database's."""


_ALGORITHM = """
SELECT (SELECT files_per_job FROM argosy.algorithm WHERE project = %s AND name = %s),
       EXISTS (SELECT FROM argosy.launch WHERE gid = %s)
"""

COLUMNS = (
    "gid", "project", "user_id", "algorithm_name", "request_digest", "media_query", "media_ids", "extra_params", "success_email",
    "failure_email", "token_sealed", "priority", "files_per_job", "jobs", "skip_done", "after_gid", "after_if", "cancel_with", "waiting",
    "reason", "webhook", "untold",
)  # fmt: skip
"""The columns of a launch that a request fills."""

_INSERT = f"""
INSERT INTO argosy.launch ({", ".join(COLUMNS)})
SELECT %s, %s, %s, %s, %s, %s,
       %s::text::bigint[], %s::text::jsonb, %s::text::jsonb, %s::text::jsonb, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
WHERE to_timestamp(%s) BETWEEN clock_timestamp() - make_interval(days => %s, hours => -1) AND clock_timestamp() + interval '1 hour'
ON CONFLICT (gid) DO NOTHING RETURNING files_per_job
"""
# files_per_job is fixed here, so that a caller that gave the media can return all job uids at once. A gid that is older than the retention
# window, by the database's clock, is refused: its launch may have run and been forgotten, and would run a second time (P1). The window is
# an hour shorter than the retention, because a gid's time may be an hour later than its launch was written.


def digest(request: LaunchRequest) -> str:
    """Hash of the fields that make two requests the same: all that are set, except the token, which is sealed differently each time.

    Fields with their default value are left out. So a field that a later version adds does not change the digest of a redelivered request.
    """
    return _sha256(request.model_dump(mode="json", exclude={"token_sealed"}, exclude_defaults=True))


_FORMER_FIELDS = {
    "version", "gid", "project", "user", "algorithm_name", "media_ids", "media_query", "extra_params", "success_email_spec",
    "failure_email_spec", "priority",
}  # fmt: skip


def _former_digest(request: LaunchRequest) -> str:
    """The digest as rows from before migration 0004 have it: their requests may be redelivered after the upgrade."""
    return _sha256(request.model_dump(mode="json", include=_FORMER_FIELDS))


def _sha256(fields: dict[str, Any]) -> str:
    return sha256(orjson.dumps(fields)).hexdigest()


@dataclass(frozen=True)
class WrittenLaunch:
    """A launch row: whether it is `new`; how many jobs it will have (None if that is not known yet: for a query, if media that are done
    are left out, or for an algorithm that is not registered); its state; and how many jobs of its project are queued before it."""

    new: bool
    jobs: int | None
    state: str
    position: int


_CAP = "SELECT argosy.room_of(%s)"
# If a project has a cap, its launches are inserted one after another, so that two of them cannot both take the last room. The function
# writes the project's row: a caller in REPEATABLE READ cannot see what another launch has just queued, and must get a serialization
# failure.

_QUEUED = f"""
SELECT (SELECT count(*) FROM (
    SELECT FROM argosy.placement p JOIN argosy.attempt a ON a.placement_id = p.id AND a.project = %s AND {READY}
    UNION ALL SELECT FROM argosy.placement p JOIN argosy.attempt a ON a.placement_id = p.id AND a.project = %s AND {DELAYED}
    LIMIT %s) ahead)
  + (SELECT coalesce(sum(greatest(jobs - expanded_jobs, 1)), 0) FROM argosy.launch
     WHERE project = %s AND state IN ('accepted', 'resolved') AND gid <> %s)
"""

_FAR = 10_000
"""Positions in the queue are counted only up to this, so that the cost of a launch does not grow with the queue."""


def _queued(cursor: Cursor, project: int, gid: UUID, at_most: int | None) -> int:
    """How many jobs of a project are queued, including those of launches that are not cut yet, but not those of launch `gid`."""
    cursor.execute(_QUEUED, (project, project, at_most, project, str(gid)))
    return int(cursor.fetchone()[0])


def check_room(cursor: Cursor, project: int, gid: UUID, jobs: int) -> None:
    """Check that a project's cap allows `jobs` more queued jobs.

    Raises:
        QueueFull: The cap does not allow them.
    """
    cursor.execute(_CAP, (project,))
    (cap,) = cursor.fetchone()
    if cap is None:
        return
    before = _queued(cursor, project, gid, None)
    if before + jobs > cap:
        raise QueueFull(
            f"too many queued jobs: project {project} has {before}, this adds {jobs}, and it may have {cap}; wait until some have "
            "started, or cancel some"
        )


Judge = Callable[[Cursor, LaunchRequest], None]
"""Looks at a request that is about to be written, and raises what is wrong with it."""


def insert(cursor: Cursor, request: LaunchRequest, retention_days: int, judge: Judge | None = None) -> WrittenLaunch:
    """Write a launch and its notice in the cursor's transaction; the same request again makes no second launch.

    Args:
        cursor: In the transaction.
        request: What is asked for.
        retention_days: Days after which ended launches are forgotten.
        judge: Asked before a new launch is written.

    Raises:
        Conflict: The gid is taken by another request or a job.
        InvalidRequest: The gid's time is more than an hour ahead, or before the retention window.
        NotFound: The project has no launch after which this one is to run.
        QueueFull: The project has too many queued jobs.
    """
    cursor.execute(_ALGORITHM, (request.project, request.algorithm_name, str(request.gid)))
    files_per_job, there = cursor.fetchone()
    jobs = _jobs(request, files_per_job)
    waits_for = ""
    if not there:
        check_gid(cursor, request.gid)
        if judge is not None:
            judge(cursor, request)
        waits_for = _waits_for(cursor, request)
        check_room(cursor, request.project, request.gid, jobs or 1)
    fingerprint = digest(request)
    cursor.execute(
        _INSERT,
        (
            str(request.gid),
            request.project,
            request.user,
            request.algorithm_name,
            fingerprint,
            request.media_query,
            rows.array(request.media_ids),
            rows.json([parameter.model_dump() for parameter in request.extra_params]),
            _mail(request.success_email_spec),
            _mail(request.failure_email_spec),
            b64decode(request.token_sealed) if request.token_sealed else None,
            request.priority,
            files_per_job,
            jobs or 0,
            request.skip_done,
            None if request.after is None else str(request.after),
            request.after_if,
            request.cancel_with,
            bool(waits_for),
            waits_for,
            request.webhook,
            any((request.webhook, request.success_email_spec, request.failure_email_spec)),
            made(request.gid).timestamp(),
            retention_days,
        ),
    )
    row = cursor.fetchone()
    if row is not None:
        notices.launch_accepted(cursor, request.gid)
        return WrittenLaunch(
            True, _jobs(request, row[0]), "accepted", _queued(cursor, request.project, request.gid, _FAR)
        )
    return _repeated(cursor, request, fingerprint, retention_days)


def _mail(spec: EmailSpec | None) -> str | None:
    return None if spec is None else rows.json(spec.model_dump(exclude_none=True))


def _repeated(cursor: Cursor, request: LaunchRequest, fingerprint: str, retention_days: int) -> WrittenLaunch:
    """The launch that already has the request's gid, if its request was the same. Raises as `insert`."""
    cursor.execute(
        "SELECT request_digest, files_per_job, state, jobs FROM argosy.launch WHERE gid = %s", (str(request.gid),)
    )
    row = cursor.fetchone()
    if row is None:
        raise InvalidRequest(
            f"gid {request.gid}: its time must be within the last {retention_days} days (less an hour) and at most an hour ahead; make a "
            "new one, or check the clock that made it"
        )
    if row[0] not in {fingerprint, _former_digest(request)}:
        raise Conflict(f"gid {request.gid} belongs to another launch; make a new one (version-1 UUID) for each request")
    cursor.execute("SELECT count(*) FROM argosy.attempt WHERE gid = %s AND state = 'queued'", (str(request.gid),))
    own = int(cursor.fetchone()[0])
    jobs = row[3] if row[2] == "expanded" else _jobs(request, row[1])
    return WrittenLaunch(False, jobs, row[2], max(_queued(cursor, request.project, request.gid, _FAR) - own, 0))


# Retention does not delete it before this transaction ends.
_KEEP = "SELECT argosy.keep_launch(%s, %s)"

_PREDECESSOR = f"SELECT {ended('p')} FROM argosy.launch p WHERE gid = %s AND project = %s"


def _waits_for(cursor: Cursor, request: LaunchRequest) -> str:
    """What a launch waits for, for people; empty if for nothing.

    Raises:
        NotFound: The project has no such launch.
    """
    if request.after is None:
        return ""
    cursor.execute(_KEEP, (str(request.after), request.project))
    cursor.execute(_PREDECESSOR, (str(request.after), request.project))
    row = cursor.fetchone()
    if row is None:
        raise NotFound(
            f"after: launch {request.after} does not exist in project {request.project}; launch that one first, and this one after it"
        )
    if row[0]:
        # It is judged all the same, when a worker begins.
        return f"launch {request.after} has ended"
    all_jobs = "have Succeeded" if request.after_if == "ok" else "have ended"
    return f"waits until all jobs of launch {request.after} {all_jobs}"


def _jobs(request: LaunchRequest, files_per_job: int | None) -> int | None:
    if request.media_ids is None or request.skip_done or files_per_job is None:
        return None
    return count(len(request.media_ids), files_per_job)


_NEIGHBOURS = f"SELECT gid FROM argosy.launch WHERE {UIDS_NODE} = %s OR {GID_NODE} = %s"


def check_gid(cursor: Cursor, gid: UUID) -> None:
    """A launch and a job must not have the same id: a cancel of one would cancel the other, perhaps another tenant's.

    Raises:
        Conflict: The gid is the uid of a job, or one of its jobs would have another launch's gid, whether they have rows yet or not.
    """
    cursor.execute(_NEIGHBOURS, (gid.bytes[11:], JobUids(gid, 1)[0].bytes[11:]))
    while (row := cursor.fetchone()) is not None:
        other = UUID(str(row[0]))
        if ordinal(other, gid) is not None or ordinal(gid, other) is not None:
            raise Conflict(
                f"gid {gid} is, or one of its jobs would have, an id that is taken; make a new one (version-1 UUID)"
            )


_REFUSE = """
INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest, state, reason, jobs)
VALUES (%s, %s, %s, %s, 'refused', 'rejected', %s, 0) ON CONFLICT (gid) DO NOTHING
"""


# A launch that only says why its message was refused.
_FORGET = text("DELETE FROM argosy.launch WHERE gid = :gid AND request_digest = 'refused' AND state = 'rejected'")


def forget_refused(connection: Connection, gid: UUID) -> None:
    """Forget that a message was refused, because it is tried again."""
    connection.execute(_FORGET, {"gid": gid})


def refuse(cursor: Cursor, sender: Origin, reason: str) -> None:
    """Write a launch that cannot be read as a rejected one, so that whoever sent it learns why from its gid.

    Raises:
        Conflict: The gid is, or would be, the id of something else.
    """
    check_gid(cursor, sender.gid)
    cursor.execute(_REFUSE, (str(sender.gid), sender.project, sender.user, sender.algorithm_name, reason))
