"""Routes that tell what happened and why; the status words are the true ones."""

from typing import Any

from fastapi import APIRouter

from argosy.api.callers import Role, require
from argosy.api.clusters import managed
from argosy.api.own import job_of, launch_of
from argosy.api.routing import ERRORS, Called, uuid_in
from argosy.shapes.given import Id, Row
from argosy.shapes.history import EventPage, ExplainShape, FailureShape, UsageShape

router = APIRouter(responses=ERRORS)

_MOST = 1000
"""Events of one page."""

_DAYS = 3650


@router.get("/v1/Job/{uid}/Explain", operation_id="ExplainJob", response_model=ExplainShape)
def explain_job(called: Called, uid: str) -> Any:
    """Where a job is, since when, why, and what may be done about it."""
    found = job_of(called, uuid_in("uid", uid), Role.READ)
    return called.gateway.client.explain(found.uid, project=None if called.caller.administers(None) else found.project)


@router.get("/v1/Job/{uid}/Events", operation_id="GetJobEvents", response_model=EventPage)
def get_job_events(called: Called, uid: str, stop: int = 200, after: str | None = None) -> Any:
    """What happened to a job, the newest `stop` events; `after` is the cursor of a page before, for those since."""
    found = job_of(called, uuid_in("uid", uid), Role.READ)
    return called.gateway.client.events(found.uid, limit=_limit(stop), after=after)


@router.get("/v1/Launch/{gid}/Events", operation_id="GetLaunchEvents", response_model=EventPage)
def get_launch_events(called: Called, gid: str, stop: int = 200, after: str | None = None) -> Any:
    """What happened to a launch and its jobs, as GetJobEvents."""
    found = launch_of(called, uuid_in("gid", gid), Role.READ)
    return called.gateway.client.events(found.gid, limit=_limit(stop), after=after)


@router.get("/v1/Launch/{gid}/Failures", operation_id="GetLaunchFailures", response_model=list[FailureShape])
def get_launch_failures(called: Called, gid: str) -> Any:
    """The failed jobs of a launch, those that failed alike together; a group's `key` is the `error` of RetryJobList."""
    found = launch_of(called, uuid_in("gid", gid), Role.READ)
    return called.gateway.client.failures(found.gid)


@router.get("/v1/Project/{project}/Usage", operation_id="GetProjectUsage", response_model=UsageShape)
def get_project_usage(called: Called, project: Id, days: int = 30) -> Any:
    """What the attempts of a project that ended within some days used, as Argo counts it."""
    require(called.caller, project, Role.READ)
    return called.gateway.client.usage(project, days=min(max(days, 0), _DAYS))


@router.get("/v1/JobCluster/{id}/Events", operation_id="GetJobClusterEvents", response_model=EventPage)
def get_job_cluster_events(called: Called, id: Row, stop: int = 200, after: str | None = None) -> Any:
    """What happened to a cluster, as GetJobEvents."""
    managed(called, id)
    return called.gateway.client.events(cluster=id, limit=_limit(stop), after=after)


def _limit(stop: int) -> int:
    return min(max(stop, 0), _MOST)
