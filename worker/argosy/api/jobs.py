"""Routes for jobs and launches, as the REST reference has them."""

import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any
from uuid import UUID, uuid1

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Row

from argosy import manifest
from argosy.api import wire
from argosy.api.callers import Role, require
from argosy.api.routing import ERRORS, Called, Gateway, ids, uuid_in, uuid_of
from argosy.batches import JobUids
from argosy.errors import InvalidRequest, NotFound
from argosy.inputs import validated
from argosy.launch.accept import accept
from argosy.shapes.given import Id, LaunchRequest
from argosy.shapes.shown import AlgorithmShape
from argosy.store import cancels, live, reading
from argosy.store.live import Which

router = APIRouter(responses=ERRORS)

MOST = 10_000
"""Jobs of one list."""

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
    which = Which(project, uuid_of("gid", gid), ids("media_id", media_id))
    begin, end = max(start or 0, 0), MOST if stop is None else min(max(stop, 0), MOST)
    early, rows = _found(called.gateway, which, MOST + 1)
    cut = {"X-Argosy-Cut": f"the newest {MOST} jobs"} if len(early) + len(rows) > MOST else {}
    parts = _parts(called.gateway, early, rows, begin, end)
    if len(early) + len(rows) <= _CHUNK:
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
        },
    )
    written = accept(gateway.client.engine, gateway.settings, request)
    count = written.jobs if written.jobs is not None else _resolved(gateway, request.gid)
    uids = [str(uid) for uid in JobUids(request.gid, count or 0)]
    gid = str(request.gid)
    told = f"{len(uids)} jobs" if count is not None else "its jobs will be known when its media are"
    answer = {
        "id": uids,
        "message": f"{job_spec.algorithm_name} is launched as {gid}: {told}",
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
    which = Which(project, uuid_of("gid", gid), ids("media_id", media_id))
    client = called.gateway.client
    if which.gid is not None and not any(launch.project == project for launch in client.launches(gid=which.gid)):
        raise NotFound(f"launch {which.gid} does not exist in project {project}")
    keys: list[UUID] = [which.gid] if which.gid is not None and which.media is None else []
    if not keys:
        early, rows = _found(called.gateway, which, MOST)
        if which.media is not None:
            keys = [*(each.uid for each in early), *(row.uid for row in rows)]
        else:
            with client.engine.connect() as connection:
                waiting = cancels.unended(connection, project)
            keys = list(dict.fromkeys([*waiting, *(each.gid for each in early), *(row.gid for row in rows)]))
    sums = [0, 0, 0]
    for key in keys:
        try:
            done = client.delete(key, project=project)
        except NotFound:
            continue  # forgotten meanwhile
        sums = [sums[0] + done.cancelled + done.launches, sums[1] + done.cancelling, sums[2] + done.ended]
    return {"message": _told(*sums)}


def _told(cancelled: int, cancelling: int, ended: int) -> str:
    return f"{cancelled} cancelled, {cancelling} are being cancelled, {ended} had ended"


def _job(called: Called, uid: str, role: Role) -> dict[str, Any]:
    """A job that the caller may see; another's is as one that is not there."""
    key, true = uuid_in("uid", uid), called.gateway.settings.rest_status
    with called.gateway.client.engine.connect() as connection:
        row = connection.execute(reading.statement(_ONE), {"uid": key}).one_or_none()
        early = live.early_job(connection, key) if row is None else None
        if row is None and early is None:  # cut between the two questions, or nobody's
            row = connection.execute(reading.statement(_ONE), {"uid": key}).one_or_none()
        nodes = live.nodes(connection, [(row.uid, row.number)]).get(row.uid, []) if row is not None else []
    found = (
        wire.job(row, nodes, true) if row is not None else wire.early_job(early, true) if early is not None else None
    )
    if found is None or called.caller.role(found["project"]) < Role.READ:
        raise NotFound(f"job {key} does not exist, or is in no project that you may see")
    require(called.caller, found["project"], role)
    return found


_ONE = "SELECT * FROM argosy.job WHERE uid = :uid"


def _found(gateway: Gateway, which: Which, limit: int) -> tuple[list[live.EarlyJob], Sequence[Row[Any]]]:
    # Of one moment: a launch that is cut in between would be there twice, or not at all.
    engine = gateway.client.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        early = list(live.early(connection, which, gateway.settings.rest_days, limit))
        return early, live.jobs(connection, which, gateway.settings.rest_days, limit - len(early))


def _parts(
    gateway: Gateway, early: Sequence[live.EarlyJob], rows: Sequence[Row[Any]], begin: int, end: int
) -> Iterator[bytes]:
    """The list as JSON, some jobs at a time. No connection is held while the caller reads."""
    true = gateway.settings.rest_status
    chosen: list[Any] = [*early[begin:end], *rows[max(begin - len(early), 0) : max(end - len(early), 0)]]
    yield b"["
    for at in range(0, len(chosen), _CHUNK):
        chunk = chosen[at : at + _CHUNK]
        keys = [(each.uid, each.number) for each in chunk if not isinstance(each, live.EarlyJob)]
        with gateway.client.engine.connect() as connection:
            nodes = live.nodes(connection, keys) if keys else {}
        told = (
            wire.early_job(each, true)
            if isinstance(each, live.EarlyJob)
            else wire.job(each, nodes.get(each.uid, []), true)
            for each in chunk
        )
        commas = chain.from_iterable(
            (b"," if at or number else b"", orjson.dumps(one)) for number, one in enumerate(told)
        )
        yield b"".join(commas)
    yield b"]"


def _algorithm(gateway: Gateway, project: int, name: str) -> AlgorithmShape:
    for each in gateway.client.algorithms(project=project):
        if each.name == name:
            return each
    raise NotFound(f"project {project} has no algorithm {name!r}")


def _resolved(gateway: Gateway, gid: UUID) -> int | None:
    """How many jobs a launch has, if that is known soon.

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


def _awaited(gateway: Gateway, gid: UUID) -> int | None:
    ends = time.monotonic() + _PATIENCE
    while True:
        (launch,) = gateway.client.launches(gid=gid)
        if launch.state == "rejected":
            raise InvalidRequest(launch.reason)
        if launch.state in ("resolved", "expanded"):
            return launch.jobs
        if time.monotonic() > ends:
            return None
        time.sleep(_PAUSE)
