"""Routes that find jobs in all projects that the caller may read; the status words are the true ones.

Their query is a `JobFilter`, as the page's address has it: fields that are lists are repeated.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from argosy.api.callers import Caller, Forbidden, Role, require
from argosy.api.routing import ERRORS, Asked, Called, uuid_in
from argosy.client import Client
from argosy.errors import NotFound
from argosy.shapes.bulk import BulkShape, Verb
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import In, Text
from argosy.shapes.shown import Hit, JobCounts, JobPage, LaunchList

router = APIRouter(responses=ERRORS)


_OF_PAGES = ("sort", "limit", "cursor")


def _documented(*but: str) -> dict[str, Any]:
    """The fields of a filter, as parameters in the document, but for some. Their bounds are told by the component `JobFilter`."""
    fields = {name: field for name, field in JobFilter.model_json_schema()["properties"].items() if name not in but}
    return {"parameters": [{"name": name, "in": "query", "schema": _kind(field)} for name, field in fields.items()]}


def _kind(field: dict[str, Any]) -> dict[str, Any]:
    given = field.get("anyOf", [field])[0]
    found = {key: given[key] for key in ("type", "format", "enum") if key in given}
    return found | ({"items": _kind(given["items"])} if "items" in given else {})


@router.get("/v1/Jobs", operation_id="FindJobs", response_model=JobPage, openapi_extra=_documented())
def find_jobs(asked: Asked, request: Request) -> Any:
    """A page of the jobs that a filter chooses, without their nodes; `cursor` asks for the next one."""
    where = JobFilter.of_query(request.url.query)
    return asked.gateway.client.find(where, projects=readable(asked.caller, where))


@router.get("/v1/JobCounts", operation_id="CountJobs", response_model=JobCounts, openapi_extra=_documented(*_OF_PAGES))
def count_jobs(asked: Asked, request: Request) -> Any:
    """The jobs that a filter chooses by status, as if it named none."""
    where = JobFilter.of_query(request.url.query)
    return asked.gateway.client.counts(where, projects=readable(asked.caller, where))


@router.get("/v1/Launches", operation_id="FindLaunches", response_model=LaunchList, openapi_extra=_documented())
def find_launches(asked: Asked, request: Request) -> Any:
    """A page of the launches that a filter chooses, or one of whose jobs it chooses."""
    where = JobFilter.of_query(request.url.query)
    return asked.gateway.client.find_launches(where, projects=readable(asked.caller, where))


@router.get("/v1/Search", operation_id="Search", response_model=list[Hit])
def search(called: Called, text: Text = "") -> Any:
    """Launches and jobs by a word: an id or its beginning, GID/17, the name of a workflow or pod, the id of a medium or a user,
    NAME=VALUE of a parameter, the name of an algorithm."""
    return called.gateway.client.search(text, projects=called.caller.projects())


def readable(caller: Caller, where: JobFilter) -> frozenset[int] | None:
    """The projects that a filter may look into: those that it names, or else all that the caller may read; None means every project.

    Raises:
        Forbidden: It names one that the caller may not read.
    """
    if not where.project:
        return caller.projects()
    for project in where.project:
        require(caller, project, Role.READ)
    return frozenset(where.project)


class BulkSpec(In):
    """What is to be done with all jobs that a filter chooses; a `priority` goes with the verb of that name."""

    verb: Verb
    where: JobFilter
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None


@router.post("/v1/Bulk", operation_id="PrepareBulk", response_model=BulkShape, status_code=201)
def prepare_bulk(called: Called, bulk_spec: BulkSpec) -> Any:
    """Write down the jobs that a filter chooses now, and count them. Nothing is done with them until ActBulk."""
    projects = executable(called.caller, bulk_spec.where)
    return called.gateway.client.prepare(
        bulk_spec.verb, bulk_spec.where, user=called.caller.user, projects=projects, priority=bulk_spec.priority
    )


@router.get("/v1/Bulk/{bulk}", operation_id="GetBulk", response_model=BulkShape)
def get_bulk(called: Called, bulk: str) -> Any:
    """What was prepared, and what came of it."""
    return bulk_of(called.gateway.client, called.caller, uuid_in("bulk", bulk))


@router.post("/v1/Bulk/{bulk}/Act", operation_id="ActBulk", response_model=BulkShape)
def act_bulk(called: Called, bulk: str) -> Any:
    """Do what was prepared, and report. If it is interrupted, the same again goes on."""
    found = bulk_of(called.gateway.client, called.caller, uuid_in("bulk", bulk))
    return called.gateway.client.act(found.id, sealed=called.caller.sealed())


def executable(caller: Caller, where: JobFilter) -> frozenset[int] | None:
    """The projects in which a filter may change something: those that it names, or else all in which the caller may launch; None means
    every project.

    Raises:
        Forbidden: It names one in which the caller may not, or there is none.
    """
    if where.project:
        for project in where.project:
            require(caller, project, Role.EXECUTE)
        return frozenset(where.project)
    readable = caller.projects()
    if readable is None:
        require(caller, 0, Role.EXECUTE)  # a token for all projects has one role
        return None
    found = frozenset(project for project in readable if caller.role(project) >= Role.EXECUTE)
    if not found:
        raise Forbidden("you may run algorithms in no project")
    return found


def bulk_of(client: Client, caller: Caller, bulk: UUID) -> BulkShape:
    """What the caller may do as well: another's is as one that is not there."""
    found = client.bulk(bulk)
    if any(caller.role(project) < Role.EXECUTE for project in found.projects) or (
        not found.projects and found.user != caller.user
    ):
        raise NotFound(f"{bulk} is not the id of work on several jobs in projects where you may run algorithms")
    return found
