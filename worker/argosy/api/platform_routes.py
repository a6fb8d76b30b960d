"""Routes that the published client asks of the same server: who calls, which the platform says, and mails."""

from typing import Any

import orjson
from fastapi import APIRouter, Response

from argosy.api import recipients, wire
from argosy.api.callers import Role, require
from argosy.api.routing import ERRORS, Called
from argosy.network.http import Answer
from argosy.shapes.given import Id
from argosy.shapes.mails import EmailSpec
from argosy.store import outbox

router = APIRouter(responses=ERRORS)


@router.get("/rest/User/GetCurrent", operation_id="Whoami", response_model=wire.User)
def whoami(called: Called) -> Response:
    """Who calls."""
    if called.gateway.settings.auth == "tokens":
        return Response(orjson.dumps({"id": called.caller.user}), media_type="application/json")
    return _handed_on(called.gateway.platform.ask("GET", "User/GetCurrent", called.caller.credentials))


@router.post("/rest/Email/{project}", operation_id="SendEmail", response_model=wire.MessageResponse, status_code=201)
def send_email(called: Called, project: Id, email_spec: EmailSpec) -> Response:
    """Send a message to members of a project. Where argosy has no mail server (ARGOSY_MAIL_FROM), the platform sends it."""
    require(called.caller, project, Role.EXECUTE)
    gateway = called.gateway
    if not gateway.settings.mail_from:
        body: dict[str, Any] = email_spec.model_dump(exclude_none=True)
        asked = gateway.platform.ask("POST", f"Email/{project}", called.caller.credentials, orjson.dumps(body))
        return _handed_on(asked)
    recipients.check(called, project, email_spec)
    with gateway.client.engine.begin() as connection:
        outbox.mail(connection, project, email_spec, called.caller.sealed())
    told = {"message": f"{len(email_spec.people())} mails are on their way"}
    return Response(orjson.dumps(told), 201, media_type="application/json")


def _handed_on(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type="application/json")
