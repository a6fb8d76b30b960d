"""Launch rows until they are cut into jobs: a worker claims a launch, then freezes its inputs, postpones it, or rejects it.

A launch is a committed row before any wake-up for it is sent (P10). Cutting it is in cutting.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import NotFound
from argosy.store import manifests, notices, placements, rows
from argosy.store.conditions import may_begin


@dataclass(frozen=True)
class Request:
    """An accepted launch, as it is read from its row to be resolved."""

    gid: UUID
    project: int
    user_id: int
    algorithm_name: str
    media_query: str | None
    media_ids: list[int] | None
    extra_params: list[dict[str, Any]]
    token_sealed: bytes | None
    files_per_job: int | None
    skip_done: bool
    waiting: bool
    after_gid: UUID | None
    after_if: str


@dataclass(frozen=True)
class Frozen:
    """The frozen inputs of a launch: later changes of its algorithm do not matter. `media_ids` is None if they are stored already.
    `skipped` is the number of media that were left out because they are done."""

    algorithm_id: int
    cluster_ids: list[int]
    cluster_labels: dict[str, str]
    manifest: str
    parameters: list[tuple[str, str]]
    inputs_digest: str
    files_per_job: int
    media_ids: list[int] | None
    skipped: int
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
    "SELECT gid, project, user_id, algorithm_name, media_query, media_ids, extra_params, token_sealed, files_per_job, skip_done, "
    "waiting, after_gid, after_if FROM argosy.launch WHERE gid = :gid"
)


def get(connection: Connection, gid: UUID) -> Request:
    """A launch as it was asked for."""
    row = connection.execute(_GET, {"gid": gid}).one()
    return Request(**row._mapping)


# Values that all jobs of a launch share, or all attempts of a revision of it.
_FRAME = text(
    "SELECT l.gid, l.project, l.user_id, coalesce(r.algorithm_id, l.algorithm_id) AS algorithm_id, l.algorithm_name, "
    "coalesce(r.manifest, l.manifest) AS manifest, coalesce(r.parameters, l.parameters) AS parameters, l.token_sealed, l.secret_id "
    "FROM argosy.launch l LEFT JOIN argosy.revision r ON r.gid = l.gid AND r.number = :revision WHERE l.gid = :gid"
)


def frame(connection: Connection, gid: UUID, revision: int = 0) -> Frame:
    """The values of an expanded launch, or of a revision of it, that rendering needs."""
    row = connection.execute(_FRAME, {"gid": gid, "revision": revision}).one()
    return Frame(**row._mapping)


@dataclass(frozen=True)
class Claim:
    """A launch that one worker has claimed: nobody else works on it until the claim runs out, and every write for it names the epoch.

    `state` is `accepted` or `resolved`. `tries` counts the claims since the launch last made progress, this one included. `reason` says why
    the last one made none.
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
    """A launch that may be claimed: its project, and whether its media must still be asked for."""

    project: int
    asks: bool


# How far a launch has come.
_STANDING = text(
    "SELECT project, state = 'accepted' AND media_ids IS NULL AS asks, "
    f"state IN ('accepted', 'resolved') AND next_try_at <= clock_timestamp() AND {may_begin('l')} AS due "
    "FROM argosy.launch l WHERE gid = :gid"
)


def standing(connection: Connection, gid: UUID) -> Progress | None:
    """How far a launch has come, for a worker that may claim it; None if there is nothing to do for it now.

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
    "next_try_at = clock_timestamp() + make_interval(secs => :lease) WHERE gid = (SELECT gid FROM argosy.launch l "
    f"WHERE gid = :gid AND state IN ('accepted', 'resolved') AND next_try_at <= clock_timestamp() AND {may_begin('l')} "
    "FOR NO KEY UPDATE SKIP LOCKED) RETURNING gid, claim_epoch AS epoch, project, state, tries, reason"
)


def claim(connection: Connection, gid: UUID, worker: str, lease: float) -> Claim | None:
    """Claim a launch, in a transaction of its own, before anything is done for it.

    Args:
        connection: In a transaction, which the caller commits at once.
        gid: Which.
        worker: Who claims; only shown to people.
        lease: Seconds until another worker may claim it, unless the claim is renewed.

    Returns:
        None if there is nothing to do, another worker has claimed it, its predecessor has not ended, or it is postponed and its time has
        not come.
    """
    row = connection.execute(_CLAIM, {"gid": gid, "worker": worker, "lease": lease}).one_or_none()
    return None if row is None else Claim(**row._mapping)


def renew(connection: Connection, claims: Sequence[Claim], lease: float) -> None:
    """Renew claims for `lease` seconds from now, except those whose row somebody else has locked at this moment."""
    _each(connection, claims, "next_try_at = clock_timestamp() + make_interval(secs => :lease)", lease=lease)


def release(connection: Connection, claims: Sequence[Claim]) -> None:
    """Release claims of unfinished launches, so that others can claim these at once. It does not count as a try."""
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
    "manifest = :manifest, manifest_digest = :manifest_digest, parameters = CAST(:parameters AS jsonb), "
    "inputs_digest = :inputs_digest, files_per_job = :files_per_job, "
    "media_ids = coalesce(CAST(:media_ids AS bigint[]), media_ids), skipped = :skipped, jobs = :jobs, "
    "max_attempts = :max_attempts, retry_backoff = :retry_backoff, "
    f"pending_deadline = :pending_deadline, run_deadline = :run_deadline WHERE {MINE} AND state = 'accepted'"
)


def freeze(connection: Connection, claim: Claim, frozen: Frozen) -> Claim | None:
    """accepted → resolved.

    Returns:
        The claim with the new state; None if the launch was cancelled, or another worker has claimed it since.

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
            "manifest_digest": manifests.digest_of(frozen.manifest),
            "parameters": rows.json(frozen.parameters),
            "media_ids": rows.array(frozen.media_ids),
            "placement": placement,
        },
    ).rowcount
    return replace(claim, state="resolved", tries=0, reason="") if done else None


