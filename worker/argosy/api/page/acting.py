"""Actions on all jobs of a filter: counted first, then done to just those, then told.

A count is kept with the filter as it was; its id is in the address, so that a reload shows the same count or report and does nothing twice.
"""

from fastapi import APIRouter
from starlette.responses import Response

from argosy.api.finding import bulk_of, executable
from argosy.api.page.filters import MOST, filtered
from argosy.api.page.rendering import show
from argosy.api.page.visits import Form, Visited, redirect
from argosy.api.routing import uuid_in
from argosy.errors import InvalidRequest
from argosy.shapes.bulk import Verb

router = APIRouter()

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


def _priority(form: Form) -> int:
    try:
        return int(form.get("priority", ""))
    except ValueError:
        raise InvalidRequest("priority: a whole number from -100 to 100") from None
