"""Workflows that were ended but whose pods still run: their jobs end when no pod of them runs any more (P5, F73).

Argo calls a workflow ended as soon as it has told its containers to end. The job stays `Cancelling`, or `Running`, until its pods have
ended. The patch that terminates the workflow also makes the pods end (kube/workflows.py).
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
"""Seconds between two lists of the pods."""

_LOOK = 30.0
"""Seconds that a list may take: a hostile server could answer with one more page for ever."""

_SHARE = 5.0
"""After a list, wait this many times as long as it took: listing many pods is work for the apiserver."""

log = structlog.stdlib.get_logger(__name__)


class Ending:
    """The workflows of one cluster that wait for the end of their pods.

    Args:
        at: The cluster.
        pods: Its pods.
        told: Called with a workflow as it was last seen, and whether its pods have ended: once after each sighting, and once when its pods
            have ended.
    """

    def __init__(self, at: Standing, pods: Pods, told: Callable[[Sighting, bool], None]) -> None:
        self._at, self._pods, self._told = at, pods, told
        self._waiting: dict[str, Sighting] = {}
        self._news = asyncio.Event()
        self._blind = False

    def wait(self, seen: Sighting) -> None:
        """Check a workflow's pods until they have ended."""
        self._waiting[seen.k8s_uid] = seen
        self._news.set()

    def forget(self, k8s_uid: str) -> None:
        """Stop checking a workflow's pods: its job has ended, or somebody deletes it."""
        self._waiting.pop(k8s_uid, None)

    async def run(self) -> None:
        """Check until cancelled. The cluster is not asked while no workflow waits."""
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
                    "no permission to list pods: workflows count as ended when Argo says so, although containers may still run",
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
