"""A watch: the history from a revision on, as one line for each change that the selector shows.

Every watch reads the one shared history at its own speed, so a slow reader costs nothing. A watch that is so late that its revision is no
longer remembered gets an ERROR event with code 410, as from a real API server, where the HTTP code 200 was sent long before.
"""

import asyncio
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from argosy.demo.simulator.selectors import Selector
from argosy.demo.simulator.statuses import Object, Resource, StatusError
from argosy.demo.simulator.store import Change, Store

BOOKMARK_SECONDS = 60.0
BOOKMARK_BEFORE_END = 2.0
LARGEST_CHUNK = 256


@dataclass
class Watch:
    """An ASGI response that streams until its time is over, the client disconnects or the simulator ends.

    Args:
        store: What is watched.
        resource: Which kind.
        selector: Which of them.
        revision: Send changes after this revision; None: first all present objects, then changes.
        seconds: How long.
        bookmarks: Whether the client wants them.
    """

    store: Store
    resource: Resource
    selector: Selector
    revision: int | None
    seconds: float
    bookmarks: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        wake = self.store.subscribe()
        leaving = asyncio.create_task(_disconnected(receive, wake))
        try:
            await self._stream(send, wake, leaving)
        finally:
            self.store.unsubscribe(wake)
            leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, send: Send, wake: asyncio.Event, leaving: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds
        bookmark_at = min(loop.time() + BOOKMARK_SECONDS, end - BOOKMARK_BEFORE_END)
        lines = [] if self.revision is not None else self._initial()
        revision = self.revision if self.revision is not None else self.store.revision
        while not (leaving.done() or self.store.closed or loop.time() >= end):
            wake.clear()
            try:
                changes = list(self.store.since(revision)) if revision < self.store.revision else []
            except StatusError as error:
                await _send(send, [*lines, _line("ERROR", error.body)])
                return
            for change in changes:
                revision = change.revision
                lines += self._visible(change)
                if len(lines) >= LARGEST_CHUNK:
                    break
            else:
                if self.bookmarks and loop.time() >= bookmark_at:
                    if revision <= self.store.revision:
                        lines.append(self._bookmark(revision))
                    bookmark_at = loop.time() + BOOKMARK_SECONDS
            await _send(send, lines)
            lines = []
            if revision >= self.store.revision:
                await _wait(wake, min(bookmark_at, end) - loop.time())

    def _initial(self) -> list[bytes]:
        present = [item for item in self.store.all(self.resource) if self._selected(item)]
        lines = [_line("ADDED", item) for item in present]
        if self.bookmarks:
            lines.append(self._bookmark(self.store.revision, {"annotations": {"k8s.io/initial-events-end": "true"}}))
        return lines

    def _visible(self, change: Change) -> list[bytes]:
        """The change as a client sees it that knows only the objects of the selector: an object can begin or cease to match."""
        if change.resource is not self.resource:
            return []
        before = change.previous is not None and self._selected(change.previous)
        after = change.type != "DELETED" and self._selected(change.object)
        if after:
            return [_line("MODIFIED" if before else "ADDED", change.object)]
        if not before or change.previous is None:
            return []
        version = {"resourceVersion": str(change.revision)}
        return [_line("DELETED", change.previous | {"metadata": change.previous["metadata"] | version})]

    def _selected(self, item: Object) -> bool:
        return self.selector(item["metadata"].get("labels", {}))

    def _bookmark(self, revision: int, metadata: Object | None = None) -> bytes:
        version = {"resourceVersion": str(revision)}
        kind = {"apiVersion": self.resource.api_version, "kind": self.resource.kind}
        return _line("BOOKMARK", kind | {"metadata": (metadata or {}) | version})


def _line(kind: str, item: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": item}, option=orjson.OPT_APPEND_NEWLINE)


async def _send(send: Send, lines: list[bytes]) -> None:
    if lines:
        await send({"type": "http.response.body", "body": b"".join(lines), "more_body": True})


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await wake.wait()
    except TimeoutError:
        return


async def _disconnected(receive: Receive, wake: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    wake.set()
