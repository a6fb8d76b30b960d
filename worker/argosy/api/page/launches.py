"""The first page, of launches, and the page of one launch."""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from argosy.api.callers import Role
from argosy.api.page.filters import filtered, narrows
from argosy.api.page.rendering import show
from argosy.api.page.rows import JOBS, explained
from argosy.api.page.visits import Visit, Visited
from argosy.api.routing import uuid_in
from argosy.errors import NotFound
from argosy.shapes.filters import FAILED, JobFilter
from argosy.shapes.shown import LaunchShape

router = APIRouter()

_LAUNCHES = 25
"""On one page."""

_EVENTS = 50

_KINDS = 30
"""Of failures."""


@router.get("/launches", operation_id="PageLaunches")
def launches(visit: Visited) -> Response:
    """Launches, the newest first, each with its jobs counted by status."""
    where = filtered(visit.request.url.query)
    shown = where.model_copy(update={"limit": _LAUNCHES})
    found = visit.gateway.client.find_launches(shown, projects=visit.caller.projects())
    return show(visit, "launches.html", where=where, found=found, stream="")


@router.get("/launch/{gid}", operation_id="PageLaunch")
def launch(visit: Visited, gid: str) -> Response:
    """One launch: how far it is, what failed in it, its jobs, what happened."""
    found = launch_of(visit, uuid_in("gid", gid))
    client = visit.gateway.client
    where, projects = filtered(visit.request.url.query).model_copy(update={"gid": found.gid}), visit.caller.projects()
    jobs = client.find(where.model_copy(update={"limit": JOBS}), projects=projects)
    counted = narrows(where, ("gid", "status", "failed"))
    failures = client.failures(found.gid) if any(found.counts.get(each) for each in FAILED) else []
    return show(
        visit,
        "launch.html",
        launch=found,
        where=where,
        every=JobFilter(gid=found.gid),
        jobs=jobs,
        why=explained(client, jobs.items),
        counts=client.counts(where, projects=projects).counts if counted else found.counts,
        failures=failures[:_KINDS],
        kinds=len(failures),
        events=client.events(found.gid, limit=_EVENTS).events,
        role=visit.role(found.project),
        stream=f"gid={found.gid}",
    )


def launch_of(visit: Visit, gid: UUID, role: Role = Role.READ) -> LaunchShape:
    """A launch that somebody may see.

    Raises:
        NotFound: There is none, or they may not see it.
        Forbidden: They may see it, and their role is less.
    """
    found = visit.gateway.client.launches(gid=gid)
    if not found:
        raise NotFound(f"launch {gid} does not exist, or is in no project that you may see")
    visit.require(found[0].project, role, f"launch {gid}")
    return found[0]
