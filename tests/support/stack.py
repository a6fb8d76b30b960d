"""The product in one event loop: the real stages and tracker on real servers, wake-ups handed on directly instead of through Redis."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast
from uuid import UUID

from argosy.access import Clusters
from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.processes.tracker import Tracker
from argosy.processes.wakeups import WakeUps
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from argosy.store import database
from argosy.store.installation import identity
from argosy.submit.run import Submitter
from tests.support.queues import manned

T = TypeVar("T")

FINAL = {"Succeeded", "Failed", "Error", "Cancelled", "Rejected", "Deleted", "Lost"}


class Direct(WakeUps):
    """Runs what a worker would run, on this event loop."""

    def __init__(self, settings: Settings) -> None:
        self.engine = database.engine(settings, pool_size=8)
        self.loop = asyncio.get_running_loop()
        self.launching = Launching(self.engine, settings, RestMediaSource(settings))
        self.clusters = Clusters(self.engine, settings)
        self.submitter = Submitter(self.engine, settings, self.clusters, identity(self.engine), "test")

    def expand(self, gid: UUID) -> None:
        for cluster_id in expand(self.launching, gid):
            self.submit(cluster_id)

    def submit(self, cluster_id: int) -> None:
        asyncio.run_coroutine_threadsafe(self.submitter.run(cluster_id), self.loop)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Direct]:
    """Worker and tracker, until the end of the block."""
    wakeups = Direct(settings)
    await asyncio.to_thread(manned, wakeups.engine)
    tracker = asyncio.create_task(Tracker(wakeups.engine, settings, wakeups).run())
    try:
        yield wakeups
    finally:
        tracker.cancel()
        await asyncio.gather(tracker, return_exceptions=True)
        await wakeups.clusters.close()
        wakeups.engine.dispose()


async def until(
    ask: Callable[[], T] | Callable[[], Awaitable[T]], holds: Callable[[T], object], seconds: float = 30
) -> T:
    """Ask (in a thread, unless it is a coroutine function) until it holds, the less often the longer that takes.

    Raises:
        AssertionError: It did not in time; the last answer is in the message.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    while True:
        answer = (
            await ask() if inspect.iscoroutinefunction(ask) else await asyncio.to_thread(cast(Callable[[], T], ask))
        )
        if holds(answer):
            return cast(T, answer)
        waited = clock() - begun
        assert waited < seconds, f"not within {seconds} s: {answer!r}"
        await asyncio.sleep(min(0.05 + waited / 20, 0.3))


async def finished(client: Client, gid: UUID, seconds: float = 30) -> list[JobShape]:
    """The jobs of a launch when all have ended."""
    return await until(
        lambda: client.list(gid=gid, limit=1000),
        lambda jobs: bool(jobs) and all(job.status in FINAL for job in jobs),
        seconds,
    )
