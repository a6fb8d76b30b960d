"""Workflows that were ended and whose pods have not ended yet: their jobs end when nothing of them runs (P5, F73).

Argo calls a workflow ended as soon as it has told its containers to end. The job stays `Cancelling`, or `Running`, until its pods have
ended; what ends them is in the terminating patch (kube/workflows.py).
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from argosy.kube import answers
from argosy.kube.pods import Pods
from argosy.kube.status import Sighting
from argosy.track.standing import Standing

_ROUND = 1.0
"""Seconds between two looks at the pods."""

_LOOK = 30.0
"""Seconds that a look may take: a hostile server could answer with one more page for ever."""

_SHARE = 5.0
"""A look is followed by a pause this many times as long as it took: a list of many pods is the apiserver's work."""

log = structlog.stdlib.get_logger(__name__)


class Ending:
    """The workflows of one cluster that wait for the end of their pods.

    Args:
        at: The cluster.
        pods: Its pods.
        told: Called with a workflow, as it was last seen, and whether its pods have ended: once for each time that it was seen, and when
            they have.
    """

    def __init__(self, at: Standing, pods: Pods, told: Callable[[Sighting, bool], None]) -> None:
        self._at, self._pods, self._told = at, pods, told
        self._waiting: dict[str, Sighting] = {}
        self._news = asyncio.Event()
        self._blind = False

    def wait(self, seen: Sighting) -> None:
        """Have a workflow's pods watched until they have ended."""
        self._waiting[seen.k8s_uid] = seen
        self._news.set()

    def forget(self, k8s_uid: str) -> None:
        """Its job has ended, or somebody deletes it."""
        self._waiting.pop(k8s_uid, None)

    async def run(self) -> None:
        """Look until cancelled. Nothing is asked while nothing waits."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                began = time.monotonic()
                if self._at.up:
                    await self._look()
                await asyncio.sleep(max(_ROUND, _SHARE * (time.monotonic() - began)))

    async def _look(self) -> None:
        waiting = dict(self._waiting)
        try:
            async with asyncio.timeout(_LOOK):
                unfinished = await self._pods.unfinished({seen.name for seen in waiting.values()})
            self._blind = False
        except (answers.KubeError, TimeoutError) as error:
            if not (isinstance(error, answers.ClusterDown) and error.health is answers.Health.FORBIDDEN):
                log.info("pods not listed yet", cluster=self._at.name, reason=str(error))
                return
            if not self._blind:
                log.warning(
                    "pods may not be listed: what Argo calls ended is taken for ended, although its containers may run on",
                    cluster=self._at.name,
                    reason=str(error),
                )
            self._blind, unfinished = True, set()
        for k8s_uid, seen in waiting.items():
            ended = seen.name not in unfinished
            if ended:
                self.forget(k8s_uid)
            if ended or seen.pods_ended is None:
                self._told(seen, ended)
