"""Jobs whose workflows are gone from a cluster, although nobody saw how they ended.

Where the cluster's Argo Server has an archive, it may know: then the job ends as its workflow ended, with its nodes. Only the archived
workflow with the recorded k8s uid and the job's own labels counts. Whatever else comes of asking (it does not know it, it cannot be
reached, its answer proves nothing), the job ends `lost`, as it does where there is no Argo Server. Until then its row is as it was: if the
tracker dies meanwhile, the next one finds the same workflows missing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence, Set

import structlog
from sqlalchemy.exc import OperationalError

from argosy.kube import answers, status
from argosy.kube.argo_server import ArgoServer
from argosy.kube.status import Sighting
from argosy.labels import workflow_name
from argosy.store import tracking
from argosy.store.tracking import Expected
from argosy.track.standing import Standing

SILENT = 15.0
"""Seconds without a clear answer of Argo Server after which it is not asked about those that wait."""

_TRIES = 3
"""Times that Argo Server is asked about one workflow."""

_AT_ONCE = 8
"""Workflows that it is asked about at the same time."""

_ROUND = 500
"""Workflows in one round: after it those are written that nobody knows."""

_PAUSE = 1.0
"""Seconds between two rounds."""

log = structlog.stdlib.get_logger(__name__)


class Absences:
    """The workflows of one cluster that are gone.

    Args:
        at: The cluster.
        server: Its Argo Server; None if it names none.
        seen: Called with the last state of a workflow that the archive has.
        lost: Called with the cancelled ones among those that nobody knows: they end when their pods have ended.
        on_slots: Called with the cluster's id after jobs there have ended.
    """

    def __init__(
        self,
        at: Standing,
        server: ArgoServer | None,
        seen: Callable[[Sighting], None],
        lost: Callable[[Sequence[Expected]], None],
        on_slots: Callable[[int], None],
    ) -> None:
        self._at, self._server, self._seen, self._lost, self._on_slots = at, server, seen, lost, on_slots
        self._waiting: dict[str, Expected] = {}
        self._tries: dict[str, int] = {}
        self._news = asyncio.Event()
        self._clear = 0.0

    async def settle(self, gone: Sequence[Expected]) -> None:
        """Have jobs end whose workflows are gone."""
        if self._server is None:
            await self._lose(gone)
        elif gone:
            if not self._waiting:
                self._clear = time.monotonic()
            self._waiting |= {each.k8s_uid: each for each in gone}
            self._news.set()

    def forget(self, seen: Set[str]) -> None:
        """Forget those that a complete list of the cluster has again."""
        self._waiting = {k8s_uid: each for k8s_uid, each in self._waiting.items() if k8s_uid not in seen}

    async def run(self) -> None:
        """Ask until cancelled. Nobody is asked while no workflow is gone."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                try:
                    await self._look()
                except OperationalError as error:
                    log.warning("database away", cluster=self._at.name, reason=str(error.orig))
                if self._waiting:
                    await asyncio.sleep(_PAUSE)
            self._tries.clear()

    async def _look(self) -> None:
        """Ask once about some that wait; those that have no more tries are lost."""
        waiting = iter(list(self._waiting.values())[:_ROUND])
        unknown: list[Expected] = []

        async def asker() -> None:
            for each in waiting:
                unknown.extend([each] if self._silent() or await self._surely_unknown(each) else ())

        await asyncio.gather(*(asker() for _ in range(_AT_ONCE)))
        await self._lose([each for each in unknown if each.k8s_uid in self._waiting])
        for each in unknown:
            self._waiting.pop(each.k8s_uid, None)

    def _silent(self) -> bool:
        return time.monotonic() - self._clear > SILENT

    async def _surely_unknown(self, gone: Expected) -> bool:
        """Whether nothing more is to be found out about a workflow. One that the archive has is written."""
        assert self._server is not None  # noqa: S101 -- nothing waits without one
        try:
            found = await asyncio.to_thread(status.read, await self._server.archived(gone.k8s_uid), True)
            self._clear = time.monotonic()
        except (answers.Missing, status.Unreadable):
            self._clear = time.monotonic()
            return True
        except answers.KubeError as error:
            self._tries[gone.k8s_uid] = tries = self._tries.get(gone.k8s_uid, 0) + 1
            log.info(
                "archive not asked yet",
                cluster=self._at.name,
                workflow=workflow_name(gone.uid, gone.number),
                gid=gone.gid,
                reason=str(error),
            )
            return tries >= _TRIES
        if not _is(found, gone):
            return True
        self._waiting.pop(gone.k8s_uid, None)
        self._seen(found)
        return False

    async def _lose(self, gone: Sequence[Expected]) -> None:
        if not gone or self._at.held:
            return
        self._lost(await self._at.write(tracking.absent, gone))
        log.warning("workflows are gone from the cluster", cluster=self._at.name, count=len(gone))
        self._on_slots(self._at.cluster_id)


def _is(found: Sighting, gone: Expected) -> bool:
    """Whether an archived workflow is the one that is gone, and has ended."""
    return (
        found.finished
        and (found.k8s_uid, found.uid, found.attempt) == (gone.k8s_uid, gone.uid, gone.number)
        and found.name == workflow_name(gone.uid, gone.number)
    )
