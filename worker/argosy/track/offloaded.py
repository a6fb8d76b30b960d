"""Nodes that Argo keeps in its own database, because they are too large for the workflow's object: read through Argo Server.

The object only says which version of its nodes is there (`offloadNodeStatusVersion`). Reading them takes a request for each change, to a
server that may be slow or away, and no other workflow waits for it. A workflow that runs is written at once, and again with its nodes when
they are read. One that has ended is written when its nodes are read: after its end is recorded nothing is added to it any more, and it may
go. But after a few seconds it is written without them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, replace

import structlog
from sqlalchemy.exc import OperationalError

from argosy.kube import answers, status
from argosy.kube.argo_server import ArgoServer
from argosy.kube.nodes import NodeStatus
from argosy.kube.status import Sighting

LONGEST = 10.0
"""Seconds after a change by which its nodes must be read."""

_AT_ONCE = 4
"""Workflows read at the same time: each may have many megabytes of nodes."""

_PAUSE = 0.5
"""Seconds between two tries of one workflow at first; then twice as long each time."""

log = structlog.stdlib.get_logger(__name__)


@dataclass
class _Waiting:
    """A workflow as it was last seen, the time of its oldest change whose nodes are not read, and by when they must be (monotonic)."""

    seen: Sighting
    at: float
    until: float


class Offloaded:
    """The workflows of one cluster whose nodes are to be read.

    Args:
        server: The cluster's Argo Server; None if it names none, and then nothing is read.
        cluster: The cluster's name.
        put: Called with a workflow that is to be written, and since when it is so.
        recorded: Says whether the end of a workflow is recorded already.
    """

    def __init__(
        self,
        server: ArgoServer | None,
        cluster: str,
        put: Callable[[Sighting, float], None],
        recorded: Callable[[Sighting], Awaitable[bool]],
    ) -> None:
        self._server, self._cluster, self._put, self._recorded = server, cluster, put, recorded
        self._waiting: dict[str, _Waiting] = {}
        self._read: dict[str, str] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._reading = asyncio.Semaphore(_AT_ONCE)
        self._blind = False

    def take(self, seen: Sighting, at: float) -> None:
        """Have a workflow written, with its nodes if they can be read."""
        k8s_uid, version = seen.k8s_uid, seen.offloaded
        if not version or self._server is None or (seen.gone and not seen.finished):
            self._waiting.pop(k8s_uid, None)
            self._put(seen, at)
            return
        known = self._waiting.get(k8s_uid)
        if known is None and self._read.get(k8s_uid) == version:
            self._put(replace(seen, note=""), at)
            return
        if known is None or (seen.finished and not known.seen.finished):
            self._waiting[k8s_uid] = _Waiting(seen, at, at + LONGEST)
        else:
            known.seen = seen
        if known is None:
            self._queue.put_nowait(k8s_uid)
        if not seen.finished:
            self._put(replace(seen, note=""), at)

    def pending(self, k8s_uid: str | None) -> bool:
        """Whether the end of a workflow is not written yet."""
        return k8s_uid in self._waiting and self._waiting[k8s_uid].seen.finished

    def since(self) -> list[float]:
        """The times of the ends that are not written yet."""
        return [each.at for each in self._waiting.values() if each.seen.finished]

    def keep(self, seen: Set[str]) -> None:
        """Forget what is not in a complete list of the cluster."""
        self._read = {k8s_uid: version for k8s_uid, version in self._read.items() if k8s_uid in seen}

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._fill(await self._queue.get()))

    async def _fill(self, k8s_uid: str) -> None:
        """Read one workflow until the nodes of its newest version are there, or its time is over."""
        pause, why = _PAUSE, "not in time"
        while (waiting := self._waiting.get(k8s_uid)) is not None:
            seen = waiting.seen
            try:
                async with asyncio.timeout(waiting.until - time.monotonic()):
                    if seen.finished and await self._recorded(seen):
                        self._end(waiting, waiting.seen)
                        return
                    async with self._reading:
                        nodes = await self._nodes(seen)
                    if nodes is not None:
                        self._told(waiting, seen, nodes)
                        continue
                    why = "it does not know the end yet"
                    await asyncio.sleep(pause)
            except TimeoutError:
                self._give_up(waiting, why)
            except (answers.KubeError, OperationalError) as error:
                why = str(error)
                await asyncio.sleep(max(min(pause, waiting.until - time.monotonic()), 0))
            pause *= 2

    async def _nodes(self, seen: Sighting) -> tuple[NodeStatus, ...] | None:
        """The nodes of a workflow; None if Argo Server does not know yet that it has ended.

        Raises:
            KubeError: They cannot be read.
        """
        assert self._server is not None  # noqa: S101 -- `take` lets nothing wait without one
        try:
            found = await asyncio.to_thread(status.read, await self._server.workflow(seen.name))
        except status.Unreadable as error:
            raise answers.Unclear(str(error)) from error
        if found.k8s_uid != seen.k8s_uid:
            raise answers.Unclear("Argo Server has another workflow of this name")
        if found.nodes is None:
            raise answers.Unclear(found.note)
        return found.nodes if found.phase == seen.phase or not seen.finished else None

    def _told(self, waiting: _Waiting, asked: Sighting, nodes: tuple[NodeStatus, ...]) -> None:
        """Have a workflow written with its nodes. If it has changed since they were asked for, they are read once more."""
        newest = waiting.seen
        if self._waiting.get(newest.k8s_uid) is not waiting:
            return
        if (newest.offloaded, newest.finished) == (asked.offloaded, asked.finished):
            self._read[newest.k8s_uid] = newest.offloaded
            self._blind = False
            self._end(waiting, replace(newest, nodes=nodes, note=""))
        elif not newest.finished:
            waiting.at = time.monotonic()
            waiting.until = waiting.at + LONGEST
            self._put(replace(newest, nodes=nodes, note=""), waiting.at)

    def _give_up(self, waiting: _Waiting, why: str) -> None:
        seen = waiting.seen
        if self._waiting.get(seen.k8s_uid) is not waiting:
            return
        tell = log.info if self._blind else log.warning
        tell("nodes not read", cluster=self._cluster, workflow=seen.name, gid=seen.gid, reason=why)
        self._blind = True
        self._end(waiting, replace(seen, note=f"nodes: not readable (Argo Server: {why})"))

    def _end(self, waiting: _Waiting, seen: Sighting) -> None:
        self._waiting.pop(seen.k8s_uid, None)
        # The state of one that runs is written already.
        self._put(seen, waiting.at if seen.finished else time.monotonic())
