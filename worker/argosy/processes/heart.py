"""A process's own sign of life, and what keeps it from its work.

It lives while its loop turns: a task on that loop notes the time each second, and nothing else does, so that a loop that hangs is seen
(F23). It is ready while all that it needs has answered within nine seconds. It asks every three seconds, each need in a thread of its own
and the database on a connection of its own, so that neither a hanging answer nor a pool in use delays the news, and one lost answer changes
nothing. Asking the database means renewing the process's row, by which the installation knows who is alive (`store/processes.py`).
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from uuid import uuid4

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from argosy.loops import surviving
from argosy.processes import log, pool
from argosy.settings import Settings
from argosy.store import database, processes
from argosy.store.schema import NEWEST

logger = structlog.stdlib.get_logger(__name__)

_TICK = 1.0
"""Seconds between two notes of the loop."""

_EVERY = 3.0
"""Seconds between two questions."""

_PATIENCE = 9.0
"""Seconds without an answer after which the process is not ready: three answers were lost."""

_NOTHING: Mapping[str, Callable[[], object]] = MappingProxyType({})


class Heart:
    """The heart of one process.

    Args:
        settings: Where the database is.
        kind: Of the process; one of those in `store.processes`.
        parts: Says which parts of the process do not work, in words.
        needs: What the process needs besides the database: a function that asks, by the name of what is asked.
        directory: Where it leaves its state for the process that answers probes; not needed if that is this one.
    """

    def __init__(
        self,
        settings: Settings,
        kind: str,
        parts: Callable[[], Sequence[str]] = list,
        needs: Mapping[str, Callable[[], object]] = _NOTHING,
        directory: Path | None = None,
    ) -> None:
        self._engine = database.engine(settings, pool_size=1)
        self._kind, self._parts = kind, parts
        self._others = tuple(needs)
        self._needs = {"the database": self._renew, **needs}
        self._file = None if directory is None else directory / pool.FILE.format(os.getpid())
        self._id = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._began = self._ticked = time.monotonic()
        self._answered: dict[str, float] = {}
        self._stopping = Event()
        self._threads = [
            Thread(target=self._ask, args=item, name=f"heart, {item[0]}", daemon=True) for item in self._needs.items()
        ]

    def dead(self) -> list[str]:
        """What shows no sign of life; the process lives if there is nothing."""
        silent = time.monotonic() - self._ticked
        return [f"the loop of this {self._kind} has not turned for {silent:.0f} s"] if silent > pool.SILENT else []

    def unready(self) -> list[str]:
        """Why the process cannot do its work; it is ready if there is nothing."""
        return self.dead() + self._silent(self._needs) + list(self._parts())

    def start(self) -> None:
        """Begin to ask. The loop's part is `beat`."""
        self.tick()
        for thread in self._threads:
            thread.start()

    async def beat(self) -> None:
        """Note that the loop turns, until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(_TICK)

    def stop(self) -> None:
        """Stop asking, and say that the process ends. Waits for an answer that is due no longer than a moment."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_TICK)
        with suppress(SQLAlchemyError):  # then it is silent, which says the same a little later
            with self._engine.begin() as connection:
                processes.end(connection, self._id)
        self._engine.dispose()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beats on the running loop until the end of the block."""
        self.start()
        task = asyncio.create_task(self.beat(), name="heart")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(self.stop)

    def tick(self) -> None:
        """Note that the loop turns, now."""
        self._ticked = time.monotonic()
        if self._file is not None:
            try:
                new = self._file.with_suffix(".new")
                new.write_bytes(orjson.dumps({"ticked": self._ticked, "unready": self.unready()}))
                new.replace(self._file)
            except OSError as error:  # the loop turns; the next note may find room
                logger.warning("sign of life not written", file=str(self._file), reason=error.strerror)

    def _ask(self, what: str, question: Callable[[], object]) -> None:
        while not self._stopping.is_set():
            with surviving("heart", "not ready", asked=what):
                question()
                self._answered[what] = time.monotonic()
            self._stopping.wait(_EVERY)

    def _silent(self, needs: Iterable[str]) -> list[str]:
        """Of these needs, those without an answer for too long, in words."""
        now, found = time.monotonic(), []
        for what in needs:
            at = self._answered.get(what)
            if at is None:
                found.append(f"{what} has not answered yet")
            elif now - at > _PATIENCE:
                found.append(f"{what} has not answered for {now - at:.0f} s")
        return found

    def _renew(self) -> None:
        if self.dead():
            return  # nobody is to take a process whose loop hangs for alive
        error, at = log.latest()
        with self._engine.begin() as connection:
            processes.renew(
                connection,
                id=self._id,
                kind=self._kind,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=log.VERSION,
                revision=NEWEST,
                trouble="; ".join([*self._silent(self._others), *self._parts()]),
                error=error,
                error_age=None if at is None else time.monotonic() - at,
            )
