"""The stream that says when a page has changed."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from argosy.api.page.jobs import job_of
from argosy.api.page.launches import launch_of
from argosy.api.page.visits import Visited
from argosy.api.stream import Stream, Watched

router = APIRouter()


@router.get("/stream", operation_id="PageStream")
def stream(visit: Visited, gid: UUID | None = None, uid: UUID | None = None) -> Response:
    """Changes of a launch, of a job with its steps and its launch, or of all launches that somebody may see."""
    if uid is not None:
        gid = job_of(visit, uid).gid
    elif gid is not None:
        launch_of(visit, gid)
    return Stream(visit.request.app.state.hub, Watched(visit.caller.user, visit.caller.projects(), gid, uid))
