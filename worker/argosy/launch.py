"""Stage 1: a launch request becomes rows: one launch, one job per batch.

In two commits, so that nothing is half-made and nothing is resolved twice: first everything that the jobs will need is frozen in the
launch row (media, manifest, parameters, files_per_job), then the jobs are inserted in bulk under its row lock. Whatever happens to the
algorithm, the media or this process in between, a second try comes to the same jobs with the same ids. A launch that can't work ends
`rejected`, with a reason that a person can act on (faults.md §2, rows 5 and 19).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlmodel import Session

from argosy import crypto, manifest
from argosy.batches import count, distinct
from argosy.errors import (
    ArgosyError,
    InvalidRequest,
    ManifestError,
    MediaSourceError,
    NotConfigured,
    NotFound,
    QueueFull,
)
from argosy.failpoints import failpoint
from argosy.media import MediaSource
from argosy.metrics import LAUNCHES
from argosy.settings import Settings
from argosy.shapes import LaunchRequest, Parameter
from argosy.store import launches, registry
from argosy.store.tables import Algorithm, Cluster

_TRIES = 20
"""How often an API server that fails is asked for media; with the back-off below, about a quarter of an hour."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Launching:
    """What this stage works with."""

    engine: Engine
    settings: Settings
    media: MediaSource


def accept(engine: Engine, settings: Settings, request: LaunchRequest) -> launches.Written:
    """Commit a launch that came as a message.

    Raises:
        Conflict: Its gid belongs to another launch.
        InvalidRequest: Its gid's time cannot be used.
        QueueFull: Its project has too many queued jobs.
    """
    with engine.begin() as connection:
        written = launches.insert(launches.OwnCursor(connection), request, settings.retention_days)
    failpoint("launch.accepted")
    return written


def expand(stage: Launching, gid: UUID) -> list[int]:
    """Take a launch to its end: expanded into queued jobs, rejected, or postponed while the API server is away.

    Any step may be repeated, by any worker, at any time.

    Returns:
        The clusters that may take its jobs; none where there is nothing to submit.
    """
    with stage.engine.begin() as connection:
        request = launches.get(connection, gid)
    if request is None:
        raise NotFound(f"launch {gid} is not in the database")
    if request.state == "accepted":
        try:
            frozen = _resolve(stage, request)
        except MediaSourceError as error:
            _postpone_or_reject(stage, request, error)
            return []
        except (InvalidRequest, NotFound) as error:
            _reject(stage, gid, error)
            return []
        try:
            _freeze(stage, request, frozen)
        except QueueFull as error:
            _reject(stage, gid, error)
            return []
        failpoint("launch.resolved")
    with stage.engine.begin() as connection:
        clusters = launches.expand(connection, gid)
        failpoint("launch.expanding")
    if clusters is None:
        return []
    failpoint("launch.expanded")
    LAUNCHES.labels("expanded").inc()
    log.info("launch expanded", gid=str(gid), clusters=clusters)
    return clusters


def _freeze(stage: Launching, request: launches.Request, frozen: launches.Frozen) -> None:
    with stage.engine.begin() as connection:
        if request.media_ids is None or request.files_per_job is None:
            jobs = count(len(frozen.media_ids), frozen.files_per_job)
            launches.check_room(launches.OwnCursor(connection), request.project, request.gid, jobs)
        launches.freeze(connection, request.gid, frozen)


def _resolve(stage: Launching, request: launches.Request) -> launches.Frozen:
    with Session(stage.engine, expire_on_commit=False) as session:
        algorithm = registry.algorithm_of(session, request.project, request.algorithm_name)
        clusters = registry.clusters_of(session, algorithm)
        session.commit()
    parameters = _parameters(algorithm, request)
    _check_manifest(algorithm, clusters)
    media_ids = _media(stage, request)
    if not media_ids:
        raise InvalidRequest(
            "no media: " + ("the query matches none" if request.media_ids is None else "media_ids is empty")
        )
    files_per_job = request.files_per_job or algorithm.files_per_job
    _check_size(media_ids, files_per_job)
    if algorithm.id is None:
        raise NotFound(f"algorithm {algorithm.name!r} has no id")
    return launches.Frozen(
        algorithm_id=algorithm.id,
        cluster_ids=[] if algorithm.cluster_labels else [cluster.id or 0 for cluster in clusters],
        cluster_labels=algorithm.cluster_labels,
        manifest=algorithm.manifest,
        parameters=parameters,
        files_per_job=files_per_job,
        media_ids=media_ids,
        max_attempts=algorithm.max_attempts,
        retry_backoff=algorithm.retry_backoff,
        pending_deadline=algorithm.pending_deadline,
        run_deadline=algorithm.run_deadline,
    )


def _parameters(algorithm: Algorithm, request: launches.Request) -> list[tuple[str, str]]:
    own = [Parameter.model_validate(parameter) for parameter in algorithm.parameters]
    extra = [Parameter.model_validate(parameter) for parameter in request.extra_params]
    return manifest.merge_parameters(own, extra)


def _check_manifest(algorithm: Algorithm, clusters: Sequence[Cluster]) -> None:
    """Again, at launch: a cluster's policy may differ from the one at registration. It must do for each that may take a job."""
    try:
        manifest.check(algorithm.manifest, token_in_clear=all(cluster.token_in_clear for cluster in clusters))
    except ManifestError as error:
        raise InvalidRequest(f"algorithm {algorithm.name!r}: {error}") from error


def _media(stage: Launching, request: launches.Request) -> list[int]:
    if request.media_ids is not None:
        return distinct(request.media_ids)
    token = ""
    if request.token_sealed is not None:
        if stage.settings.token_private_key is None:
            raise NotConfigured("ARGOSY_TOKEN_PRIVATE_KEY is not set: the launch's token cannot be opened")
        token = crypto.open_token(request.token_sealed, stage.settings.token_private_key.get_secret_value())
    return distinct(stage.media.resolve(request.project, request.media_query or "", token))


def _check_size(media_ids: list[int], files_per_job: int) -> None:
    fits = manifest.files_per_job_that_fits(media_ids)
    if files_per_job > fits and count(len(media_ids), files_per_job) != count(len(media_ids), fits):
        raise InvalidRequest(
            f"files_per_job {files_per_job} makes media_ids longer than {manifest.MEDIA_IDS_LIMIT} bytes, which no environment "
            f"variable can hold; files_per_job up to {fits} fits this launch"
        )


def _postpone_or_reject(stage: Launching, request: launches.Request, error: MediaSourceError) -> None:
    if request.tries >= _TRIES:
        _reject(stage, request.gid, error)
        return
    with stage.engine.begin() as connection:
        launches.postpone(
            connection, request.gid, f"waiting for the API server: {error}", min(2.0**request.tries, 60.0)
        )
    log.warning("launch postponed", gid=str(request.gid), reason=str(error), tries=request.tries)


def _reject(stage: Launching, gid: UUID, error: ArgosyError) -> None:
    with stage.engine.begin() as connection:
        launches.reject(connection, gid, str(error))
    LAUNCHES.labels("rejected").inc()
    log.info("launch rejected", gid=str(gid), reason=str(error))
