"""Routes that only hand on: what the published client asks of the same server, and what is the platform's own."""

from typing import Any

import orjson
from fastapi import APIRouter, Response

from argosy.api import wire
from argosy.api.callers import Role, require
from argosy.api.routing import ERRORS, Called
from argosy.network.http import Answer
from argosy.shapes.given import Id

router = APIRouter(responses=ERRORS)


@router.get("/rest/User/GetCurrent", operation_id="Whoami", response_model=wire.User)
def whoami(called: Called) -> Response:
    """Who calls."""
    if called.gateway.settings.auth == "tokens":
        return Response(orjson.dumps({"id": called.caller.user}), media_type="application/json")
    return _handed_on(called.gateway.platform.ask("GET", "User/GetCurrent", called.caller.credentials))


@router.post("/rest/Email/{project}", operation_id="SendEmail", response_model=wire.MessageResponse, status_code=201)
def send_email(called: Called, project: Id, email_spec: wire.EmailSpec) -> Response:
    """Send a message to members of a project; the platform sends it."""
    require(called.caller, project, Role.EXECUTE)
    body: dict[str, Any] = email_spec.model_dump(exclude_none=True)
    asked = called.gateway.platform.ask("POST", f"Email/{project}", called.caller.credentials, orjson.dumps(body))
    return _handed_on(asked)


def _handed_on(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type="application/json")
