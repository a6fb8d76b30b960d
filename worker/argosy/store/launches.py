"""Launch rows: accepted, resolved, expanded into jobs, or rejected.

`insert` speaks DB-API, because it also runs inside the API server's own transaction on whatever connection that has (Django's,
SQLAlchemy's, psycopg's): the launch and the caller's other rows are then committed together or not at all (design §6). Everything
else is argosy's own. A launch is a committed row before any wake-up exists.
"""

from base64 import b64decode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import orjson
from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, CursorResult, text

from argosy.batches import JobUids, batches
from argosy.errors import Conflict, InvalidRequest
from argosy.shapes import LaunchRequest

_UUID_EPOCH = 0x01B21DD213814000
"""Version-1 UUIDs count 100 ns from 1582-10-15; this is 1970."""

CHANNEL = "argosy_launch"
"""NOTIFY channel whose payload is a new launch's gid."""


class Cursor(Protocol):
    """The part of a DB-API cursor that an insert needs; parameter style `%s`."""

    def execute(self, query: Any, params: Any = None, /) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """The next row, or None."""


class OwnCursor:
    """A cursor on argosy's own pool, whose errors are SQLAlchemy's and whose broken connections leave the pool.

    Args:
        connection: In a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._result: CursorResult[Any] | None = None

    def execute(self, query: Any, params: Any = None, /) -> Any:
        """Run one statement."""
        self._result = self._connection.exec_driver_sql(query, params)

    def fetchone(self) -> Any:
        """The next row, or None."""
        return None if self._result is None else self._result.fetchone()


_INSERT = """
INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest, media_query, media_ids, extra_params,
                           success_email, failure_email, token_sealed, files_per_job)
SELECT %s, %s, %s, %s, %s, %s, %s::bigint[], %s::jsonb, %s::jsonb, %s::jsonb, %s,
       (SELECT files_per_job FROM argosy.algorithm WHERE project = %s AND name = %s)
