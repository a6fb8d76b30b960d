"""What every route stands on: who calls, how often, with which parameters."""

from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from argosy.api.callers import Caller, Door
from argosy.api.platform import Platform
from argosy.api.wire import BadRequestResponse, MessageResponse
from argosy.client import Client
from argosy.errors import ArgosyError, InvalidRequest
from argosy.settings import Settings

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": BadRequestResponse},
    **{status: {"model": MessageResponse} for status in (401, 403, 404, 409, 429)},
}
"""What each route may answer besides what was asked for."""

_MOST_IDS = 1000
"""Ids in one list of the query."""


class Busy(ArgosyError):
    """Too many others wait for the same."""


class TooFast(ArgosyError):
    """A caller sends more requests than one may."""


@dataclass(frozen=True)
class Gateway:
    """What the routes work with. `waiting` bounds how many of them wait at a time for the jobs of a launch on a
    query, `asking` how many wait for a cluster."""

    client: Client
    settings: Settings
    platform: Platform
    door: Door
    limiter: "Limiter"
    waiting: BoundedSemaphore
    asking: BoundedSemaphore


class Limiter:
    """Bounds how often somebody asks.

    Args:
        rate: Requests a second; as many may come at once as in two seconds.
    """

    def __init__(self, rate: float) -> None:
        self._item = RateLimitItemPerSecond(max(int(rate * 2), 1), 2)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def check(self, who: str) -> None:
        """Count a request.

        Raises:
            TooFast: There were too many just now.
        """
        if not self._window.hit(self._item, who):
            raise TooFast("too many requests; wait a second")


def admit(gateway: Gateway, request: Request) -> Caller:
    """Who sends a request, before anything of its body is read.

    Raises:
        Anonymous: Nobody knows.
        TooFast: There were too many from them, or from their address of callers that are not known yet.
        PlatformAway: The platform cannot be asked.
    """
    if not gateway.door.knows(request):
        gateway.limiter.check(f"address {request.client.host if request.client is not None else ''}")
    caller = gateway.door.caller(request)
    gateway.limiter.check(f"user {caller.user}")
    return caller


@dataclass(frozen=True)
class _Called:
    gateway: Gateway
    caller: Caller


def _called(request: Request) -> _Called:
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    if unknown := [name for name in request.query_params if name not in known]:
        raise InvalidRequest(
            f"{', '.join(name[:100] for name in unknown[:10])}: no such parameter here; there are {', '.join(sorted(known)) or 'none'}"
        )
    return _asked(request)


def _asked(request: Request) -> _Called:
    return _Called(request.app.state.gateway, request.state.caller)


Called = Annotated[_Called, Depends(_called)]
"""A request whose sender is known and whose parameters are."""

Asked = Annotated[_Called, Depends(_asked)]
"""A request whose sender is known; the route itself looks at the query."""


def ids(name: str, value: str | None) -> list[int] | None:
    """Ids from a list with commas; None where none is given.

    Raises:
        InvalidRequest: It is no such list.
    """
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) > _MOST_IDS or not all(
        part.isascii() and part.strip().isdigit() and len(part) < 20 for part in parts
    ):
        raise InvalidRequest(f"{name}: a list of up to {_MOST_IDS} ids, with commas between them")
    found = [int(part) for part in parts]
    if max(found) >= 1 << 63:
        raise InvalidRequest(f"{name}: ids are below 2**63")
    return found


def uuid_of(name: str, value: str | None) -> UUID | None:
    """A UUID, if one is given. Raises as `uuid_in`."""
    return None if value is None else uuid_in(name, value)


def uuid_in(name: str, value: str) -> UUID:
    """A UUID.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        return UUID(value)
    except ValueError as error:
        raise InvalidRequest(f"{name}: not a UUID") from error
