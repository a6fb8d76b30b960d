"""The gateway as an ASGI application."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from threading import BoundedSemaphore
from typing import Any

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy import metrics
from argosy.api import algorithms, clusters, document, finding, history, jobs, own, platform_routes
from argosy.api.callers import Anonymous, Door, Forbidden, PlatformDoor, TokenDoor
from argosy.api.measuring import Measured
from argosy.api.page import entry
from argosy.api.page.app import create_page
from argosy.api.platform import Platform, PlatformAway
from argosy.api.routing import Busy, Gateway, Limiter, TooFast, admit
from argosy.api.stream import Hub
from argosy.client import Client
from argosy.errors import (
    ArgosyError,
    Conflict,
    InvalidRequest,
    ManifestError,
    NotConfigured,
    NotFound,
    QueueFull,
)
from argosy.processes.heart import Heart
from argosy.settings import Settings
from argosy.store.actor import acting
from argosy.store.processes import API

log = structlog.get_logger()

ROUTERS = tuple(room.router for room in (jobs, algorithms, clusters, platform_routes, own, history, finding))
"""All that needs a caller."""

MOST_BYTES = 16 << 20
"""Of a launch's body: a million media ids. More media go by a query, or through the library."""

_BODY_SECONDS = 60.0
"""For a whole request to come."""

_USUAL_BYTES = 1 << 20
"""Of any other body."""

_STATUSES: list[tuple[type[ArgosyError], int]] = [
    (Anonymous, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (QueueFull, 429),
    (TooFast, 429),
    (PlatformAway, 503),
    (Busy, 503),
    (NotConfigured, 503),
    (InvalidRequest, 400),
]

_REASONS: dict[type[Exception], str] = {
    Anonymous: "unknown",
    Forbidden: "forbidden",
    QueueFull: "queue_full",
    TooFast: "too_fast",
    PlatformAway: "platform_away",
    Busy: "busy",
}
"""Of refusals that are counted, by the error: nothing is wrong with the request itself."""


def create_app(settings: Settings, platform: Platform | None = None) -> FastAPI:
    """The application.

    Args:
        settings: Of this process.
        platform: How the platform is asked; tests hand in their own.
    """
    client = Client(settings, pool_size=settings.api_threads)
    asked = platform or Platform(settings)
    heart, hub = Heart(settings, API), Hub(settings)
    door: Door = TokenDoor(client.engine) if settings.auth == "tokens" else PlatformDoor(settings, asked)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api_threads
        async with heart.beating(), hub.running():
            yield
        client.close()
        asked.close()

    app = FastAPI(
        title="argosy",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    waiting, asking = (BoundedSemaphore(max(settings.api_threads // 4, 1)) for _ in range(2))
    app.state.gateway = Gateway(client, settings, asked, door, Limiter(settings.api_rate), waiting, asking)
    app.state.heart, app.state.hub = heart, hub
    for router in ROUTERS:
        app.include_router(router)
    for name, endpoint in (
        ("schema", document.route(app)),
        ("livez", _probe(heart.dead)),
        ("readyz", _probe(heart.unready)),
        ("ui", entry.root),
    ):
        app.add_api_route(f"/{name}", endpoint, methods=["GET", "HEAD"], operation_id=name, include_in_schema=False)
    app.mount("/ui", create_page(app.state.gateway, hub))
    app.add_exception_handler(ArgosyError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(OperationalError, _away)
    app.add_exception_handler(DataError, _not_storable)
    app.add_exception_handler(IntegrityError, _taken)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(_Bounded)
    app.add_middleware(_Doorkeeper, gateway=app.state.gateway)
    app.add_middleware(Measured)  # the last one is the outermost
    return app


class _Doorkeeper:
    """Knows who calls before anything of a request's body is read: reading it costs, and strangers pay nothing."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/rest/", "/v1/")):
            request = Request(scope)
            try:
                request.state.caller = await run_in_threadpool(admit, self._gateway, request)
            except ArgosyError as error:
                await (await _refused(request, error))(scope, receive, send)
                return
            except OperationalError as error:
                await (await _away(request, error))(scope, receive, send)
                return
            if scope["method"] not in {"GET", "HEAD"}:
                with acting(f"user {request.state.caller.user}"):
                    await self._app(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Bounded:
    """Ends a request whose body is too large, or too slow, before it is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_BYTES if scope["path"].startswith("/rest/Jobs/") else min(MOST_BYTES, _USUAL_BYTES)
        ends = anyio.current_time() + _BODY_SECONDS
        size, whole = 0, False

        async def counted() -> Message:
            nonlocal size, whole
            with anyio.move_on_at(math.inf if whole else ends) as late:
                message = await receive()
            if late.cancelled_caught:
                raise HTTPException(408, f"the request did not come within {_BODY_SECONDS:.0f} s")
            whole = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, f"a request here has at most {most} bytes")
            return message

        await self._app(scope, counted, send)


async def _refused(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status == 500:
        raise error
    if (reason := _REASONS.get(type(error))) is not None:
        metrics.API_REFUSED.labels(reason).inc()
    told: dict[str, Any] = {"message": str(error)}
    if isinstance(error, ManifestError):
        told["details"] = [str(error), *map(str, error.others)]
    headers = {401: {"WWW-Authenticate": "Token"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "5"}}
    return JSONResponse(told, status, headers.get(status))


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- it is registered for that
    details = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}"[:500] for each in error.errors()[:20]]
    return JSONResponse({"message": details[0] if details else "cannot be read", "details": details}, 400)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for that
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)


async def _away(_: Request, error: Exception) -> Response:
    log.warning("the database cannot be asked", error=str(getattr(error, "orig", error))[:300])
    return JSONResponse({"message": "the database cannot be asked; try again"}, 503, {"Retry-After": "5"})


async def _taken(_: Request, error: Exception) -> Response:
    """Two callers registered the same at once; any other violation is a fault of ours."""
    if not isinstance(getattr(error, "orig", None), UniqueViolation):
        raise error
    return JSONResponse({"message": "somebody else registered the same name just now; choose another"}, 409)


async def _broken(_: Request, error: Exception) -> Response:
    """Starlette raises the error again once this is sent, so that it is logged."""
    return JSONResponse({"message": "a fault of argosy's; it is logged, please tell its operator the time"}, 500)


async def _not_storable(_: Request, error: Exception) -> Response:
    return JSONResponse({"message": "a value that cannot be kept: a NUL character, or a number beyond its range"}, 400)


def _probe(faults: Callable[[], Sequence[str]]) -> Callable[[Request], Awaitable[Response]]:
    """What the metrics port answers, for whoever reaches only this one, such as a balancer."""

    async def answer(_: Request) -> Response:
        found = faults()
        return JSONResponse({"message": "; ".join(found) or "ok"}, 503 if found else 200)

    return answer
