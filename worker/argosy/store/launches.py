"""Launch rows: accepted, resolved, expanded into jobs, or rejected.

`insert` speaks DB-API, because it also runs inside the API server's own transaction on whatever connection that has (Django's,
SQLAlchemy's, psycopg's): the launch and the caller's other rows are then committed together or not at all (P10). Everything
else is argosy's own. A launch is a committed row before any wake-up exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, text

from argosy.batches import JobUids, batches, made
from argosy.errors import ArgosyError, NotFound
from argosy.store import holds, placements, requests, rows, strays


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
    """What a launch runs with, whatever happens to its algorithm afterwards. `media_ids` is None where the launch has them already."""

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
    """What all jobs of an expanded launch share when they are rendered."""

    gid: UUID
    project: int
    user_id: int
    algorithm_id: int
    algorithm_name: str
    manifest: str
    parameters: list[list[str]]
    token_sealed: bytes | None


# What a launch asked for.
_GET = text(
    "SELECT gid, project, user_id, algorithm_name, media_query, media_ids, extra_params, token_sealed, files_per_job "
    "FROM argosy.launch WHERE gid = :gid"
)


def get(connection: Connection, gid: UUID) -> Request:
    """A launch as it was asked for."""
    row = connection.execute(_GET, {"gid": gid}).one()
    return Request(**row._mapping)


# What all jobs of a launch share.
_FRAME = text(
    "SELECT gid, project, user_id, algorithm_id, algorithm_name, manifest, parameters, token_sealed "
    "FROM argosy.launch WHERE gid = :gid"
)


def frame(connection: Connection, gid: UUID) -> Frame:
    """What rendering needs of an expanded launch."""
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


_MINE = "gid = :gid AND claim_epoch = :epoch"


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


# Whoever has the newest epoch works on it.
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


# What the launch runs with is decided, once.
_FREEZE = text(
    "UPDATE argosy.launch SET state = 'resolved', reason = '', tries = 0, algorithm_id = :algorithm_id, placement_id = :placement, "
    "manifest = :manifest, parameters = CAST(:parameters AS jsonb), files_per_job = :files_per_job, "
    "media_ids = coalesce(CAST(:media_ids AS bigint[]), media_ids), jobs = :jobs, "
    "max_attempts = :max_attempts, retry_backoff = :retry_backoff, "
    f"pending_deadline = :pending_deadline, run_deadline = :run_deadline WHERE {_MINE} AND state = 'accepted'"
)


def freeze(connection: Connection, claim: Claim, frozen: Frozen) -> Claim | None:
    """accepted → resolved.

    Returns:
        The claim that goes on; None where it was cancelled, or its claim is somebody else's now.

    Raises:
        NotFound: No registered cluster may take its jobs any more.
    """
    placement = placements.put(connection, frozen.cluster_ids, frozen.cluster_labels)
    _clusters(connection, placement)
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


def _clusters(connection: Connection, placement: int) -> list[int]:
    """The clusters that may take jobs of a placement, kept from being removed until the transaction ends: jobs must not be queued for
    none."""
    found = placements.held(connection, placement)
    if not found:
        raise NotFound(
            "no registered cluster may run its jobs any more: it was removed, or lost the labels that the algorithm asks for, while this "
            "launch was prepared; see: argosy cluster list -o wide"
        )
    return found


# It can never be cut.
_REJECT = text(
    "UPDATE argosy.launch SET state = 'rejected', reason = :reason, claim_worker = NULL, jobs = expanded_jobs, "
    "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END "
    f"WHERE {_MINE} AND state IN ('accepted', 'resolved')"
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
    f"next_try_at = clock_timestamp() + make_interval(secs => :seconds) WHERE {_MINE} AND state IN ('accepted', 'resolved')"
)


def postpone(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """Leave a launch for later, with the reason in sight."""
    connection.execute(_POSTPONE, {"gid": claim.gid, "epoch": claim.epoch, "reason": reason, "seconds": seconds})


class HeldUp(ArgosyError):
    """A launch from before a cluster was held is not cut: it may have been, and have run there, in what the database has lost."""


# What went wrong before is over.
_FRESH = text(f"UPDATE argosy.launch SET tries = 0 WHERE {_MINE}")


def wait(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """As `postpone`, for as long as it takes: no try is counted."""
    postpone(connection, claim, reason, seconds)
    connection.execute(_FRESH, {"gid": claim.gid, "epoch": claim.epoch})


def known_since(gid: UUID, created_at: datetime) -> datetime:
    """From when on a launch may have had jobs. It may have been asked for before its row was written: the row that it had was lost."""
    return min(created_at, made(gid) - requests.SKEW)


# A cluster of its placement that is held.
_HELD = text(
    f"SELECT c.name FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    f"WHERE p.id = :placement AND {holds.HELD} AND c.held_at > :since ORDER BY c.id LIMIT 1"
)


def _check_holds(connection: Connection, placement: int, since: datetime) -> None:
    name = connection.execute(_HELD, {"placement": placement, "since": since}).scalar_one_or_none()
    if name is not None:
        raise HeldUp(f"waits until it is known how the jobs of cluster {name} stand: argosy db reconcile")


@dataclass(frozen=True)
class Cut:
    """A batch of jobs that was made: which clusters may take them, and whether it was the launch's last."""

    clusters: list[int]
    last: bool


