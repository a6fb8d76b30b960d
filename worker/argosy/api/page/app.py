"""The page as an application of its own, mounted under `/ui` of the gateway."""

from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from argosy.api.callers import Anonymous, Forbidden
from argosy.api.page import acting, entry, jobs, launches, live, places
from argosy.api.page.rendering import refusal
from argosy.api.page.visits import Threshold, up
from argosy.api.platform import PlatformAway
from argosy.api.routing import Busy, Gateway, TooFast
from argosy.api.stream import Hub
from argosy.errors import ArgosyError, Conflict, NotConfigured, NotFound, QueueFull

_REFUSALS: list[tuple[type[Exception], int, str]] = [
    (Forbidden, 403, "You may not do this"),
    (NotFound, 404, "There is no such thing"),
    (Conflict, 409, "This cannot be done now"),
    (QueueFull, 429, "The queue is full"),
    (TooFast, 429, "Too many requests"),
    (PlatformAway, 503, "The platform does not answer"),
    (Busy, 503, "Too many others ask for the same"),
    (NotConfigured, 503, "This is not set up"),
    (OperationalError, 503, "The database does not answer"),
    (ArgosyError, 400, "This cannot be understood"),
]
"""Status and title of a refusal, by the error; the first that fits."""


def create_page(gateway: Gateway, hub: Hub) -> FastAPI:
    """The application.

    Args:
        gateway: What its routes work with, that of the API's.
        hub: Tells that something has changed.
    """
    page = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    page.state.gateway, page.state.hub = gateway, hub
    for room in (entry, launches, jobs, places, acting, live):
        page.include_router(room.router)
    page.add_exception_handler(ArgosyError, _refused)
    page.add_exception_handler(OperationalError, _refused)
    page.add_exception_handler(RequestValidationError, _malformed)
    page.add_exception_handler(HTTPException, _no_route)
    page.add_middleware(Threshold, gateway=gateway, refused=answered)
    page.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    return page


def answered(request: Request, error: Exception) -> Response:
    """What somebody sees instead of a page; who is not known is sent to sign in, and then back to where they wanted to go."""
    if isinstance(error, Anonymous):
        inside = request.scope["path"].removeprefix(request.scope.get("root_path", "")).lstrip("/")
        query = f"?{request.url.query}" if request.url.query else ""
        wanted = f"?next={quote(inside + query)}" if request.method == "GET" and inside else ""
        address = f"{up(request)}sign-in{wanted}"
        if request.headers.get("hx-request") == "true":
            return Response(status_code=401, headers={"HX-Redirect": address})
        return RedirectResponse(address, 303)
    status, title = next((status, title) for kind, status, title in _REFUSALS if isinstance(error, kind))
    message = "Try again in a moment; nothing is lost meanwhile." if isinstance(error, OperationalError) else str(error)
    return refusal(request, status, title, message)


async def _refused(request: Request, error: Exception) -> Response:
    return answered(request, error)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- it is registered for that
    told = [f"{each['loc'][-1]}: {each['msg']}"[:300] for each in error.errors()[:5]]
    return refusal(request, 400, "This cannot be understood", "; ".join(told))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for that
    title = "There is no such page" if error.status_code == 404 else "This cannot be done"
    return refusal(request, error.status_code, title, str(error.detail))