WHERE to_timestamp(%s) BETWEEN clock_timestamp() - make_interval(days => %s) AND clock_timestamp() + interval '1 hour'
ON CONFLICT (gid) DO NOTHING RETURNING files_per_job
"""
# files_per_job is fixed here already, so that a caller who gave the media can answer with all uids at once. A gid from before the retention
# window is refused, by the database's clock: its former jobs may be forgotten, and would run a second time (design §5.1).


def digest(request: LaunchRequest) -> str:
    """What makes two requests the same: everything but the token, which no two sealings share."""
    return sha256(orjson.dumps(request.model_dump(mode="json", exclude={"token_sealed"}))).hexdigest()


@dataclass(frozen=True)
class Written:
    """A launch row: whether it is `new`, and its files_per_job, None where its algorithm is not registered."""

    new: bool
    files_per_job: int | None


def insert(cursor: Cursor, request: LaunchRequest, retention_days: int) -> Written:
    """Write a launch and its notice in the cursor's transaction; the same request again is no new launch.

    Args:
        cursor: In the transaction.
        request: What is asked for.
        retention_days: Days after which ended launches are forgotten.

    Raises:
        Conflict: The gid is taken by another request.
        InvalidRequest: The gid's time is more than an hour ahead, or before the retention window.
    """
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
            request.media_ids,
            _json([parameter.model_dump() for parameter in request.extra_params]),
            _json(request.success_email_spec),
            _json(request.failure_email_spec),
            b64decode(request.token_sealed) if request.token_sealed else None,
            request.project,
            request.algorithm_name,
            (request.gid.time - _UUID_EPOCH) / 1e7,
            retention_days,
        ),
    )
    row = cursor.fetchone()
    if row is not None:
        cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(request.gid)))
        return Written(True, row[0])
    cursor.execute("SELECT request_digest, files_per_job FROM argosy.launch WHERE gid = %s", (str(request.gid),))
    row = cursor.fetchone()
    if row is None:
        raise InvalidRequest(
            f"gid {request.gid}: its time must be within the last {retention_days} days and at most an hour ahead; make a new one, or "
            "check the clock that made it"
        )
    if row[0] != fingerprint:
        raise Conflict(f"gid {request.gid} belongs to another launch; make a new one (version-1 UUID) for each request")
    return Written(False, row[1])


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


@dataclass(frozen=True)
class Request:
    """An accepted launch, as read back for resolving."""

    gid: UUID
    project: int
    user_id: int
    algorithm_name: str
    media_query: str | None
    media_ids: list[int] | None
    extra_params: list[dict[str, Any]]
    token_sealed: bytes | None
    state: str
    tries: int
    files_per_job: int | None


@dataclass(frozen=True)
class Frozen:
    """What a launch runs with, whatever happens to its algorithm afterwards."""

    algorithm_id: int
    cluster_id: int
    manifest: str
    parameters: list[tuple[str, str]]
    files_per_job: int
    media_ids: list[int]
    max_attempts: int
    retry_backoff: float


@dataclass(frozen=True)
class Frame:
    """What all jobs of an expanded launch share when they are rendered."""

    gid: UUID
    project: int
    user_id: int
    algorithm_id: int
    algorithm_name: str
    manifest: str
    parameters: list[list[str]]
    token_sealed: bytes | None


def get(connection: Connection, gid: UUID) -> Request | None:
    """An unexpanded or expanded launch as it was asked for; media_ids are the resolved ones once it is."""
    row = connection.execute(
        text(
            "SELECT gid, project, user_id, algorithm_name, media_query, media_ids, extra_params, token_sealed, state, "
            "tries, files_per_job "
            "FROM argosy.launch WHERE gid = :gid"
        ),
        {"gid": gid},
    ).one_or_none()
    return None if row is None else Request(**row._mapping)


def frame(connection: Connection, gid: UUID) -> Frame:
    """What rendering needs of an expanded launch."""
    row = connection.execute(
        text(
            "SELECT gid, project, user_id, algorithm_id, algorithm_name, manifest, parameters, token_sealed "
            "FROM argosy.launch WHERE gid = :gid"
        ),
        {"gid": gid},
    ).one()
    return Frame(**row._mapping)


def freeze(connection: Connection, gid: UUID, frozen: Frozen) -> None:
    """accepted → resolved. Does nothing where another worker was first."""
    connection.execute(
        text(
            "UPDATE argosy.launch SET state = 'resolved', reason = '', algorithm_id = :algorithm_id, cluster_id = :cluster_id, "
            "manifest = :manifest, parameters = CAST(:parameters AS jsonb), files_per_job = :files_per_job, "
            "media_ids = :media_ids, max_attempts = :max_attempts, retry_backoff = :retry_backoff WHERE gid = :gid AND state = 'accepted'"
        ),
        {
            "gid": gid,
            "algorithm_id": frozen.algorithm_id,
            "cluster_id": frozen.cluster_id,
            "manifest": frozen.manifest,
            "parameters": _json(frozen.parameters),
            "files_per_job": frozen.files_per_job,
            "media_ids": frozen.media_ids,
            "max_attempts": frozen.max_attempts,
            "retry_backoff": frozen.retry_backoff,
        },
    )


def reject(connection: Connection, gid: UUID, reason: str) -> None:
    """accepted → rejected; the token is of no more use and goes."""
    connection.execute(
        text(
            "UPDATE argosy.launch SET state = 'rejected', reason = :reason, token_sealed = NULL "
            "WHERE gid = :gid AND state = 'accepted'"
        ),
        {"gid": gid, "reason": reason},
    )


def postpone(connection: Connection, gid: UUID, reason: str, seconds: float) -> None:
    """Leave an accepted launch for later, with the reason in sight."""
    connection.execute(
        text(
            "UPDATE argosy.launch SET reason = :reason, tries = tries + 1, "
            "next_try_at = clock_timestamp() + make_interval(secs => :seconds) WHERE gid = :gid AND state = 'accepted'"
        ),
        {"gid": gid, "reason": reason, "seconds": seconds},
    )


def expand(connection: Connection, gid: UUID) -> int | None:
    """resolved → expanded: one job and its first attempt per batch, in bulk, under the launch's row lock. Jobs that were cancelled
    before they had a row begin as cancelled ones.

    Returns:
        The cluster whose queue grew, None where another worker was first.
    """
    launch = connection.execute(
        text(
            "SELECT gid, project, user_id, media_ids, files_per_job, cluster_id, max_attempts FROM argosy.launch "
            "WHERE gid = :gid AND state = 'resolved' FOR UPDATE"
        ),
        {"gid": gid},
    ).one_or_none()
    if launch is None:
        return None
    cut = list(batches(launch.media_ids, launch.files_per_job))
    driver: PsycopgConnection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    with driver.cursor().copy("COPY argosy.job (uid, gid, ordinal, project, user_id, media_ids) FROM STDIN") as copy:
        for ordinal, (uid, media) in enumerate(zip(JobUids(gid, len(cut)), cut, strict=True)):
            copy.write_row((uid, gid, ordinal, launch.project, launch.user_id, media))
    parameters = {"gid": gid, "jobs": len(cut), "cluster": launch.cluster_id, "retries": launch.max_attempts - 1}
    connection.execute(
        text(
            "UPDATE argosy.job j SET cancel_requested = true, hidden = c.hidden FROM argosy.early_cancel c "
            "WHERE j.gid = :gid AND c.gid = :gid AND c.ordinal = j.ordinal"
        ),
        parameters,
    )
    connection.execute(
        text(
            "INSERT INTO argosy.attempt (uid, number, gid, project, cluster_id, retries_left, state, message, finished_at) "
            "SELECT uid, 1, gid, project, :cluster, :retries, CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END, "
            "CASE WHEN cancel_requested THEN 'cancelled before it was queued' ELSE '' END, "
            "CASE WHEN cancel_requested THEN clock_timestamp() END FROM argosy.job WHERE gid = :gid ORDER BY ordinal"
        ),
        parameters,
    )
    connection.execute(text("DELETE FROM argosy.early_cancel WHERE gid = :gid"), parameters)
    connection.execute(
        text(
            "UPDATE argosy.launch SET state = 'expanded', jobs = :jobs, expanded_at = clock_timestamp() WHERE gid = :gid"
        ),
        parameters,
    )
    cluster_id: int = launch.cluster_id
    return cluster_id


def due(connection: Connection, older_than: float, limit: int = 100) -> list[UUID]:
    """Launches that should have been expanded by now: their wake-up was lost, or their time to try again has come.

    Args:
        connection: Where to ask.
        older_than: Seconds that a launch may wait for its own wake-up.
        limit: The most to return, oldest first.
    """
    rows = connection.execute(
        text(
            "SELECT gid FROM argosy.launch WHERE state IN ('accepted', 'resolved') "
            "AND next_try_at < clock_timestamp() - make_interval(secs => :age) ORDER BY next_try_at LIMIT :limit"
        ),
        {"age": older_than, "limit": limit},
    )
    return [row.gid for row in rows]
