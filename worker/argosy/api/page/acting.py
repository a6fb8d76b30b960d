"""Actions: cancel and retry a launch, a job, or a group of failures."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from argosy import control
from argosy.api.callers import Role
from argosy.api.page.jobs import job_of
from argosy.api.page.launches import launch_of
from argosy.api.page.visits import Form, Visit, Visited, redirect
from argosy.api.routing import uuid_in
from argosy.errors import InvalidRequest
from argosy.shapes.filters import RetryFilter

router = APIRouter()


@router.post("/launch/{gid}/cancel", operation_id="PageCancelLaunch")
def cancel_launch(visit: Visited, gid: str) -> Response:
    """Cancel a launch with all its jobs."""
    found = launch_of(visit, uuid_in("gid", gid), Role.EXECUTE)
    visit.gateway.client.cancel(found.gid)
    return redirect(visit.request, f"launch/{found.gid}")


@router.post("/launch/{gid}/retry", operation_id="PageRetryLaunch")
def retry_launch(visit: Visited, gid: str, form: Form) -> Response:
    """Try what failed of a launch again, or one group of it."""
    found = launch_of(visit, uuid_in("gid", gid), Role.EXECUTE)
    _retry(visit, found.gid, found.project, RetryFilter(error=form.get("error")))
    return redirect(visit.request, f"launch/{found.gid}")


@router.post("/job/{uid}/cancel", operation_id="PageCancelJob")
def cancel_job(visit: Visited, uid: str) -> Response:
    """Cancel a job."""
    found = job_of(visit, uuid_in("uid", uid), Role.EXECUTE)
    visit.gateway.client.cancel(found.uid)
    return redirect(visit.request, f"job/{found.uid}")


@router.post("/job/{uid}/retry", operation_id="PageRetryJob")
def retry_job(visit: Visited, uid: str) -> Response:
    """Try a job that failed again."""
    found = job_of(visit, uuid_in("uid", uid), Role.EXECUTE)
    _retry(visit, found.uid, found.project, RetryFilter())
    return redirect(visit.request, f"job/{found.uid}")


def _retry(visit: Visit, key: UUID, project: int, where: RetryFilter) -> None:
    """Retry with the launch's own token, or with the caller's where that was wiped."""
    engine, which = visit.gateway.client.engine, control.which(where, failed_only=True)
    try:
        control.retry(engine, key, project, which)
    except InvalidRequest:
        if (sealed := visit.caller.sealed()) is None:
            raise
        control.retry(engine, key, project, which, sealed)
