"""What becomes of single requests to a cluster during an audit. Each is drawn when it comes."""

import asyncio
import random
from collections.abc import Callable

from tests.faults.actions import (
    CUTS,
    FOREIGN,
    Action,
    Answer,
    Cut,
    Drop,
    Hold,
    HoldAnswer,
    Instead,
    Request,
    Sever,
    Swallow,
    intermediary,
    status_body,
)

CREATE_CHANCE, OTHER_CHANCE = 0.15, 0.04
"""Of a mishap, of a request to the apiserver."""


class Meddler:
    """What becomes of single requests to one cluster; each kind of fault in turn, in a drawn order."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._decks: dict[str, list[Callable[[], Action]]] = {}

    def __call__(self, request: Request) -> Action | None:
        """What becomes of this one."""
        kind = request.verb if request.verb in {"create", "watch", "list"} else ""
        if self._random.random() >= (CREATE_CHANCE if kind == "create" else OTHER_CHANCE):
            return None
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck.extend(_MISHAPS[kind])
            self._random.shuffle(deck)
        return deck.pop()()


def _later(seconds: float) -> asyncio.Event:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


def _always(action: Action) -> Callable[[], Action]:
    return lambda: action


_REFUSED = Answer(429, status_body(429, "TooManyRequests", "slow down"), {"Retry-After": "1"})

_AWAY = Answer(503, status_body(503, "ServiceUnavailable", "shutting down"))

_BROKEN = Answer(500, status_body(500, "InternalError", "etcdserver: request timed out"))

_OTHERS = [*map(intermediary, (502, 503, 504)), FOREIGN]

_OF_ALL = [
    *map(_always, (Drop(), _REFUSED, _AWAY, _BROKEN, *map(Cut, CUTS), *_OTHERS, *map(Instead, _OTHERS))),
    lambda: Hold(_later(2)), lambda: Hold(_later(12)), lambda: HoldAnswer(_later(12)),
]  # fmt: skip

_MISHAPS: dict[str, list[Callable[[], Action]]] = {
    "create": _OF_ALL,
    "watch": [*map(_always, (Drop(), _BROKEN, *_OTHERS)), lambda: Sever(_later(5)), lambda: Swallow(_later(5))],
    "list": [*map(_always, (Drop(), _REFUSED, _AWAY, _BROKEN, Cut("in-the-body"), *_OTHERS))],
    "": _OF_ALL,
}
"""By verb; the last of all others."""
