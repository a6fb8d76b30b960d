"""Clusters, projects and algorithms: where jobs run, who gets which share, what can be launched."""

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from argosy.api.callers import Role
from argosy.api.page.rendering import show
from argosy.api.page.visits import Form, Visited, redirect
from argosy.errors import InvalidRequest, NotFound
from argosy.shapes.given import Id, Row
from argosy.shapes.history import UsageShape
from argosy.shapes.shown import ProjectShape

router = APIRouter()

_PROJECTS = 50
"""On one page."""

_ALGORITHMS = 200
_DAYS = 30
_EVENTS = 20


@dataclass(frozen=True)
class Share:
    """A project's part of the clusters: what its weight gives it among those that want slots, and what it has."""

    project: ProjectShape
    fair: float
    has: float
    usage: UsageShape | None
    role: Role


@router.get("/clusters", operation_id="PageClusters")
def clusters(visit: Visited) -> Response:
    """The clusters that somebody's jobs may run on; addresses, limits and messages for those who manage them."""
    found = [each for each in visit.gateway.client.clusters() if visit.caller.uses(each.organization)]
    managed = {each.id for each in found if visit.caller.administers(each.organization)}
    events = {
        each.id: visit.gateway.client.events(cluster=each.id, limit=_EVENTS).events
        for each in found
        if each.id in managed
    }
    return show(visit, "clusters.html", clusters=found, managed=managed, events=events, stream="")


@router.post("/clusters/{id}/{what}", operation_id="PageClusterPause")
def pause_cluster(visit: Visited, id: Row, what: str, form: Form) -> Response:
    """Pause a cluster, or end a pause."""
    try:
        found = visit.gateway.client.cluster(id)
    except NotFound:
        found = None
    if found is None or not visit.caller.administers(found.organization):
        raise NotFound(f"cluster {id} does not exist, or is of no organization that you administer")
    if _pauses(what):
        visit.gateway.client.pause(cluster=id, reason=form.get("reason", "")[:500])
    else:
        visit.gateway.client.resume(cluster=id)
    return redirect(visit.request, "clusters")


@router.get("/projects", operation_id="PageProjects")
def projects(visit: Visited, usage: Id | None = None) -> Response:
    """Projects with their parts of the clusters; of those that somebody may not see, the sum alone. What one of them used is added up when
    somebody asks for it: that reads all its attempts of a month."""
    client, mine = visit.gateway.client, visit.caller.projects()
    every = client.projects()
    active, weights = (
        sum(each.active for each in every),
        sum(each.weight for each in every if each.active or each.queued),
    )
    seen = [each for each in every if mine is None or each.id in mine]
    quiet = sorted((mine or frozenset()) - {each.id for each in seen})  # without settings, and with nothing to do
    seen += [client.project(id) for id in quiet[: max(_PROJECTS - len(seen), 0)]]
    shares = [
        Share(
            each,
            each.weight / weights if weights and (each.active or each.queued) else 0.0,
            each.active / active if active else 0.0,
            client.usage(each.id, days=_DAYS) if each.id == usage else None,
            visit.role(each.id),
        )
        for each in seen[:_PROJECTS]
    ]
    others = [each for each in every if each not in seen]
    return show(visit, "projects.html", shares=shares, others=others, cut=len(seen) > _PROJECTS, days=_DAYS, stream="")


@router.post("/projects/{project}/{what}", operation_id="PageProjectPause")
def pause_project(visit: Visited, project: Id, what: str, form: Form) -> Response:
    """Pause a project, or end a pause."""
    visit.require(project, Role.FULL, f"project {project}")
    if _pauses(what):
        visit.gateway.client.pause(project=project, reason=form.get("reason", "")[:500])
    else:
        visit.gateway.client.resume(project=project)
    return redirect(visit.request, "projects")


@router.get("/algorithms", operation_id="PageAlgorithms")
def algorithms(visit: Visited) -> Response:
    """What can be launched in the projects that somebody may see."""
    mine = visit.caller.projects()
    found = [each for each in visit.gateway.client.algorithms() if mine is None or each.project in mine]
    names = {each.id: each.name for each in visit.gateway.client.clusters() if visit.caller.uses(each.organization)}
    return show(
        visit, "algorithms.html", algorithms=found[:_ALGORITHMS], cut=len(found) > _ALGORITHMS, names=names, stream=""
    )


def _pauses(what: str) -> bool:
    if what not in ("pause", "resume"):
        raise InvalidRequest("pause or resume; nothing else can be done")
    return what == "pause"
