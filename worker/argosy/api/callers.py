"""Who calls, and what they may do. Every route asks here before it does anything.

Two ways, one for an installation. `platform`: the caller's own credentials are shown to the platform, which knows its users, projects and
organizations; a launch gets that same token, because its workflows call the platform back with it. `tokens`: argosy's own tokens, for
machines, where no platform can be asked.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from threading import Lock
from typing import Any, Protocol
from urllib.parse import urlsplit

from sqlalchemy import Engine
from starlette.requests import Request

from argosy.api.platform import Platform
from argosy.errors import ArgosyError, NotConfigured
from argosy.launch.accept import seal
from argosy.settings import Settings
from argosy.store import api_tokens


class Role(IntEnum):
    """What somebody may do in a project; each may what those before it may."""

    NONE = 0
    READ = 1
    EXECUTE = 2
    FULL = 3


class Anonymous(ArgosyError):
    """Nobody knows who calls."""


class Forbidden(ArgosyError):
    """The caller may not do this."""


class Caller(Protocol):
    """Somebody whose identity is known."""

    @property
    def user(self) -> int:
        """Their id on the platform."""

    @property
    def credentials(self) -> dict[str, str]:
        """What the platform knows them by, and nothing else that they sent.

        Raises:
            NotConfigured: No platform is asked.
        """

    def role(self, project: int) -> Role:
        """What they may do in a project."""

    def projects(self) -> frozenset[int] | None:
        """The projects that they may read; None for every one."""

    def uses(self, organization: int | None) -> bool:
        """Whether jobs that they may read may run on an organization's clusters."""

    def administers(self, organization: int | None) -> bool:
        """Whether they may manage an organization's clusters."""

    def shares(self, project: int, organization: int | None) -> bool:
        """Whether a project's jobs may run on an organization's clusters; those of no organization are everybody's."""

    def sealed(self) -> bytes | None:
        """The platform's token for their launches, sealed; None if there is none."""


class Door(Protocol):
    """Finds out who calls."""

    def knows(self, request: Request) -> bool:
        """Whether these credentials were known a moment ago, so that nobody need be asked."""

    def caller(self, request: Request) -> Caller:
        """Who sends a request.

        Raises:
            Anonymous: Nobody knows.
        """


_PERMISSIONS = {
    "View Only": Role.READ,
    "Can Edit": Role.READ,
    "Can Transfer": Role.READ,
    "Can Execute": Role.EXECUTE,
    "Full Control": Role.FULL,
}

_MASK = ((1 << 7, Role.FULL), (1 << 5, Role.EXECUTE), (1 << 1, Role.READ))
"""Bits of a newer platform's `effective_permission`: may change permissions, may run algorithms, may read."""

_FOR = 60.0
"""Seconds for which the platform's answer is believed."""

_FOR_NOTHING = 5.0
"""Seconds for which a refusal is: it may have been a moment's."""

_MOST = 10_000
"""Answers that are kept."""


@dataclass(frozen=True)
class PlatformCaller:
    """A user of the platform."""

    user: int
    credentials: dict[str, str] = field(repr=False)
    door: "PlatformDoor" = field(repr=False)

    def role(self, project: int) -> Role:
        """By the platform's own word: `permission` of the project, or the newer `effective_permission`."""
        found = self.door.ask(self.credentials, f"Project/{project}")
        return Role.NONE if found is None else _role(found)

    def projects(self) -> frozenset[int]:
        """Those that the platform lists for them."""
        return frozenset(self.door.projects(self.credentials))

    def uses(self, organization: int | None) -> bool:
        """Whether one of their projects is in it."""
        return organization is None or organization in self.door.projects(self.credentials).values()

    def administers(self, organization: int | None) -> bool:
        """Whether the platform calls them an admin of it. Clusters of no organization are the operator's."""
        found = None if organization is None else self.door.ask(self.credentials, f"Organization/{organization}")
        return found is not None and found.get("permission") == "Admin"

    def shares(self, project: int, organization: int | None) -> bool:
        """Whether the platform has the project in that organization."""
        found = None if organization is None else self.door.ask(self.credentials, f"Project/{project}")
        return organization is None or (found is not None and found.get("organization") == organization)

    def sealed(self) -> bytes | None:
        """Their own token; a session's cookie is none that a workflow could use."""
        scheme, _, token = self.credentials.get("Authorization", "").partition(" ")
        return seal(self.door.settings, token.strip()) if scheme.lower() in ("token", "bearer") and token else None


def _role(project: dict[str, Any]) -> Role:
    mask = project.get("effective_permission")
    if isinstance(mask, int) and not isinstance(mask, bool):
        return next((role for bit, role in _MASK if mask & bit), Role.NONE)
    return _PERMISSIONS.get(str(mask or project.get("permission")), Role.NONE)


