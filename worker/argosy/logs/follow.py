"""Follows what the containers of running jobs write, line by line, until the jobs end.

Each container has a stream of its own. One that breaks, or that is silent for a minute, is opened again from the last line that was read,
as long as its pod is there; which pods there are is looked up every two seconds, because a workflow makes new ones. The streams run on an
event loop of their own thread, and the caller takes the lines from a short queue: whoever reads slowly makes the cluster wait, and fills
no memory.
"""

import asyncio
import queue
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Engine

from argosy.access import connect
from argosy.errors import NotFound
from argosy.inputs import log_text
from argosy.kube import answers
from argosy.kube.logs import Container, Line, Logs, Pod
from argosy.logs import read
from argosy.logs.wanted import Chooser, Wanted, chooser
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from argosy.states import FINAL

_LOOK = 2.0
"""Seconds between two looks at the job and its pods."""

_FAULTS = 5
"""Looks in a row that may fail until a job is followed no more, and streams of a container that has ended."""

_STREAMS = 50
"""Containers of one job that are followed at the same time."""

_LONGEST = 64 << 10
"""The most bytes of one line that are shown."""

_FULL = 0.05
"""Seconds between two tries to hand on lines while the reader is slow."""

_BEFORE = {"Queued", "Submitting"}
"""Statuses of a job that may get a workflow."""


class Said(NamedTuple):
    """A line that a container of a job wrote. Without a `task` it is argosy's own word about the job."""

    uid: UUID
    task: str
    container: str
    text: str


_Lines = queue.Queue[list[Said] | Exception | None]


@dataclass
class _Stream:
    """How far a container was read. `done`: to its end, or given up."""

    stamp: str = ""
    done: bool = False
    faults: int = 0
    task: "asyncio.Task[None] | None" = None

    @property
    def open(self) -> bool:
        return self.task is not None and not self.task.done()


def follow(engine: Engine, settings: Settings, jobs: Sequence[JobShape], wanted: Wanted) -> Generator[Said, None, None]:
    """What the containers of jobs write, until the jobs have ended.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        jobs: Which.
        wanted: Which containers, and how many of the lines that are there already.
    """
    lines: _Lines = queue.Queue(16)
    loop = asyncio.new_event_loop()
    task = loop.create_task(_follow_all([_Follower(engine, settings, job, wanted, lines) for job in jobs], lines))
    thread = Thread(target=_run, args=(loop, task), name="logs", daemon=True)
    thread.start()
    try:
        while (some := lines.get()) is not None:
            if isinstance(some, Exception):
                raise some
            yield from some
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())


async def _follow_all(followers: Sequence["_Follower"], lines: _Lines) -> None:
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    try:
        await asyncio.gather(*tasks)
        await _put(lines, None)
    except Exception as error:  # noqa: BLE001 -- it is raised where the lines are read
        await _put(lines, error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _put(lines: _Lines, some: list[Said] | Exception | None) -> None:
    while True:
        try:
            lines.put_nowait(some)
            return
        except queue.Full:
            await asyncio.sleep(_FULL)


class _Follower:
    """Follows one attempt of a job."""

    def __init__(self, engine: Engine, settings: Settings, job: JobShape, wanted: Wanted, lines: _Lines) -> None:
        self._engine, self._settings, self._job, self._wanted, self._lines = engine, settings, job, wanted, lines
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._tasks: dict[str, str] = {}
        self._told: set[str] = set()

    async def run(self) -> None:
        """Until the job has ended and all is read."""
        while True:
            try:
                at = await asyncio.to_thread(read.source, self._engine, self._job)
                break
            except read.NotAsked as error:
                if self._job.status not in _BEFORE:
                    await self._tell(str(error))
                    return
            await asyncio.sleep(_LOOK)
            await self._look()
        async with connect(at.cluster, self._settings, limit=_STREAMS + 1) as connection:  # and one for the pods
            try:
                await self._follow(Logs(connection), at.workflow, connection.secrets)
            finally:
                tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, logs: Logs, workflow: str, secrets: Sequence[str]) -> None:
        faults = 0
        while True:
            chosen = await self._look()
            ended = self._job.status.lower() in FINAL
            try:
                pods = await logs.pods(workflow)
                faults = 0
                await self._open(logs, pods, chosen, secrets)
                if ended and not any(stream.open for stream in self._streams.values()):
                    return
            except answers.KubeError as error:
                faults += 1
                if faults == _FAULTS:
                    await self._tell(f"not followed any more: {error}")
                    return
            await asyncio.sleep(_LOOK)

    async def _look(self) -> Chooser:
        """Read the job's row again; which of its containers are wanted."""
        self._job = await asyncio.to_thread(read.job, self._engine, self._job.uid, self._job.attempt or None)
        self._tasks = {node.id: node.task for node in self._job.nodes}
        try:
            return chooser(self._wanted, self._job.nodes)
        except NotFound as error:
            await self._tell(f"{error}; waiting for it")
            return lambda node_id, container, exit_code: False

    async def _open(self, logs: Logs, pods: Sequence[Pod], chosen: Chooser, secrets: Sequence[str]) -> None:
        """Open streams of containers that have none and were not read to their end."""
        for pod in pods:
            for container in pod.containers:
                stream = self._streams.setdefault((pod.name, container.name), _Stream())
                if stream.task is not None and not stream.open:
                    stream.task.result()  # raises a defect
                if stream.done or stream.open or not chosen(pod.node_id, container.name, container.exit_code):
                    continue
                if sum(each.open for each in self._streams.values()) >= _STREAMS:
                    await self._tell(f"{_STREAMS} containers are followed; the others come when these have ended")
                    return
                stream.task = asyncio.create_task(self._read(logs, pod, container, stream, secrets))

    async def _read(self, logs: Logs, pod: Pod, container: Container, stream: _Stream, secrets: Sequence[str]) -> None:
        try:
            lines = None if stream.stamp else self._wanted.tail
            async with logs.follow(pod.name, container.name, stream.stamp, lines) as some:
                async for batch in some:
                    stream.faults = 0
                    stream.stamp = next((line.stamp for line in reversed(batch) if line.stamp), stream.stamp)
                    await _put(self._lines, self._said(pod, container, batch, secrets))
            # If it ran when the pods were listed, the next list says whether it ended or the stream broke.
            stream.done = not container.running
        except answers.KubeError as error:
            stream.faults += 1
            broke = isinstance(error, answers.Unclear | answers.Wait)
            if not broke or (stream.faults >= _FAULTS and not container.running):
                stream.done = True
                await self._tell(f"{self._tasks.get(pod.node_id, pod.name)}: {error}")

    def _said(self, pod: Pod, container: Container, batch: Sequence[Line], secrets: Sequence[str]) -> list[Said]:
        task = self._tasks.get(pod.node_id, pod.name)
        return [Said(self._job.uid, task, container.name, log_text(line.data, _LONGEST, secrets)) for line in batch]

    async def _tell(self, words: str) -> None:
        """Say something about the job, once."""
        if words not in self._told:
            self._told.add(words)
            await _put(self._lines, [Said(self._job.uid, "", "", words)])