_NEXT_MEDIA = (
    "SELECT gid, project, user_id, files_per_job, algorithm_id, placement_id, priority, max_attempts, jobs, expanded_jobs, "
    "created_at, media_ids[expanded_jobs * files_per_job + 1 : "
    "CAST(least((expanded_jobs + :most) * CAST(files_per_job AS bigint), cardinality(media_ids)) AS int)] AS media_ids "
    f"FROM argosy.launch WHERE {_MINE} AND state = 'resolved' FOR NO KEY UPDATE"
)
"""The launch with the media of its next batch, locked."""

_EARLY = (
    "UPDATE argosy.job j SET cancel_requested = true, hidden = c.hidden FROM argosy.early_cancel c "
    "WHERE j.gid = :gid AND c.gid = :gid AND c.ordinal = j.ordinal AND c.ordinal >= :first AND c.ordinal < :end"
)
"""Jobs that were cancelled before they had a row."""

_FIRST_ATTEMPTS = (
    "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, cluster_id, "
    "retries_left, state, message, finished_at) SELECT j.uid, 1, j.gid, j.project, j.user_id, :algorithm, :priority, p.id, "
    f"{placements.SOLE}, :retries, CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END, "
    "CASE WHEN cancel_requested THEN 'cancelled before it was queued' ELSE '' END, "
    "CASE WHEN cancel_requested THEN clock_timestamp() END FROM argosy.job j JOIN argosy.placement p ON p.id = :placement "
    "WHERE gid = :gid AND ordinal >= :first AND ordinal < :end ORDER BY ordinal"
)
"""The first attempts of a batch."""

_CUT = (
    "UPDATE argosy.launch SET expanded_jobs = :end, expanded_at = coalesce(expanded_at, now()), reason = '', tries = 0, "
    "state = CASE WHEN :last THEN 'expanded' ELSE state END, claim_worker = CASE WHEN :last THEN NULL ELSE claim_worker END, "
    "next_try_at = clock_timestamp() + make_interval(secs => :lease) WHERE gid = :gid"
)
"""How far the launch is cut now."""


# Cancels of jobs that are cut now.
_FORGET_EARLY = text("DELETE FROM argosy.early_cancel WHERE gid = :gid AND ordinal >= :first AND ordinal < :end")


def cut(connection: Connection, claim: Claim, most: int, lease: float) -> Cut | None:
    """The next jobs of a resolved launch and their first attempts, in bulk, under the launch's row lock; after the last it is expanded.
    Jobs that were cancelled before they had a row begin as cancelled ones.

    Args:
        connection: In a transaction, which must end well before the session's time-out: hence the bound.
        claim: The launch.
        most: Jobs at most.
        lease: Seconds for which the claim is renewed.

    Returns:
        None where it was cancelled, or its claim is somebody else's now.

    Raises:
        NotFound: No registered cluster may take its jobs any more.
        HeldUp: One of them is held, since after it was launched.
    """
    asked = {"gid": claim.gid, "epoch": claim.epoch, "most": most}
    launch = connection.execute(text(_NEXT_MEDIA), asked).one_or_none()
    if launch is None:
        return None
    clusters = _clusters(connection, launch.placement_id)
    _check_holds(connection, launch.placement_id, known_since(launch.gid, launch.created_at))
    media = list(batches(launch.media_ids, launch.files_per_job))
    first, end = launch.expanded_jobs, launch.expanded_jobs + len(media)
    uids = JobUids(claim.gid, end)[first:]
    driver: PsycopgConnection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    with driver.cursor().copy("COPY argosy.job (uid, gid, ordinal, project, user_id, media_ids) FROM STDIN") as copy:
        for number, uid, ids in zip(range(first, end), uids, media, strict=True):
            copy.write_row((uid, claim.gid, number, launch.project, launch.user_id, ids))
    last = end >= launch.jobs
    parameters = {
        "gid": claim.gid,
        "first": first,
        "end": end,
        "algorithm": launch.algorithm_id,
        "priority": launch.priority,
        "placement": launch.placement_id,
        "retries": launch.max_attempts - 1,
        "last": last,
        "lease": lease,
    }
    connection.execute(text(_EARLY), parameters)
    connection.execute(text(_FIRST_ATTEMPTS), parameters)
    strays.claim(connection, claim.gid, first, end, clusters)
    connection.execute(_FORGET_EARLY, parameters)
    connection.execute(text(_CUT), parameters)
    return Cut(clusters, last)


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
