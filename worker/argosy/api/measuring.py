"""What Prometheus learns of the gateway's requests.

No label has a value that a caller chooses, so that nobody can make endless many of them: an operation has its id, what has none is `none`.
That is a path that there is not, and everything that is refused before its path is looked at.
"""

import time

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argosy import metrics

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Measured:
    """Counts and times every request. It is the outermost part of the application, so that refused requests count, too.

    Args:
        app: The rest of the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers where the application does not
        method = scope["method"] if scope["method"] in _METHODS else "other"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        in_flight, begun = metrics.API_IN_FLIGHT.labels(method), time.monotonic()
        in_flight.inc()
        try:
            await self._app(scope, receive, noted)
        except BaseException:
            status = 500  # also where a part of another answer was sent before
            raise
        finally:
            in_flight.dec()
            operation = _operation(scope)
            metrics.API_SECONDS.labels(operation).observe(time.monotonic() - begun)
            metrics.API_REQUESTS.labels(operation, method, f"{status // 100}xx").inc()


def _operation(scope: Scope) -> str:
    """The id of the operation that was called. The router notes its route in the scope, also where only the path fits."""
    route = scope.get("route")
    if not isinstance(route, APIRoute) or scope["method"] not in (route.methods or ()):
        return "none"
    return route.operation_id or "none"
