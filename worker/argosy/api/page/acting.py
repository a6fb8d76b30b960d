"""Actions on all jobs of a filter: counted first, then done to just those, then told.

A count is kept with the filter as it was; its id is in the address, so that a reload shows the same count or report and does nothing twice.
"""

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from argosy.api.callers import Role
from argosy.api.finding import bulk_of, executable
from argosy.api.own import RetrySpec, retried
from argosy.api.page.filters import MOST, filtered
from argosy.api.page.jobs import job_of
from argosy.api.page.launches import launch_of
from argosy.api.page.rendering import show
from argosy.api.page.visits import Form, Visit, Visited, redirect
from argosy.api.routing import uuid_in
from argosy.errors import InvalidRequest
from argosy.shapes.bulk import Verb
from argosy.store import retries

router = APIRouter()

_RETRIED = tuple(str(state).capitalize() for state in retries.FAILED)

_VERBS: dict[str, Verb] = {"cancel": "cancel", "retry": "retry", "priority": "priority"}


@router.post("/act", operation_id="PagePlan")
def plan(visit: Visited, form: Form) -> Response:
    """Count the jobs that fit a filter, and keep the count."""
    if (verb := _VERBS.get(form.get("verb", ""))) is None:
        raise InvalidRequest(f"verb: one of {', '.join(_VERBS)}")
    where = filtered(form.get("where", ""))
    made = visit.gateway.client.prepare(
        verb,
        where,
        user=visit.caller.user,
        projects=executable(visit.caller, where),
        priority=_priority(form) if verb == "priority" else None,
    )
    return redirect(visit.request, f"act/{made.id}")


@router.get("/act/{id}", operation_id="PagePlanned")
def planned(visit: Visited, id: str) -> Response:
    """What was counted, or the report of what was done."""
    found = bulk_of(visit.gateway.client, visit.caller, uuid_in("id", id))
    query = found.where.but().query()
    return show(
        visit,
        "act.html",
        plan=found,
        query=query if len(query) <= MOST else None,
        stream="" if found.state == "running" else None,
    )


@router.post("/act/{id}", operation_id="PageAct")
def act(visit: Visited, id: str) -> Response:
    """Do it with just what was counted."""
    found = bulk_of(visit.gateway.client, visit.caller, uuid_in("id", id))
    visit.gateway.client.act(found.id, sealed=visit.caller.sealed())
    return redirect(visit.request, f"act/{found.id}")


@router.get("/launch/{gid}/latest", operation_id="PageOutdatedLaunch")
def outdated_launch(visit: Visited, gid: str) -> Response:
    """What would run if the failed jobs of a launch were retried with what is registered now."""
    found = launch_of(visit, uuid_in("gid", gid), Role.EXECUTE)
    return _outdated(visit, f"launch/{found.gid}", found.gid, sum(found.counts.get(each, 0) for each in _RETRIED))


@router.get("/job/{uid}/latest", operation_id="PageOutdatedJob")
def outdated_job(visit: Visited, uid: str) -> Response:
    """What would run if a job were retried with what is registered now."""
    found = job_of(visit, uuid_in("uid", uid), Role.EXECUTE)
    return _outdated(visit, f"job/{found.uid}", found.uid, int(found.status in _RETRIED))


@router.post("/launch/{gid}/latest", operation_id="PageLatestLaunch")
def latest_launch(visit: Visited, gid: str) -> Response:
    """Retry the failed jobs of a launch with what is registered now."""
    found = launch_of(visit, uuid_in("gid", gid), Role.EXECUTE)
    retried(visit.gateway.client.engine, visit.caller, found.gid, RetrySpec(latest=True))
    return redirect(visit.request, f"launch/{found.gid}")


@router.post("/job/{uid}/latest", operation_id="PageLatestJob")
def latest_job(visit: Visited, uid: str) -> Response:
    """Retry a job with what is registered now."""
    found = job_of(visit, uuid_in("uid", uid), Role.EXECUTE)
    retried(visit.gateway.client.engine, visit.caller, found.uid, RetrySpec(latest=True))
    return redirect(visit.request, f"job/{found.uid}")


def _outdated(visit: Visit, path: str, key: UUID, count: int) -> Response:
    return show(visit, "latest.html", path=path, found=visit.gateway.client.outdated(key), count=count)


def _priority(form: Form) -> int:
    try:
        return int(form.get("priority", ""))
    except ValueError:
        raise InvalidRequest("priority: a whole number from -100 to 100") from None
