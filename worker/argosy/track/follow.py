"""Stage 3: follows the workflows on one cluster and writes what happens to them into rows.

LIST, then WATCH from the list's version. The watch is never trusted: after 70 s without a byte it counts as dead, a version that is too old
or in the future leads to a new list, and versions are never compared by size (F8, F9 and F10). A workflow counts as absent only after a
complete list, and only if it was recorded before the first page was requested. So a page that fails, or a create that is recorded during
the list, does not make a job lost (F12). Each transaction begins with the fence of the cluster's lease.

What a sighting means is decided in verdicts.py. What must then be done on the cluster (terminate, remove the finalizer) is a debt
(debts.py). A watch that broke is never continued from its old version: the apiserver may have come back with an older etcd, for which that
version is in the future, and then sends nothing until it is reached (F10). If one task ends, for whatever reason, the tracker of this
cluster ends, and readiness fails until it runs again (F23).
"""

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.argo_server import ArgoServer
from argosy.kube.connection import Connection
from argosy.kube.logs import Logs
from argosy.kube.pods import Pods
from argosy.kube.workflows import SILENCE, Workflows
from argosy.metrics import CLUSTER_UP
from argosy.recovery.custody import Custody
from argosy.store import strays, tracking
from argosy.track.absences import Absences
from argosy.track.debts import Debts
from argosy.track.logs import LogKeeper
from argosy.track.standing import Resumed, Standing, Tracked
from argosy.track.upkeep import Upkeep
from argosy.track.write import Writer

_LISTED = 10_000
"""During a list, sightings are flushed after this many unwritten nodes."""

_BACK_OFF = (1.0, 15.0)
"""Seconds between two tries to reach a cluster: first and longest."""

_LASTED = 5.0
"""Seconds. After a watch that was shorter than this, there is a pause before the next one."""

PULSE = SILENCE + 20.0
"""Seconds without a sign of life after which the following of a cluster counts as dead: the limit for a silent watch, plus more than a
request's time-out."""

log = structlog.stdlib.get_logger(__name__)


