"""Routes that find jobs in all projects that the caller may read; the status words are the true ones.

Their query is a `JobFilter`, as the page's address has it: fields that are lists are repeated.
"""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from argosy.api.callers import Caller, Role, require
from argosy.api.routing import ERRORS, Asked, Called
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import Text
from argosy.shapes.shown import Hit, JobCounts, JobPage, LaunchList

router = APIRouter(responses=ERRORS)


def _documented() -> dict[str, Any]:
    """The fields of a filter, as parameters in the document."""
    fields = JobFilter.model_json_schema()["properties"]
    schemas = {name: {key: value for key, value in field.items() if key != "default"} for name, field in fields.items()}
    return {"parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]}


@router.get("/v1/Jobs", operation_id="FindJobs", response_model=JobPage, openapi_extra=_documented())
def find_jobs(asked: Asked, request: Request) -> Any:
    """A page of the jobs that a filter chooses, without their nodes; `cursor` asks for the next one."""
    where = JobFilter.of_query(request.url.query)
    return asked.gateway.client.find(where, projects=readable(asked.caller, where))


@router.get("/v1/JobCounts", operation_id="CountJobs", response_model=JobCounts, openapi_extra=_documented())
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
