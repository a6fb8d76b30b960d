"""Launch rows on their way to jobs: claimed by the worker that works on them, frozen into what they run with, put off, or rejected.

A launch is a committed row before any wake-up exists (P10); how it is cut is in cutting.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import NotFound
from argosy.store import placements, rows


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
    files_per_job: int | None


@dataclass(frozen=True)
class Frozen:
    """The frozen inputs of a launch: later changes of its algorithm do not matter. `media_ids` is None where they are stored already."""

    algorithm_id: int
    cluster_ids: list[int]
    cluster_labels: dict[str, str]
    manifest: str
    parameters: list[tuple[str, str]]
    files_per_job: int
    media_ids: list[int] | None
    jobs: int
    max_attempts: int
    retry_backoff: float
    pending_deadline: float | None
    run_deadline: float | None


@dataclass(frozen=True)
class Frame:
    """The values that all jobs of an expanded launch share when they are rendered."""

    gid: UUID
    project: int
    user_id: int
    algorithm_id: int
    algorithm_name: str
    manifest: str
    parameters: list[list[str]]
    token_sealed: bytes | None
    secret_id: UUID


# The request of a launch.
_GET = text(
    "SELECT gid, project, user_id, algorithm_name, media_query, media_ids, extra_params, token_sealed, files_per_job "
    "FROM argosy.launch WHERE gid = :gid"
)


def get(connection: Connection, gid: UUID) -> Request:
    """A launch as it was asked for."""
    row = connection.execute(_GET, {"gid": gid}).one()
    return Request(**row._mapping)


# Values that all jobs of a launch share.
_FRAME = text(
    "SELECT gid, project, user_id, algorithm_id, algorithm_name, manifest, parameters, token_sealed, secret_id "
    "FROM argosy.launch WHERE gid = :gid"
)


def frame(connection: Connection, gid: UUID) -> Frame:
    """The values of an expanded launch that rendering needs."""
    row = connection.execute(_FRAME, {"gid": gid}).one()
    return Frame(**row._mapping)


@dataclass(frozen=True)
class Claim:
    """A launch in one worker's hands: nobody else works on it until its time is over, and what is written for it carries the epoch.

    `state` is `accepted` or `resolved`; `tries` counts the claims since it last got further, this one included; `reason` says why the last
    one did not.
    """

    gid: UUID
    epoch: int
    project: int
    state: str
    tries: int
    reason: str


MINE = "gid = :gid AND claim_epoch = :epoch"


@dataclass(frozen=True)
class Progress:
    """A launch that may be worked on: whose it is, and whether its media must be asked for."""

    project: int
    asks: bool


# Where a launch is on its way to be cut.
_STANDING = text(
    "SELECT project, state = 'accepted' AND media_ids IS NULL AS asks, "
    "state IN ('accepted', 'resolved') AND next_try_at <= clock_timestamp() AS due FROM argosy.launch WHERE gid = :gid"
)


def standing(connection: Connection, gid: UUID) -> Progress | None:
    """A launch as a worker finds it before it claims it; None where there is nothing to do for it now.

    Raises:
        NotFound: It is not in the database.
    """
    row = connection.execute(_STANDING, {"gid": gid}).one_or_none()
    if row is None:
        raise NotFound(f"launch {gid} is not in the database")
    return Progress(row.project, row.asks) if row.due else None


# Only the holder of the newest epoch works on it.
_CLAIM = text(
    "UPDATE argosy.launch SET claim_worker = :worker, claim_epoch = claim_epoch + 1, tries = tries + 1, "
    "next_try_at = clock_timestamp() + make_interval(secs => :lease) WHERE gid = (SELECT gid FROM argosy.launch "
    "WHERE gid = :gid AND state IN ('accepted', 'resolved') AND next_try_at <= clock_timestamp() "
    "FOR NO KEY UPDATE SKIP LOCKED) RETURNING gid, claim_epoch AS epoch, project, state, tries, reason"
)


def claim(connection: Connection, gid: UUID, worker: str, lease: float) -> Claim | None:
    """Take a launch in hand, in a transaction of its own before anything is done for it.

    Args:
        connection: In a transaction, which the caller commits at once.
        gid: Which.
        worker: Who, for people.
        lease: Seconds until somebody else may, unless the claim is renewed.

    Returns:
        None where there is nothing to do, or somebody is at it, or its time to be tried again has not come.
    """
    row = connection.execute(_CLAIM, {"gid": gid, "worker": worker, "lease": lease}).one_or_none()
    return None if row is None else Claim(**row._mapping)


def renew(connection: Connection, claims: Sequence[Claim], lease: float) -> None:
    """Keep claims for `lease` seconds from now; those whose row is locked at this moment are not waited for."""
    _each(connection, claims, "next_try_at = clock_timestamp() + make_interval(secs => :lease)", lease=lease)


def release(connection: Connection, claims: Sequence[Claim]) -> None:
    """Hand launches back that were not worked to an end, for others to take at once. It counts as no try."""
    _each(
        connection,
        claims,
        "claim_worker = NULL, claim_epoch = claim_epoch + 1, tries = greatest(tries - 1, 0), next_try_at = clock_timestamp()",
    )


def _each(connection: Connection, claims: Sequence[Claim], change: str, **parameters: float) -> None:
    connection.execute(
        text(
            f"UPDATE argosy.launch SET {change} WHERE gid IN (SELECT l.gid FROM argosy.launch l "
            "JOIN json_to_recordset(CAST(:claims AS json)) AS c (gid uuid, epoch int) "
            "ON l.gid = c.gid AND l.claim_epoch = c.epoch WHERE l.state IN ('accepted', 'resolved') AND l.claim_worker IS NOT NULL "
            "ORDER BY l.gid FOR NO KEY UPDATE OF l SKIP LOCKED)"
        ),
        {"claims": rows.recordset(claims)} | parameters,
    )


# Freeze the inputs of the launch, once.
_FREEZE = text(
    "UPDATE argosy.launch SET state = 'resolved', reason = '', tries = 0, algorithm_id = :algorithm_id, placement_id = :placement, "
    "manifest = :manifest, parameters = CAST(:parameters AS jsonb), files_per_job = :files_per_job, "
    "media_ids = coalesce(CAST(:media_ids AS bigint[]), media_ids), jobs = :jobs, "
    "max_attempts = :max_attempts, retry_backoff = :retry_backoff, "
    f"pending_deadline = :pending_deadline, run_deadline = :run_deadline WHERE {MINE} AND state = 'accepted'"
)


def freeze(connection: Connection, claim: Claim, frozen: Frozen) -> Claim | None:
    """accepted → resolved.

    Returns:
        The claim that goes on; None where it was cancelled, or its claim is somebody else's now.

    Raises:
        NotFound: No registered cluster may take its jobs any more.
    """
    placement = placements.put(connection, frozen.cluster_ids, frozen.cluster_labels)
    placements.required(connection, placement)
    done = connection.execute(
        _FREEZE,
        vars(frozen)
        | {
            "gid": claim.gid,
            "epoch": claim.epoch,
            "parameters": rows.json(frozen.parameters),
            "media_ids": rows.array(frozen.media_ids),
            "placement": placement,
        },
    ).rowcount
    return replace(claim, state="resolved", tries=0, reason="") if done else None


# It can never be cut.
_REJECT = text(
    "UPDATE argosy.launch SET state = 'rejected', reason = :reason, claim_worker = NULL, jobs = expanded_jobs, "
    "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END "
    f"WHERE {MINE} AND state IN ('accepted', 'resolved')"
)


def reject(connection: Connection, claim: Claim, reason: str) -> bool:
    """End a launch. The token is of no more use and goes, unless jobs that were cut already need it.

    Returns:
        False where it was cancelled, or its claim is somebody else's now.
    """
    return bool(connection.execute(_REJECT, {"gid": claim.gid, "epoch": claim.epoch, "reason": reason}).rowcount)


# It waits for longer each time.
_POSTPONE = text(
    "UPDATE argosy.launch SET reason = :reason, claim_worker = NULL, "
    f"next_try_at = clock_timestamp() + make_interval(secs => :seconds) WHERE {MINE} AND state IN ('accepted', 'resolved')"
)


def postpone(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """Leave a launch for later, with the reason in sight."""
    connection.execute(_POSTPONE, {"gid": claim.gid, "epoch": claim.epoch, "reason": reason, "seconds": seconds})


# Forget the last error.
_FRESH = text(f"UPDATE argosy.launch SET tries = 0 WHERE {MINE}")


def wait(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """As `postpone`, for as long as it takes: no try is counted."""
    postpone(connection, claim, reason, seconds)
    connection.execute(_FRESH, {"gid": claim.gid, "epoch": claim.epoch})


# Launches whose time has come; woken ones again only when that went nowhere.
_DUE = text(
    "UPDATE argosy.launch l SET woken_at = clock_timestamp() FROM (SELECT gid FROM argosy.launch "
    "WHERE state IN ('accepted', 'resolved') AND greatest(next_try_at, woken_at) < clock_timestamp() - make_interval(secs => :age) "
    "ORDER BY woken_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) d WHERE l.gid = d.gid RETURNING l.gid"
)


def due(connection: Connection, older_than: float, limit: int = 500) -> list[UUID]:
    """Launches that nobody works on and somebody should: their wake-up was lost, their worker died, or their time to try again has come.

    Those that were returned longest ago come first: however many get no further, all others have their turn.

    Args:
        connection: In a transaction.
        older_than: Seconds that a launch may wait for its own wake-up.
        limit: The most to return.
    """
    rows = connection.execute(_DUE, {"age": older_than, "limit": limit})
    return [row.gid for row in rows]
