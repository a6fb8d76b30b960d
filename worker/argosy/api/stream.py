"""Tells whoever looks that something has changed, as a stream of events (SSE).

An event holds ids only; what has changed is asked for as always, with all checks. A process has one connection to the database that listens
for all its streams. Of a stream's changes that were not sent yet each is kept once, a hundred at most, and then one that means everything:
so a slow reader costs no memory. A reader that takes nothing for half a minute is dropped. Each stream ends after ten minutes, so that who
may read no longer is not told for ever; browsers open it again by themselves.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import orjson
import psycopg
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from argosy.api.routing import Busy, TooFast
from argosy.loops import surviving
from argosy.settings import Settings
from argosy.store import database, notices

BEAT = 15.0
"""Seconds between two signs of life."""

_LONGEST = 600.0
"""Seconds of a stream."""

_PATIENCE = 30.0
"""Seconds in which a reader must take what is sent."""

_MOST = 1000
"""Streams of a process."""

_EACH = 50
"""Of them of one user, so that nobody's tabs or programs keep others out."""

_PENDING = 100
"""Changes that are kept for a stream."""

_AGAIN = 1.0
"""Seconds until the database is tried again."""

_ALL: dict[str, str] = {}
"""Data of an event that says that anything may have changed."""


@dataclass(frozen=True)
class Watched:
    """What a user's stream is about: a launch, a job's steps, or all launches of these projects; None for every project. Changes of
    clusters and projects are told to all, without saying which."""

    user: int
    projects: frozenset[int] | None
    gid: UUID | None = None
    uid: UUID | None = None

    def told(self, notice: str) -> str | None:
        """The data of the event for a notice, as JSON; None if the stream is not about it."""
        kind, _, rest = notice.partition(" ")
        if kind == "launch":
            gid, _, project = rest.partition(" ")
            if not project.isdigit() or (self.projects is not None and int(project) not in self.projects):
                return None
            return _json({"gid": gid}) if self.gid is None or gid == str(self.gid) else None
        if kind == "job":
            return _json({"uid": rest}) if self.uid is not None and rest == str(self.uid) else None
        return _json(_ALL)


def _json(data: dict[str, str]) -> str:
    return orjson.dumps(data).decode()


@dataclass(eq=False)
class _Reader:
    watched: Watched
    pending: dict[str, None] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False

    def note(self, data: str) -> None:
        if len(self.pending) >= _PENDING:
            self.pending = {_json(_ALL): None}
        else:
            self.pending[data] = None
        self.woken.set()

    def lose(self) -> None:
        self.lost = True
        self.woken.set()

    def taken(self) -> list[str]:
        self.woken.clear()
        found, self.pending = [*self.pending], {}
        return found


class Hub:
    """The streams of one process.

    Args:
        settings: Where the database is.

    `listening` is set while the database tells of changes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers: set[_Reader] = set()
        self.listening = asyncio.Event()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def readers(self) -> int:
        """How many streams there are."""
        return len(self._readers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens on the running loop until the end of the block."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._listen(), name="stream")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def stop(self) -> None:
        """End all streams, because the process is told to. Any thread and any signal handler may call it."""
        self._stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._lose)

    @contextmanager
    def reading(self, watched: Watched) -> Iterator[_Reader]:
        """A reader of the changes of what is watched, until the end of the block.

        Raises:
            Busy: The process has too many, stops, or does not hear of changes.
            TooFast: The user has too many.
        """
        if self._stopped or not self.listening.is_set():
            raise Busy("nobody tells of changes at present; ask again")
        if len(self._readers) >= _MOST:
            raise Busy(f"there are {_MOST} streams already; ask again")
        if sum(each.watched.user == watched.user for each in self._readers) >= _EACH:
            raise TooFast(f"user {watched.user} has {_EACH} streams already: close some tabs")
        reader = _Reader(watched)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def _listen(self) -> None:
        while True:
            with surviving("stream", "changes are not told"):
                async with await database.listener(self._settings) as connection:
                    await connection.execute(f"LISTEN {notices.CHANGES}")
                    self.listening.set()
                    async for notice in connection.notifies():
                        self._hand_on(notice)
            self.listening.clear()
            self._lose()
            await asyncio.sleep(_AGAIN)

    def _lose(self) -> None:
        for reader in self._readers:
            reader.lose()

    def _hand_on(self, notice: psycopg.Notify) -> None:
        for reader in self._readers:
            if (data := reader.watched.told(notice.payload)) is not None:
                reader.note(data)


class Stream(Response):
    """The answer that tells of changes until its reader leaves.

    Args:
        hub: Where changes come from.
        watched: Which of them.
    """

    def __init__(self, hub: Hub, watched: Watched) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._hub, self._watched = hub, watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises as `Hub.reading`, before anything is sent."""
        with self._hub.reading(self._watched) as reader:
            telling = asyncio.ensure_future(self._tell(reader, send))
            leaving = asyncio.ensure_future(_gone(receive))
            try:
                await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                telling.cancel()
                leaving.cancel()
                ended = await asyncio.gather(telling, leaving, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception) and not isinstance(each, TimeoutError | OSError):
                raise each

    async def _tell(self, reader: _Reader, send: Send) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + _LONGEST
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send(send, _event("beat", _json(_ALL)))
        while loop.time() < ends and not reader.lost:
            try:
                async with asyncio.timeout(BEAT):
                    await reader.woken.wait()
            except TimeoutError:
                await _send(send, _event("beat", _json(_ALL)))
                continue
            if changes := reader.taken():
                await _send(send, "".join(_event("change", data) for data in changes))
        last = _event("lost", _json(_ALL)) if reader.lost else ""
        await _send(send, last, more=False)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, text: str, more: bool = True) -> None:
    async with asyncio.timeout(_PATIENCE):
        await send({"type": "http.response.body", "body": text.encode(), "more_body": more})


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
