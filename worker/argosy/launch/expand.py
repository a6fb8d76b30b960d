"""Stage 1: a launch request becomes rows: one launch, one job per batch.

First everything that the jobs will need is frozen in the launch row (media, manifest, parameters, files_per_job). Then the jobs are
inserted in bulk under its row lock, some thousands in each transaction. Whatever happens to the algorithm, the media or this process in
between, a second try makes the same jobs with the same ids. A launch that can't work ends `rejected`, with a reason that a person can act
on (F5 and F19).

A worker must commit a claim on a launch before it does anything for it: without claims, when an API server hung, fourteen threads resolved
one launch at the same time, with twenty tries in three minutes. The claim counts the try and sets the time of the next one. So a launch
that kills its worker, or fails in an unexpected way, is also tried only a limited number of times, and does not block others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from sqlalchemy import Engine

from argosy import crypto
from argosy.batches import count, distinct
from argosy.errors import (
    ArgosyError,
    InvalidRequest,
    MediaSourceError,
    NoDefaultCluster,
    NotConfigured,
    SealBroken,
)
from argosy.failpoints import failpoint
from argosy.inputs import clean
from argosy.launch import inputs, judging
from argosy.launch.media import MediaSource
from argosy.metrics import LAUNCHES
from argosy.settings import Settings
from argosy.shapes.given import Parameter
from argosy.store import cursors, cutting, done, followers, launches, requests

_TRIES = 20
"""How often a launch is tried that makes no progress; with the back-off below, about a quarter of an hour."""

_LOST = 100
"""How many claims in a row may run out without a result, because their worker died or the database was away; at least half an hour."""

_LONGEST_WAIT = 60.0
"""The most seconds between two tries. The wait starts at 2 s and doubles."""

_BATCH = 10_000
"""Jobs inserted in one transaction. This takes half a second; the time-out of a statement is a minute."""

_HOLD = 10.0
"""Seconds between two checks whether a cluster is still held."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Launching:
    """What this stage works with. `worker` says who claims; it is only shown to people."""

    engine: Engine
    settings: Settings
    media: MediaSource
    worker: str = ""


def expand(stage: Launching, gid: UUID) -> list[int]:
    """Work on a launch in this thread until it is expanded into queued jobs, rejected, or postponed.

    Any step may be repeated, by any worker, at any time.

    Returns:
        The clusters that may take its jobs; empty if there is nothing to submit.

    Raises:
        NotFound: It is not in the database.
    """
    with stage.engine.begin() as connection:
        launches.standing(connection, gid)
    clusters: set[int] = set()
    claim = take(stage, gid)
    while claim is not None:
        turn = advance(stage, claim)
        clusters.update(turn.clusters)
        claim = turn.claim
    return sorted(clusters)


@dataclass(frozen=True)
class Step:
    """The result of one step of a launch: clusters with new jobs, and the claim to continue with; None if there is no next step now."""

    claim: launches.Claim | None = None
    clusters: Sequence[int] = ()


def take(stage: Launching, gid: UUID) -> launches.Claim | None:
    """Claim a launch; None if there is nothing to do for it now. A launch whose claims ran out too often is rejected here."""
    with stage.engine.begin() as connection:
        claim = launches.claim(connection, gid, stage.worker, stage.settings.claim_lease)
    if claim is not None and claim.tries > _LOST:
        _reject(stage, claim, claim.reason or "no worker came to an end with it")
        return None
    return claim


def advance(stage: Launching, claim: launches.Claim) -> Step:
    """The next step of a claimed launch: freeze its inputs, or cut a batch of its jobs."""
    try:
        return _freeze(stage, claim) if claim.state == "accepted" else _cut(stage, claim)
    except MediaSourceError as error:
        postpone(stage, claim, f"waiting for the API server: {error}")
    except (SealBroken, NotConfigured) as error:
        # An operator may still add the key.
        postpone(stage, claim, f"waiting for the right key: {error}")
    except NoDefaultCluster as error:
        postpone(stage, claim, f"waiting for a default cluster: {error}")
    except cutting.HeldUp as error:
        with stage.engine.begin() as connection:
            launches.wait(connection, claim, str(error), _HOLD)
    except ArgosyError as error:
        _reject(stage, claim, str(error))
    return Step()


