"""Routes for jobs and launches, as the REST reference has them."""

import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid1

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from argosy import manifest
from argosy.api import recipients, wire
from argosy.api.callers import Role, require
from argosy.api.routing import ERRORS, Called, Gateway, ids, uuid_in, uuid_of
from argosy.batches import JobUids
from argosy.errors import InvalidRequest, NotFound
from argosy.inputs import validated
from argosy.launch.accept import accept
from argosy.launch.judging import judge
from argosy.shapes.given import Id, LaunchRequest
from argosy.shapes.shown import AlgorithmShape, LaunchShape
from argosy.store import cancels, live, reading
from argosy.store.live import LiveFilter

router = APIRouter(responses=ERRORS)

MOST = 10_000
"""Jobs of one list."""

MOST_IDS = 100_000
"""Jobs whose ids are in the answer to a launch; a larger one is asked for by its gid."""

_CHUNK = 250
"""Jobs whose nodes are read, and sent, at a time."""

_PATIENCE, _PAUSE = 2.0, 0.05
"""Seconds that a launch on a query is waited for until its jobs are known; and between two looks."""


@router.get("/rest/Jobs/{project}", operation_id="GetJobList", response_model=list[wire.Job])
def get_job_list(
    called: Called, project: Id, gid: str | None = None, media_id: str | None = None,
    start: int | None = None, stop: int | None = None,
) -> Response:  # fmt: skip
    """Unfinished jobs of a project, and those that ended lately, newest launch first. `media_id` is a list, by commas: jobs with any of
    these. The header `X-Argosy-Cut` is there if there are more."""
    require(called.caller, project, Role.READ)
    which = LiveFilter(project, uuid_of("gid", gid), ids("media_id", media_id))
    begin, end = max(start or 0, 0), MOST if stop is None else min(max(stop, 0), MOST)
    found = _found(called.gateway, which, end + 1)
    cut = {"X-Argosy-Cut": f"the newest {MOST} jobs"} if len(found) > end == MOST else {}
    parts = _parts(called.gateway, found[begin:end])
    if end - begin <= _CHUNK or len(found) - begin <= _CHUNK:
        return Response(b"".join(parts), media_type="application/json", headers=cut)
    return StreamingResponse(parts, media_type="application/json", headers=cut)


@router.get("/rest/Job/{uid}", operation_id="GetJob", response_model=wire.Job)
def get_job(called: Called, uid: str) -> Response:
    """One job, however old, as long as its launch is kept."""
    return Response(orjson.dumps(_job(called, uid, Role.READ)), media_type="application/json")


@router.post(
    "/rest/Jobs/{project}", operation_id="CreateJobList", response_model=wire.CreateListResponse, status_code=201
)
def create_job_list(called: Called, project: Id, job_spec: wire.JobSpec) -> Response:
    """Launch an algorithm. The jobs of a launch on a query are known once the platform has listed its media: where that takes longer than
    two seconds, `id` is empty, and `object` has the launch's gid."""
    require(called.caller, project, Role.EXECUTE)
    gateway, sealed = called.gateway, called.caller.sealed()
    algorithm = _algorithm(gateway, project, job_spec.algorithm_name)
    if job_spec.media_ids == [] and job_spec.media_query is None:
        raise InvalidRequest("media_ids: is empty; leave media_ids out for all media of the project")
    if job_spec.media_query == "":
        raise InvalidRequest("media_query: is empty; leave it and media_ids out for all media of the project")
    if sealed is None and (not job_spec.media_ids or manifest.uses_token(algorithm.manifest)):
        raise InvalidRequest(
            "the platform is called back with the launch's token, for its media or by the algorithm, and these credentials hold none: send "
            "the platform's token as Authorization: Token …, or a token of argosy's that was made with --platform-token-file"
        )
    for spec in (job_spec.success_email_spec, job_spec.failure_email_spec):
        recipients.check(called, project, spec)
    request = validated(
        LaunchRequest,
        {
            "gid": uuid_of("gid", job_spec.gid) or uuid1(),
            "project": project,
            "user": called.caller.user,
            "algorithm_name": job_spec.algorithm_name,
            "media_ids": job_spec.media_ids or None,
            "media_query": job_spec.media_query,
            "extra_params": [each.model_dump() for each in job_spec.extra_params or []],
            "success_email_spec": job_spec.success_email_spec,
            "failure_email_spec": job_spec.failure_email_spec,
            "token_sealed": None if sealed is None else b64encode(sealed).decode(),
            "priority": job_spec.priority,
            "skip_done": job_spec.skip_done,
            "after": uuid_of("after", job_spec.after),
            "after_if": job_spec.after_if,
            "cancel_with": job_spec.cancel_with,
            "webhook": job_spec.webhook,
        },
    )
    return _launched(gateway, request)