# It can never be cut.
_REJECT = text(
    "UPDATE argosy.launch SET state = 'rejected', reason = :reason, claim_worker = NULL, waiting = false, jobs = expanded_jobs, "
    "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END "
    f"WHERE {MINE} AND state IN ('accepted', 'resolved')"
)


def reject(connection: Connection, claim: Claim, reason: str) -> bool:
    """End a launch. Its token is wiped, unless jobs that were cut already need it.

    Returns:
        False if the launch was cancelled, or another worker has claimed it since.
    """
    rejected = connection.execute(_REJECT, {"gid": claim.gid, "epoch": claim.epoch, "reason": reason}).rowcount
    notices.launches_ended(connection, [claim.gid])
    return bool(rejected)


# Release the claim until the next try.
_POSTPONE = text(
    "UPDATE argosy.launch SET reason = :reason, claim_worker = NULL, "
    f"next_try_at = clock_timestamp() + make_interval(secs => :seconds) WHERE {MINE} AND state IN ('accepted', 'resolved')"
)


def postpone(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """Try a launch again later; readers see the reason."""
    connection.execute(_POSTPONE, {"gid": claim.gid, "epoch": claim.epoch, "reason": reason, "seconds": seconds})


# Count no tries.
_FRESH = text(f"UPDATE argosy.launch SET tries = 0 WHERE {MINE}")


def wait(connection: Connection, claim: Claim, reason: str, seconds: float) -> None:
    """As `postpone`, but without counting a try, so it may be done any number of times."""
    postpone(connection, claim, reason, seconds)
    connection.execute(_FRESH, {"gid": claim.gid, "epoch": claim.epoch})


# Launches whose time has come. One that was woken is returned again only if nothing came of it.
_DUE = text(
    "UPDATE argosy.launch l SET woken_at = clock_timestamp() FROM (SELECT gid FROM argosy.launch w "
    "WHERE state IN ('accepted', 'resolved') AND greatest(next_try_at, woken_at) < clock_timestamp() - make_interval(secs => :age) "
    f"AND {may_begin('w')} ORDER BY woken_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) d WHERE l.gid = d.gid RETURNING l.gid"
)


def due(connection: Connection, older_than: float, limit: int = 500) -> list[UUID]:
    """Launches that nobody works on and somebody should: their wake-up was lost, their worker died, their predecessor has ended, or their
    time to try again has come.

    Those that were returned longest ago come first, so that launches that make no progress do not keep others from being returned.

    Args:
        connection: In a transaction.
        older_than: Seconds that a launch may wait for its own wake-up.
        limit: The most to return.
    """
    rows = connection.execute(_DUE, {"age": older_than, "limit": limit})
    return [row.gid for row in rows]


# The launches that wait longest for somebody to work on them.
_OVERDUE = text(
    "SELECT state, extract(epoch FROM clock_timestamp() - min(next_try_at))::float8 AS seconds FROM argosy.launch w "
    f"WHERE state IN ('accepted', 'resolved') AND next_try_at < clock_timestamp() AND {may_begin('w')} GROUP BY state"
)


def overdue(connection: Connection) -> dict[str, float]:
    """For how many seconds the launch that is due longest waits for a worker; of those to be resolved, and of those to be cut."""
    return dict.fromkeys(("accepted", "resolved"), 0.0) | {
        row.state: row.seconds for row in connection.execute(_OVERDUE)
    }