class PlatformDoor:
    """Asks the platform.

    Args:
        settings: Where it is.
        platform: How to ask it.
        clock: Seconds that only grow; tests hand in their own.
    """

    def __init__(self, settings: Settings, platform: Platform, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self._platform, self._clock = settings, platform, clock
        self._known: OrderedDict[tuple[bytes, str], tuple[float, Any]] = OrderedDict()
        self._lock = Lock()

    def knows(self, request: Request) -> bool:
        """See `Door.knows`."""
        return self._kept(_credentials(request), "User/GetCurrent") is not None

    def caller(self, request: Request) -> Caller:
        """See `Door.caller`. A session's cookie from another site's page is nobody's."""
        credentials = _credentials(request)
        if "Cookie" in credentials:
            check_origin(request)
        user = self.ask(credentials, "User/GetCurrent")
        number = user.get("id") if user is not None else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise Anonymous("the platform does not know these credentials")
        return PlatformCaller(number, credentials, self)

    def ask(self, credentials: dict[str, str], what: str) -> dict[str, Any] | None:
        """What the platform answers to somebody; None if it does not let them see it. Believed for a minute."""
        if (kept := self._kept(credentials, what)) is None:
            found = self._platform.get(what, credentials)
            self._keep(credentials, what, found, _FOR if found is not None else _FOR_NOTHING)
            return found
        answer: dict[str, Any] | None = kept[1]
        return answer

    def projects(self, credentials: dict[str, str]) -> dict[int, int | None]:
        """The projects that the platform lists for somebody, if they may read them, with their organizations. Believed for a minute."""
        if (kept := self._kept(credentials, "Projects")) is None:
            listed = self._platform.listed("Projects", credentials)
            found = {
                each["id"]: each.get("organization")
                for each in listed
                if isinstance(each.get("id"), int) and _role(each) >= Role.READ
            }
            self._keep(credentials, "Projects", found, _FOR)
            return found
        known: dict[int, int | None] = kept[1]
        return known

    def _keep(self, credentials: dict[str, str], what: str, found: Any, seconds: float) -> None:
        key = _key(credentials, what)
        with self._lock:
            self._known[key] = self._clock() + seconds, found
            self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)

    def _kept(self, credentials: dict[str, str], what: str) -> tuple[float, Any] | None:
        with self._lock:
            kept = self._known.get(_key(credentials, what))
        return kept if kept is not None and kept[0] > self._clock() else None


def _key(credentials: dict[str, str], what: str) -> tuple[bytes, str]:
    return sha256(repr(credentials).encode("utf-8", "replace")).digest(), what


def _credentials(request: Request) -> dict[str, str]:
    """The one thing that somebody is known by: the header, or else the cookie.

    Raises:
        Anonymous: There is neither.
    """
    if authorization := request.headers.get("authorization"):
        return {"Authorization": authorization}
    if cookie := request.headers.get("cookie"):
        return {"Cookie": cookie}
    raise Anonymous("send the platform's token: Authorization: Token …")


def check_origin(request: Request) -> None:
    """A browser sends a cookie along with another site's requests too: those may change nothing.

    Raises:
        Forbidden: The request comes from another site's page, or nobody can tell.
    """
    if request.method in ("GET", "HEAD"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if site != "same-origin" and (site is not None or origin != request.headers.get("host")):
        raise Forbidden("this comes from another site's page; send the platform's token instead of a cookie")


@dataclass(frozen=True)
class TokenCaller:
    """The owner of one of argosy's own tokens."""

    token: api_tokens.ApiToken

    @property
    def user(self) -> int:
        """On whose behalf the token acts."""
        return self.token.user

    @property
    def credentials(self) -> dict[str, str]:
        """None: a token of argosy's is nobody else's business."""
        raise NotConfigured("there is no platform to ask: ARGOSY_AUTH is tokens")

    def role(self, project: int) -> Role:
        """The token's role, in its projects."""
        inside = self.token.projects is None or project in self.token.projects
        return Role[self.token.role.upper()] if inside else Role.NONE

    def projects(self) -> frozenset[int] | None:
        """The token's."""
        return None if self.token.projects is None else frozenset(self.token.projects)

    def uses(self, organization: int | None) -> bool:
        """Whether the token is for that organization."""
        return organization is None or self.administers(organization)

    def administers(self, organization: int | None) -> bool:
        """Whether the token is for that organization's clusters; one for all organizations is the operator's."""
        mine = self.token.organizations
        return mine is None or (organization is not None and organization in mine)

    def shares(self, project: int, organization: int | None) -> bool:
        """Whether the token is for that organization."""
        return organization is None or self.administers(organization)

    def sealed(self) -> bytes | None:
        """The platform's token that was given when this one was made."""
        return self.token.sealed


class TokenDoor:
    """Looks argosy's own tokens up.

    Args:
        engine: Where they are.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def knows(self, request: Request) -> bool:
        """See `Door.knows`: nothing is kept, so that a token that is revoked is over at once."""
        return False

    def caller(self, request: Request) -> Caller:
        """See `Door.caller`."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or not secret.startswith(api_tokens.PREFIX):
            raise Anonymous("send a token of argosy's: Authorization: Token argosy_…; see: argosy token create")
        with self._engine.connect() as connection:
            found = api_tokens.find(connection, secret.strip())
        if found is None:
            raise Anonymous("this token is unknown, over or revoked; see: argosy token create")
        return TokenCaller(found)


def require(caller: Caller, project: int, role: Role) -> None:
    """Check what somebody may do in a project.

    Raises:
        Forbidden: They may not.
    """
    has = caller.role(project)
    if has < role:
        words = {Role.READ: "read it", Role.EXECUTE: "run algorithms in it", Role.FULL: "manage its algorithms"}
        raise Forbidden(f"project {project}: you may not {words[role]}")


def require_admin(caller: Caller, organization: int | None) -> None:
    """Check that somebody may manage an organization's clusters.

    Raises:
        Forbidden: They may not.
    """
    if not caller.administers(organization):
        whose = "the operator's" if organization is None else f"of organization {organization}"
        raise Forbidden(f"clusters {whose}: only an admin of that organization may see or manage them")