def _launched(gateway: Gateway, request: LaunchRequest) -> Response:
    written = accept(gateway.client.engine, gateway.settings, request, judge=judge)
    # One that waits for another launch is not waited for.
    found = _resolved(gateway, request.gid) if written.jobs is None and request.after is None else None
    count = found.jobs if found is not None else written.jobs
    uids = [str(uid) for uid in JobUids(request.gid, count if count is not None and count <= MOST_IDS else 0)]
    gid = str(request.gid)
    told = f"{count} jobs" if count is not None else "its jobs will be known when its media are"
    if found is not None and found.skipped:
        told += f", {found.skipped} media left out because they are done"
    answer = {
        "id": uids,
        "message": f"{request.algorithm_name} is launched as {gid}: {told}",
        "object": [{"gid": gid, "uid": uid} for uid in uids] or [{"gid": gid}],
    }
    return Response(orjson.dumps(answer), 201, media_type="application/json")


@router.delete("/rest/Job/{uid}", operation_id="DeleteJob", response_model=wire.MessageResponse)
def delete_job(called: Called, uid: str) -> dict[str, str]:
    """Cancel a job, and leave it out of lists. Its record stays."""
    found = _job(called, uid, Role.EXECUTE)
    done = called.gateway.client.delete(UUID(found["uid"]), project=found["project"])
    return {"message": f"job {found['uid']}: " + _told(done.cancelled, done.cancelling, done.ended)}


@router.delete("/rest/Jobs/{project}", operation_id="DeleteJobList", response_model=wire.MessageResponse)
def delete_job_list(called: Called, project: Id, gid: str | None = None, media_id: str | None = None) -> dict[str, str]:
    """Cancel the jobs that GetJobList has with the same filters, and leave them out of lists. Their records stay."""
    require(called.caller, project, Role.EXECUTE)
    which = LiveFilter(project, uuid_of("gid", gid), ids("media_id", media_id))
    client = called.gateway.client
    if which.gid is not None and not any(launch.project == project for launch in client.launches(gid=which.gid)):
        raise NotFound(f"launch {which.gid} does not exist in project {project}")
    sums = [0, 0, 0, 0]
    seen: set[UUID] = set()
    while keys := [key for key in _targets(called.gateway, which) if key not in seen]:
        seen.update(keys)
        for key in keys:
            with suppress(NotFound):  # forgotten meanwhile
                done = client.delete(key, project=project)
                sums = [
                    sums[0] + done.cancelled,
                    sums[1] + done.cancelling,
                    sums[2] + done.ended,
                    sums[3] + done.launches,
                ]
        if which.media is None:
            break  # whole launches are gone at once
    return {"message": _told(*sums)}


def _targets(gateway: Gateway, which: LiveFilter) -> list[UUID]:
    """What to end: whole launches, or the jobs that have some media, as many as are listed at once."""
    if which.gid is not None and which.media is None:
        return [which.gid]
    found = _found(gateway, which, MOST)
    if which.media is not None:
        return [each if isinstance(each, UUID) else each.uid for each in found]
    with gateway.client.engine.connect() as connection:
        waiting = cancels.unended(connection, which.project)
        ended = live.launches(connection, [each for each in found if isinstance(each, UUID)])
    early = [each.gid for each in found if isinstance(each, live.EarlyJob)]
    return list(dict.fromkeys([*waiting, *early, *ended]))


