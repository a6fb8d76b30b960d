"""Routes that the REST reference does not have: retry, launches, logs, pause. Status words are the true ones here."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Engine

from argosy.api import wire
from argosy.api.callers import Caller, Role, require
from argosy.api.clusters import asking, managed
from argosy.api.routing import ERRORS, Busy, Called, uuid_in
from argosy.client import control
from argosy.errors import InvalidRequest, NotFound
from argosy.launch import inputs
from argosy.shapes.filters import RetryFilter
from argosy.shapes.given import Id, In, Parameters, Row, Text
from argosy.shapes.shown import JobShape, LaunchShape, LogShape, ProjectShape
from argosy.store.retries import Again
from argosy.store.summaries import cursor_of

router = APIRouter(responses=ERRORS)

_MOST = 1000
"""Launches of one list."""


class PauseSpec(In):
    """Why."""

    reason: Text = ""


class RetrySpec(RetryFilter, Parameters):
    """`all` retries what succeeded or was rejected, too, where `status` names nothing; the others choose among them. `split` makes jobs of
    one medium each, in a new launch, of batches that have several. `latest` runs manifest, parameters and clusters as they are registered
    now, `extra_params` other parameters."""

    all: bool = False
    split: bool = False
    latest: bool = False


class RetryResponse(BaseModel):
    """What was done. `gid` is the launch that has the media of batches that were split."""

    message: str
    gid: UUID | None = None


class LaunchPage(BaseModel):
    """Launches, newest first; `cursor` asks for those that come after them, and is null where there are no more."""

    launches: list[LaunchShape]
    cursor: str | None


@router.get("/v1/Launches/{project}", operation_id="GetLaunchList", response_model=LaunchPage)
def get_launch_list(called: Called, project: Id, stop: int = 100, after: str | None = None) -> Any:
    """A page of `stop` launches of a project, each with its jobs counted by status; `after` is the cursor of the page before."""
    require(called.caller, project, Role.READ)
    limit = min(max(stop, 1), _MOST)
    found = called.gateway.client.launches(project=project, limit=limit, after=after)
    return LaunchPage(launches=found, cursor=cursor_of(found[-1]) if len(found) == limit else None)


@router.get("/v1/Project/{project}", operation_id="GetProjectSettings", response_model=ProjectShape)
def get_project(called: Called, project: Id) -> Any:
    """A project's part of the clusters, its limits, and what it has."""
    require(called.caller, project, Role.READ)
    return called.gateway.client.project(project)


@router.get("/v1/Launch/{gid}", operation_id="GetLaunch", response_model=LaunchShape)
def get_launch(called: Called, gid: str) -> Any:
    """One launch."""
    return launch_of(called, uuid_in("gid", gid), Role.READ)


@router.get("/v1/Job/{uid}", operation_id="GetJobAttempt", response_model=JobShape)
def get_job_attempt(called: Called, uid: str, attempt: Row | None = None) -> Any:
    """A job as one of its attempts left it; the newest without `attempt`."""
    return job_of(called, uuid_in("uid", uid), Role.READ, attempt)


@router.get("/v1/Job/{uid}/Log", operation_id="GetJobLog", response_model=LogShape)
def get_job_log(
    called: Called, uid: str, node: Text | None = None, attempt: Row | None = None, tail: Row | None = None
) -> Any:
    """What the containers of a job wrote: what the cluster says now, within ten seconds, else what was kept of those that failed. `node` is
    a node's id or task, or a container's name; `tail` the last lines of each container, so many. `note` says what is missing, and why."""
    found = job_of(called, uuid_in("uid", uid), Role.READ)
    client = called.gateway.client
    try:
        with asking(called.gateway):
            return client.logs(found.uid, node=node, attempt=attempt, tail=tail)
    except Busy as error:
        kept = client.logs(found.uid, node=node, attempt=attempt, tail=tail, ask=False)
        return kept.model_copy(update={"note": f"{kept.note}: {error}"})


@router.post("/v1/Job/{uid}/Retry", operation_id="RetryJob", response_model=RetryResponse, status_code=201)
def retry_job(called: Called, uid: str, retry_spec: RetrySpec) -> RetryResponse:
    """Try an ended job again; its uid stays, unless its media are split."""
    found = job_of(called, uuid_in("uid", uid), Role.EXECUTE)
    return retried(called.gateway.client.engine, called.caller, found.uid, retry_spec)


