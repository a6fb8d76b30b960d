"""Who looks at the page: finds them out before a route begins, refuses other sites' requests, and guards every answer.

A browser keeps the credentials in a cookie that scripts cannot read and that is sent to the page only, not to the API. Where there is no
such cookie, the platform's own session counts, if the browser sends it here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy.api.callers import Caller, Role, check_origin, require
from argosy.api.routing import Gateway, admit
from argosy.errors import ArgosyError, InvalidRequest, NotFound
from argosy.store.actor import acting

COOKIE = "argosy_token"
"""Has the token of somebody who signed in here."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer: nothing is loaded from elsewhere, nothing runs that is not a file of ours, nobody frames it."""

OPEN = ("/sign-in", "/static/")
"""Paths, below the page's own, that need nobody to be known."""

_MOST_FIELDS = 200


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is known."""

    gateway: Gateway
    caller: Caller
    request: Request

    def role(self, project: int) -> Role:
        """What they may do in a project."""
        return self.caller.role(project)

    def require(self, project: int, role: Role, what: str) -> None:
        """Check that somebody may see, or do, something; what they may not see is as what is not there.

        Raises:
            NotFound: They may not see it.
            Forbidden: They may see it, and not do this.
        """
        if self.caller.role(project) < Role.READ:
            raise NotFound(f"{what} does not exist, or is in no project that you may see")
        require(self.caller, project, role)


def _visit(request: Request) -> Visit:
    return Visit(request.app.state.gateway, request.state.caller, request)


Visited = Annotated[Visit, Depends(_visit)]


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        InvalidRequest: It is no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0]
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidRequest("the form cannot be read") from None
    if kind != "application/x-www-form-urlencoded" and pairs:
        raise InvalidRequest("send a form")
    return dict(pairs)


Form = Annotated[dict[str, str], Depends(_form)]
"""The fields of a form that was sent; of a name that is there twice, the last."""


def up(request: Request) -> str:
    """The way from a request's address to the page's own root, to be put before relative links."""
    inside = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return "../" * (inside.count("/") - 1) or "./"


def redirect(request: Request, path: str) -> Response:
    """Go on elsewhere on the page."""
    return RedirectResponse(f"{up(request)}{path}", 303)


class Threshold:
    """Lets in whom the gateway knows, and sends others to sign in.

    Args:
        app: The page.
        gateway: What it works with.
        refused: Makes the answer to somebody who is not let in.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, refused: Callable[[Request, Exception], Response]) -> None:
        self._app, self._gateway, self._refused = app, gateway, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        try:
            if scope["method"] not in ("GET", "HEAD"):
                check_origin(request)
            caller = None if _is_open(scope) else await run_in_threadpool(admit, self._gateway, _credited(request))
        except (ArgosyError, OperationalError) as error:
            answer = self._refused(request, error)
            await answer(scope, receive, guarded)
            return
        request.state.caller = caller
        acts = caller is not None and scope["method"] not in ("GET", "HEAD")
        with acting(f"user {caller.user}") if acts and caller is not None else nullcontext():
            await self._app(scope, receive, guarded)


def _is_open(scope: Scope) -> bool:
    inside = scope["path"].removeprefix(scope.get("root_path", ""))
    return any(inside.startswith(path) for path in OPEN)


def _credited(request: Request) -> Request:
    """The request with the token of its cookie in the header in which a program would send it."""
    if not (token := request.cookies.get(COOKIE)):
        return request
    kept = [each for each in request.scope["headers"] if each[0] not in (b"authorization", b"cookie")]
    return Request({**request.scope, "headers": [*kept, (b"authorization", b"Token " + token.encode("latin-1"))]})