def _told(cancelled: int, cancelling: int, ended: int, launches: int = 0) -> str:
    whole = f", {launches} launches before their jobs were made" if launches else ""
    return f"{cancelled} cancelled, {cancelling} are being cancelled, {ended} had ended{whole}"


def _job(called: Called, uid: str, role: Role) -> dict[str, Any]:
    """A job that the caller may see; another's is as one that is not there."""
    key, true = uuid_in("uid", uid), called.gateway.settings.rest_status
    with called.gateway.client.engine.connect() as connection:
        row = connection.execute(reading.statement(_ONE), {"uid": key}).one_or_none()
        early = live.early_job(connection, key) if row is None else None
        if row is None and early is None:  # cut between the two questions, or nobody's
            row = connection.execute(reading.statement(_ONE), {"uid": key}).one_or_none()
        nodes = live.nodes(connection, [(row.uid, row.number)]).get(row.uid, []) if row is not None else []
    found = None
    if row is not None:
        found = wire.job(row, nodes, true)
    elif early is not None:
        found = wire.early_job(early, true)
    if found is None or called.caller.role(found["project"]) < Role.READ:
        raise NotFound(f"job {key} does not exist, or is in no project that you may see")
    require(called.caller, found["project"], role)
    return found


_ONE = "SELECT * FROM argosy.job WHERE uid = :uid"


def _found(gateway: Gateway, which: LiveFilter, limit: int) -> list[live.EarlyJob | UUID]:
    """Jobs of one moment: a launch that is cut in between would be there twice, or not at all. Of those that have rows only the uids: ten
    thousand rows would wait in memory for a caller who reads slowly."""
    engine = gateway.client.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        early = list(live.early(connection, which, gateway.settings.rest_days, limit))
        return [*early, *live.keys(connection, which, gateway.settings.rest_days, limit - len(early))]


def _parts(gateway: Gateway, chosen: Sequence[live.EarlyJob | UUID]) -> Iterator[bytes]:
    """The list as JSON, some jobs at a time. No connection is held while the caller reads."""
    true, first = gateway.settings.rest_status, True
    yield b"["
    for at in range(0, len(chosen), _CHUNK):
        chunk = chosen[at : at + _CHUNK]
        early = [each for each in chunk if isinstance(each, live.EarlyJob)]
        with gateway.client.engine.connect() as connection:
            rows = live.jobs(connection, [each for each in chunk if isinstance(each, UUID)])
            nodes = live.nodes(connection, [(row.uid, row.number) for row in rows])
        told = [wire.early_job(each, true) for each in early]
        told += [wire.job(row, nodes.get(row.uid, []), true) for row in rows]
        if told:
            yield (b"" if first else b",") + b",".join(map(orjson.dumps, told))
            first = False
    yield b"]"


def _algorithm(gateway: Gateway, project: int, name: str) -> AlgorithmShape:
    for each in gateway.client.algorithms(project=project):
        if each.name == name:
            return each
    raise NotFound(f"project {project} has no algorithm {name!r}")


def _resolved(gateway: Gateway, gid: UUID) -> LaunchShape | None:
    """A launch whose number of jobs is known, if that is so soon.

    Raises:
        InvalidRequest: It was rejected.
    """
    # Each waits in a thread that others need.
    if not gateway.waiting.acquire(blocking=False):
        return None
    try:
        return _awaited(gateway, gid)
    finally:
        gateway.waiting.release()


def _awaited(gateway: Gateway, gid: UUID) -> LaunchShape | None:
    ends = time.monotonic() + _PATIENCE
    while True:
        (launch,) = gateway.client.launches(gid=gid)
        if launch.state == "rejected":
            raise InvalidRequest(launch.reason)
        if launch.state in ("resolved", "expanded"):
            return launch
        if time.monotonic() > ends:
            return None
        time.sleep(_PAUSE)