@router.post("/v1/Launch/{gid}/Retry", operation_id="RetryJobList", response_model=RetryResponse, status_code=201)
def retry_job_list(called: Called, gid: str, retry_spec: RetrySpec) -> RetryResponse:
    """Try what failed of a launch again."""
    found = launch_of(called, uuid_in("gid", gid), Role.EXECUTE)
    return retried(called.gateway.client.engine, called.caller, found.gid, retry_spec)


@router.post("/v1/Project/{project}/Pause", operation_id="PauseProject", response_model=wire.MessageResponse)
def pause_project(called: Called, project: Id, pause_spec: PauseSpec) -> dict[str, str]:
    """Submit nothing new of a project; what runs goes on."""
    require(called.caller, project, Role.FULL)
    called.gateway.client.pause(project=project, reason=pause_spec.reason)
    return {"message": f"project {project} is paused"}


@router.post("/v1/Project/{project}/Resume", operation_id="ResumeProject", response_model=wire.MessageResponse)
def resume_project(called: Called, project: Id) -> dict[str, str]:
    """End a pause."""
    require(called.caller, project, Role.FULL)
    called.gateway.client.resume(project=project)
    return {"message": f"project {project} is no longer paused"}


@router.post("/v1/JobCluster/{id}/Pause", operation_id="PauseJobCluster", response_model=wire.MessageResponse)
def pause_job_cluster(called: Called, id: Row, pause_spec: PauseSpec) -> dict[str, str]:
    """Submit nothing new to a cluster; what runs goes on."""
    managed(called, id)
    called.gateway.client.pause(cluster=id, reason=pause_spec.reason)
    return {"message": f"cluster {id} is paused"}


@router.post("/v1/JobCluster/{id}/Resume", operation_id="ResumeJobCluster", response_model=wire.MessageResponse)
def resume_job_cluster(called: Called, id: Row) -> dict[str, str]:
    """End a pause."""
    managed(called, id)
    called.gateway.client.resume(cluster=id)
    return {"message": f"cluster {id} is no longer paused"}


def job_of(called: Called, key: UUID, role: Role, attempt: int | None = None) -> JobShape:
    """A job that the caller may see; another's is as one that is not there."""
    try:
        found = called.gateway.client.get(key)
    except NotFound:
        found = None
    if found is None or called.caller.role(found.project) < Role.READ:
        raise NotFound(f"job {key} does not exist, or is in no project that you may see")
    require(called.caller, found.project, role)
    return found if attempt is None else called.gateway.client.get(key, attempt=attempt)


def launch_of(called: Called, gid: UUID, role: Role) -> LaunchShape:
    """A launch that the caller may see; another's is as one that is not there."""
    found = called.gateway.client.launches(gid=gid)
    if not found or called.caller.role(found[0].project) < Role.READ:
        raise NotFound(f"launch {gid} does not exist, or is in no project that you may see")
    require(called.caller, found[0].project, role)
    return found[0]


def retried(engine: Engine, caller: Caller, key: UUID, spec: RetrySpec) -> RetryResponse:
    """Retry with the launch's own token, or with the caller's where that was wiped.

    Args:
        engine: Where the rows are.
        caller: Who asks, and may.
        key: uid of a job or gid of a launch.
        spec: Which jobs, and what they run.
    """
    revised = (
        inputs.revise(engine, key, None, spec.latest, spec.extra_params) if spec.latest or spec.extra_params else None
    )
    asked = Again(control.which(spec, failed_only=not spec.all), revised=revised)

    def retry(again: Again) -> RetryResponse:
        if not spec.split:
            count = control.retry(engine, key, None, again)
            return RetryResponse(message=f"{count} jobs are queued again")
        made, count = control.split(engine, key, None, again)
        split = f", {made.jobs} jobs of one medium each are in launch {made.gid}" if made.gid else ""
        return RetryResponse(message=f"{count} jobs are queued again{split}", gid=made.gid)

    try:
        return retry(asked)
    except InvalidRequest:
        if (sealed := caller.sealed()) is None:
            raise
        return retry(replace(asked, sealed=sealed))