def _freeze(stage: Launching, claim: launches.Claim) -> Step:
    with stage.engine.begin() as connection:
        request = launches.get(connection, claim.gid)
        after = request.after_gid if request.waiting else None
        if after is not None and not followers.begin(connection, claim, after, request.after_if):
            return Step()
    frozen = _resolve(stage, request)
    with stage.engine.begin() as connection:
        if frozen.jobs and (request.skip_done or request.media_ids is None or request.files_per_job is None):
            requests.check_room(cursors.OwnCursor(connection), request.project, request.gid, frozen.jobs)
        resolved = launches.freeze(connection, claim, frozen)
    failpoint("launch.resolved")
    return Step(resolved)


def _cut(stage: Launching, claim: launches.Claim) -> Step:
    with stage.engine.begin() as connection:
        cut = cutting.cut(connection, claim, _BATCH, stage.settings.claim_lease)
        failpoint("launch.expanding")
    if cut is None:
        return Step()
    failpoint("launch.expanded")
    if cut.last:
        LAUNCHES.labels("expanded").inc()
        log.info("launch expanded", gid=str(claim.gid))
    return Step(None if cut.last else replace(claim, tries=0, reason=""), cut.clusters)


def _resolve(stage: Launching, request: launches.Request) -> launches.Frozen:
    extra = [Parameter.model_validate(parameter) for parameter in request.extra_params]
    now = inputs.registered(stage.engine, request.project, request.algorithm_name, extra)
    algorithm = now.algorithm
    media_ids = _media(stage, request)
    if not media_ids:
        raise InvalidRequest(
            "no media: " + ("the query matches none" if request.media_ids is None else "media_ids is empty")
        )
    files_per_job = request.files_per_job or algorithm.files_per_job
    judging.check_size(media_ids, files_per_job)
    digest = done.inputs_digest(algorithm.manifest, now.parameters)
    left = _not_done(stage, request, digest, media_ids) if request.skip_done else media_ids
    return launches.Frozen(
        algorithm_id=algorithm.id,
        cluster_ids=now.cluster_ids,
        cluster_labels=algorithm.cluster_labels,
        manifest=algorithm.manifest,
        parameters=now.parameters,
        inputs_digest=digest,
        files_per_job=files_per_job,
        media_ids=None if left == request.media_ids else left,
        skipped=len(media_ids) - len(left),
        jobs=count(len(left), files_per_job),
        max_attempts=algorithm.max_attempts,
        retry_backoff=algorithm.retry_backoff,
        pending_deadline=algorithm.pending_deadline,
        run_deadline=algorithm.run_deadline,
    )


def _media(stage: Launching, request: launches.Request) -> list[int]:
    if request.media_ids is not None:
        return request.media_ids
    token = crypto.open_token(request.token_sealed, stage.settings.token_private_key)
    return distinct(stage.media.resolve(request.project, request.media_query or "", token))


def _not_done(stage: Launching, request: launches.Request, digest: str, media_ids: list[int]) -> list[int]:
    """The media without those that are done. Whatever ends after this question is not left out; what is frozen stays so."""
    with stage.engine.begin() as connection:
        found = done.done(connection, request.project, request.algorithm_name, digest, media_ids, request.gid)
    return [medium for medium in media_ids if medium not in found]


def postpone(stage: Launching, claim: launches.Claim, reason: str) -> None:
    """Try a launch again later, with back-off; after too many tries, reject it."""
    if claim.tries >= _TRIES:
        _reject(stage, claim, reason)
        return
    reason = clean(reason)
    with stage.engine.begin() as connection:
        launches.postpone(connection, claim, reason, min(2.0**claim.tries, _LONGEST_WAIT))
    log.warning("launch postponed", gid=str(claim.gid), reason=reason, tries=claim.tries)


def _reject(stage: Launching, claim: launches.Claim, reason: str) -> None:
    if claim.tries >= _TRIES:
        reason = f"given up after {claim.tries} tries: {reason}"
    reason = clean(reason)
    with stage.engine.begin() as connection:
        rejected = launches.reject(connection, claim, reason)
    if rejected:
        LAUNCHES.labels("rejected").inc()
        log.info("launch rejected", gid=str(claim.gid), reason=reason)
