"""Threads of their own for one kind of work, shared between its owners.

Work that waits for others (an API server that hangs) must not take the threads of other work, and one tenant's work must not take all
threads of its kind: without lanes, eight media queries that hung kept every launch and every submit of a worker waiting. The threads are
daemons, because a thread that waits for an answer must not keep the process from ending.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from threading import Condition, Thread
from typing import Generic, TypeVar

import structlog

from argosy.loops import surviving

K = TypeVar("K", bound=Hashable)

_PILE = 1_000
"""Items of one owner that may wait in one lane. If a lane is full, housekeeping finds the item in the database later."""

log = structlog.stdlib.get_logger(__name__)


class Lane(Generic[K]):
    """Works on items in the order in which they came, but skips those of an owner that has `share` items under way.

    Args:
        name: For threads, logs and metrics.
        threads: How many.
        share: The most items of one owner that are worked on at a time.
        work: Works on an item; returns True if the item is to be put at the end of the lane again.
    """

    def __init__(self, name: str, threads: int, share: int, work: Callable[[K], bool]) -> None:
        self._name, self._share, self._work = name, share, work
        self._waiting: OrderedDict[K, int] = OrderedDict()
        self._working: set[K] = set()
        self._busy: Counter[int] = Counter()
        self._changed = Condition()
        self._stopping = False
        for number in range(threads):
            Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def put(self, owner: int, item: K) -> bool:
        """Add an item; False if too many wait. An item that waits or is worked on already is not added again."""
        with self._changed:
            if item in self._working:
                return True
            waiting = sum(other == owner for other in self._waiting.values())
            if waiting >= _PILE and item not in self._waiting:
                return False
            self._waiting.setdefault(item, owner)
            self._changed.notify()
            return True

    def stop(self) -> None:
        """Begin no further item. Items that are under way continue as long as the process lives."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            item, owner = taken
            again = False
            with surviving(self._name, "work is tried again later", item=str(item)):
                again = self._work(item)
            with self._changed:
                self._working.discard(item)
                self._busy[owner] -= 1
                if again:
                    self._waiting.setdefault(item, owner)
                self._changed.notify_all()

    def _take(self) -> tuple[K, int] | None:
        with self._changed:
            while not self._stopping:
                for item, owner in self._waiting.items():
                    if self._busy[owner] < self._share:
                        del self._waiting[item]
                        self._working.add(item)
                        self._busy[owner] += 1
                        return item, owner
                self._changed.wait()
            return None
