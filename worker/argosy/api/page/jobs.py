"""Jobs of any launches, by a filter; the search; the page of one job; its logs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from argosy.api.callers import Role
from argosy.api.clusters import asking
from argosy.api.page.filters import filtered
from argosy.api.page.rendering import end_of, show
from argosy.api.page.rows import JOBS, explained
from argosy.api.page.visits import Visit, Visited, redirect
from argosy.api.routing import Busy, uuid_in
from argosy.client import Client
from argosy.errors import NotFound
from argosy.history.tree import tree
from argosy.logs.read import NOT_ASKED
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import Row, Text
from argosy.shapes.shown import JobShape, LogShape

router = APIRouter()

_ATTEMPTS = 8
"""Side by side, the newest."""

_EVENTS = 50

_TAIL = 1000
"""Lines of each container's log."""

_LOG_BYTES = 150_000
"""Of all logs of one page, as they are in it; of more the end is shown."""

_FEW_BYTES = 30_000
"""Of all logs on the page of a job, which shows more than these."""

_UNFOLDED = 5
"""Steps that stay unfolded; each link of a tree has their ids."""


@router.get("/jobs", operation_id="PageJobs")
def jobs(visit: Visited) -> Response:
    """The jobs that fit a filter, of all launches that somebody may see."""
    where = filtered(visit.request.url.query)
    client, projects = visit.gateway.client, visit.caller.projects()
    found = client.find(where.model_copy(update={"limit": JOBS}), projects=projects)
    counts = client.counts(where, projects=projects)
    return show(
        visit, "jobs.html", where=where, jobs=found, counts=counts, why=explained(client, found.items), stream=""
    )


@router.get("/search", operation_id="PageSearch")
def search(visit: Visited, q: Text = "") -> Response:
    """What has this id, name, user, medium or parameter; a single one is gone to at once."""
    hits = visit.gateway.client.search(q, projects=visit.caller.projects()) if q.strip() else []
    if len(hits) == 1:
        (hit,) = hits
        return redirect(visit.request, f"job/{hit.uid}" if hit.uid else f"launch/{hit.gid}")
    return show(visit, "search.html", q=q, hits=hits)


@router.get("/job/{uid}", operation_id="PageJob")
def job(
    visit: Visited,
    uid: str,
    attempt: Row | None = None,
    unfold: Annotated[list[Text], Query(max_length=100)] = [],  # noqa: B006
) -> Response:
    """One job: where it is and why, its attempts side by side, its steps, its logs, what happened."""
    newest = job_of(visit, uuid_in("uid", uid))
    client = visit.gateway.client
    attempts = [newest, *(client.get(newest.uid, attempt=n) for n in _older(newest.attempt))]
    shown = newest if attempt in (None, newest.attempt) else client.get(newest.uid, attempt=attempt)
    known = {node.id for node in shown.nodes}
    return show(
        visit,
        "job.html",
        job=shown,
        newest=newest,
        attempts=attempts[::-1],
        why=client.explain(newest.uid, project=None if visit.caller.administers(None) else newest.project),
        attempt=attempt,
        unfolded=[each for each in unfold if each in known][1 - _UNFOLDED :],
        one=JobFilter(gid=newest.gid, index=newest.index),
        steps=tree(shown.nodes, shown.as_of, unfold),
        log=_kept(client, shown) if shown.attempt else None,
        events=client.events(newest.uid, limit=_EVENTS).events,
        role=visit.role(newest.project),
        stream=f"uid={newest.uid}",
    )


@router.get("/job/{uid}/log", operation_id="PageLog")
def log(visit: Visited, uid: str, node: Text = "", attempt: Row | None = None) -> Response:
    """What the containers of a job write: what its cluster says now, because somebody asked for just that, else what was kept."""
    found = job_of(visit, uuid_in("uid", uid))
    client, number = visit.gateway.client, attempt or found.attempt
    asked = node or None
    try:
        with asking(visit.gateway):
            said = client.logs(found.uid, node=asked, attempt=number or None, tail=_TAIL)
    except Busy as error:
        kept = client.logs(found.uid, node=asked, attempt=number or None, tail=_TAIL, ask=False)
        said = kept.model_copy(update={"note": f"{kept.note}: {error}"})
    ended = said.status not in ("Queued", "Submitting", "Pending", "Running", "Cancelling")
    return show(
        visit,
        "log.html",
        job=found,
        log=_cut(said),
        node=node,
        attempt=number,
        ended=ended,
        stream=f"uid={found.uid}",
    )


def job_of(visit: Visit, uid: UUID, role: Role = Role.READ) -> JobShape:
    """A job that somebody may see.

    Raises:
        NotFound: There is none, or they may not see it.
        Forbidden: They may see it, and their role is less.
    """
    missing = f"job {uid}"
    try:
        found = visit.gateway.client.get(uid)
    except NotFound:
        raise NotFound(f"{missing} does not exist, or is in no project that you may see") from None
    visit.require(found.project, role, missing)
    return found


def _older(newest: int) -> range:
    return range(newest - 1, max(newest - _ATTEMPTS, 0), -1)


def _kept(client: Client, job: JobShape) -> LogShape:
    """What is kept of a job's logs. That its cluster was not asked is no news on a page that asks none."""
    said = _cut(client.logs(job.uid, attempt=job.attempt, tail=_TAIL, ask=False), _FEW_BYTES)
    return said.model_copy(update={"note": said.note.removeprefix(NOT_ASKED).removeprefix("; ")})


def _cut(said: LogShape, most: int = _LOG_BYTES) -> LogShape:
    """Logs that fit on a page: of each container the end."""
    ends = [end_of(each.text, most // max(len(said.logs), 1)) for each in said.logs]
    logs = [
        each.model_copy(update={"text": end, "cut": each.cut or len(end) < len(each.text)})
        for each, end in zip(said.logs, ends, strict=True)
    ]
    return said.model_copy(update={"logs": logs})