class ClusterTracker:
    """Tracks one cluster for as long as its lease is held.

    Args:
        engine: Where the rows are.
        connection: The cluster.
        tracked: Its identity and lease.
        selector: Label selector of this installation's workflows.
        custody: The cluster's mark.
        release_after: Seconds that an ended workflow stays there after its end was committed.
        log_tail: Bytes that are kept of the log of a container that failed.
        on_slots: Called with the cluster's id after jobs there have ended.
        server: Its Argo Server; None if it names none.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        tracked: Tracked,
        selector: str,
        custody: Custody,
        release_after: float,
        log_tail: int,
        on_slots: Callable[[int], None],
        server: ArgoServer | None = None,
    ) -> None:
        self._at, self._selector = Standing(engine, tracked), selector
        self._workflows = Workflows(connection)
        self._debts = Debts(self._workflows, tracked.name, lambda: self._at.up)
        self._logs = LogKeeper(self._at, Logs(connection), log_tail, connection.secrets)
        self._writer = Writer(self._at, self._debts, Pods(connection), self._logs, release_after, on_slots, server)
        self._absences = Absences(self._at, server, self._writer.put, self._writer.absent, on_slots)
        self._upkeep = Upkeep(
            self._at, self._workflows, custody, self._writer, self._debts, self._absences, release_after
        )
        self._version = ""

    async def run(self) -> None:
        """Follow the cluster until cancelled, or until everything must be listed again.

        Raises:
            Fenced: Another tracker has taken it over.
            RuntimeError: One of the tasks ended, although all run for ever.
        """
        parts = {
            "follow": self._follow(),
            "write": self._writer.run(),
            "keep": self._upkeep.keep(),
            "resolve": self._upkeep.resolve(),
            "debts": self._debts.run(),
            "ending": self._writer.ending.run(),
            "logs": self._logs.run(),
            "offloaded": self._writer.offloaded.run(),
            "absences": self._absences.run(),
        }
        tasks = [asyncio.create_task(part, name=f"{name}/{self._at.name}") for name, part in parts.items()]
        try:
            # Not a TaskGroup: it ignores a task that was cancelled, and then the cluster would seem to be followed although it is not.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            _raise(done.pop())
        except Resumed as error:
            log.info("following the cluster again", cluster=self._at.name, reason=str(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            CLUSTER_UP.labels(self._at.name).set(0)

    def silent_for(self) -> float:
        """Seconds since the last sign of life of the list or watch. More than `PULSE` means that it hangs, even if its task still runs."""
        return time.monotonic() - self._at.pulse

    async def _follow(self) -> None:
        """List and watch, again and again. After a watch that lasted, the next round begins at once. After a short one there is a pause: a
        cluster that refuses every watch as too old, or closes it at once, would otherwise be listed without a break."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            watching = self._at.pulse = time.monotonic()
            pause = min(max(pause * 2, _BACK_OFF[0]), _BACK_OFF[1])
            try:
                if not self._version:
                    await self._list()
                watching = time.monotonic()
                await self._watch()
            except (answers.Expired, answers.FutureVersion) as error:
                log.info("listing again", cluster=self._at.name, reason=str(error))
                self._version = ""
            except answers.Wait as error:
                log.info("the cluster asks to wait", cluster=self._at.name, reason=str(error))
                pause = error.retry_after or pause
                continue
            except answers.KubeError as error:
                self._version = ""
                await self._down(error)
            except OperationalError as error:
                log.warning("database away, listing again", cluster=self._at.name, reason=str(error.orig))
                self._version = ""
            if time.monotonic() - watching > _LASTED:
                pause = 0.0

    async def _list(self) -> None:
        await self._upkeep.beat()
        expected = await self._at.ask(tracking.expected, self._at.cluster_id)
        seen: set[str] = set()
        unwritten = 0
        page = await self._workflows.page(self._selector)
        version = page.resource_version
        while True:
            self._at.pulse = time.monotonic()
            for workflow in page.items:
                sighting = self._writer.notice(workflow, gone=False)
                if sighting is not None:
                    seen.add(sighting.k8s_uid)
                    unwritten += len(sighting.nodes or ())
                await asyncio.sleep(0)  # lets leases be renewed while a page of large workflows is read
                if unwritten > _LISTED:
                    await self._writer.flush()
                    unwritten = 0
            page.items.clear()
            if not page.continue_:
                break
            page = await self._workflows.page(self._selector, page.continue_)
        failpoint("track.listed")
        await self._writer.flush()
        await self._at.write(strays.keep, self._at.cluster_id, self._writer.keep(seen))
        missing = [row for row in expected if row.k8s_uid not in seen]
        self._at.missing, self._at.whole = len(missing), True
        self._absences.forget(seen)
        if missing and not self._at.held:
            await self._absences.settle(missing)
        self._version = version
        await self._heard()

    async def _watch(self) -> None:
        """Follow until the stream ends. A stream that ends without any event leaves no version, so the next round lists. Otherwise, after
        an etcd restore, the apiserver would accept the old version and send nothing until that version is reached again."""
        resumed, self._version = self._version, ""
        async with self._workflows.watch(self._selector, resumed) as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    self._writer.notice(event.object, gone=event.type == "DELETED")
                self._version = event.version
                self._at.contact = self._at.pulse = time.monotonic()

    async def _heard(self) -> None:
        self._at.contact = time.monotonic()
        if not self._at.up:
            self._at.up = True
            log.info("cluster is up", cluster=self._at.name)
            await self._upkeep.note_contact()

    async def _down(self, error: answers.KubeError) -> None:
        health = (
            error.health if isinstance(error, answers.ClusterDown | answers.Unclear) else answers.Health.UNREACHABLE
        )
        if self._at.up or not self._at.contact:
            log.warning("cluster is down", cluster=self._at.name, health=str(health), reason=str(error))
        self._at.up = False
        CLUSTER_UP.labels(self._at.name).set(0)
        await self._at.write(tracking.health, self._at.cluster_id, str(health), str(error))


def _raise(ended: asyncio.Task[None]) -> NoReturn:
    """Raise why a task ended, although all run for ever."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        raise error
    raise RuntimeError(f"{ended.get_name()} ended by itself")
