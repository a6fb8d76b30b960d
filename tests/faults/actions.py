"""What a fault proxy (proxy.py) is told to do to one request.

Each is what a network, a load balancer or a full server does in the field; a test says which, and to which request.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_OBJECT = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/[^/]+)?/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def verb(self) -> str:
        """Kubernetes' word for it: create, get, list, watch, patch, update or delete."""
        if self.method == "GET":
            return "watch" if self.query.get("watch") else "get" if self._part("name") else "list"
        return _VERBS.get(self.method, self.method)

    @property
    def resource(self) -> str:
        """Plural name of the resource, with the part of it that is asked for (`pods/log`); empty for what is none, as /version."""
        return "/".join(filter(None, (self._part("resource"), self._part("part"))))

    @property
    def name(self) -> str:
        """Name of the one object that it is about; empty where there is none."""
        if self.verb == "create":
            return str(orjson.loads(self.body).get("metadata", {}).get("name", ""))
        return self._part("name")

    def _part(self, group: str) -> str:
        found = _OBJECT.fullmatch(self.path)
        return (found[group] or "") if found else ""


@dataclass(frozen=True)
class Action:
    """What happens to one request; None of them means that it is passed on."""

    @property
    def kind(self) -> str:
        """What it is counted as."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Answer(Action):
    """It is answered here and never forwarded, once `after` is set. A mapping as body is sent as JSON. With `hang_up` the connection is
    aborted after that, which cuts an answer whose Content-Length says more."""

    status: int
    body: bytes | Mapping[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: asyncio.Event | None = None
    hang_up: bool = False

    @property
    def kind(self) -> str:
        """Whether the apiserver could have said it is part of it."""
        own = isinstance(self.body, Mapping) and self.body.get("kind") == "Status"
        return f"answer-{self.status}{'' if own else '-foreign'}"


@dataclass(frozen=True)
class Endless(Action):
    """It is answered here with this text again and again, until the client has gone."""

    text: bytes


@dataclass(frozen=True)
class Instead(Action):
    """It is forwarded and done; this answer comes in place of the server's, as from a load balancer that lost it. Not for a watch."""

    answer: Answer

    @property
    def kind(self) -> str:
        """What came, after the server had done it."""
        return f"done-and-{self.answer.kind}"


@dataclass(frozen=True)
class Drop(Action):
    """The connection is aborted before anything was forwarded."""


CUTS: dict[str, Callable[[int, int], int]] = {
    "at-once": lambda head, total: 0,
    "in-the-status-line": lambda head, total: 9,
    "in-the-headers": lambda head, total: head // 2,
    "in-the-body": lambda head, total: (head + total) // 2,
    "before-the-last-byte": lambda head, total: total - 1,
}
"""Where an answer is cut, from the lengths of its head and of all of it."""


@dataclass(frozen=True)
class Cut(Action):
    """It is forwarded; only the first bytes of the answer reach the client before the connection is aborted.

    Args:
        at: One of `CUTS`.
    """

    at: str = "at-once"


@dataclass(frozen=True)
class Lose(Action):
    """It is forwarded; the answer never comes, and the connection stays open until the client gives up."""


@dataclass(frozen=True)
class Hold(Action):
    """It is forwarded when the event is set, even if the client has gone by then."""

    until: asyncio.Event


@dataclass(frozen=True)
class HoldAnswer(Action):
    """It is forwarded at once; the answer goes out when the event is set."""

    until: asyncio.Event


@dataclass(frozen=True)
class Edit(Action):
    """Another request is forwarded in its place."""

    change: Callable[[Request], Request]


@dataclass(frozen=True)
class Swallow(Action):
    """A watch that is half-open from the event on: its bytes are swallowed, the connection stays open."""

    since: asyncio.Event


@dataclass(frozen=True)
class Sever(Action):
    """A watch whose connection is aborted when the event is set."""

    at: asyncio.Event


def status_body(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    """The body of an apiserver's refusal."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    }  # fmt: skip


def intermediary(status: int) -> Answer:
    """What a load balancer or a mesh says of its own: no `Status`, whatever the server has done by then."""
    words = b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
    return Answer(status, words, {"Content-Type": "text/plain"})


FOREIGN = Answer(200, {"status": "ok"})
"""A login page's or a health check's answer: success, and nothing of Kubernetes."""
