"""The tracker process: one event loop for all clusters whose lease it holds, and housekeeping.

A cluster belongs to one tracker at a time, by lease. Each tracker takes its share: the number of clusters divided by the number of live
trackers. If it holds more, because another tracker has started, it releases the rest. A task that does nothing else renews the leases, so
that none is lost because of a slow list or a large flush. A tracker that was stopped and continues later finds another epoch and writes
nothing. The tracker also LISTENs for launches that an API server has committed without sending a message. It is ready while everything that
it holds shows signs of life: a watch that died silently looks like a cluster where nothing happens (F23).
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, inf
from uuid import UUID, uuid4

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from argosy import metrics
from argosy.access import Clusters, argo_server
from argosy.errors import ArgosyError, Fenced, NotFound, SealBroken
from argosy.kube.answers import KubeError
from argosy.labels import LABEL_INSTALLATION
from argosy.loops import surviving
from argosy.metrics import LEASES
from argosy.notify.sender import Sender
from argosy.processes.housekeeping import Housekeeping
from argosy.processes.wakeups import WakeUps
from argosy.recovery.custody import Custody
from argosy.settings import Settings
from argosy.store import database, launches, leases, notices, registry, tracking
from argosy.store.installation import identity
from argosy.track.follow import PULSE, ClusterTracker
from argosy.track.standing import Tracked

log = structlog.stdlib.get_logger(__name__)

_HOUSEKEEPING = "housekeeping"
_TRACKERS = "tracker"

_WAKE = 0.5
"""Seconds between two wake-ups for free slots of one cluster. Without this, each job that ends would cause a claim of its own."""

_AGAIN = 30.0
"""Seconds for which this tracker leaves a cluster to others if it cannot follow it (its keys do not open the cluster's token)."""


@dataclass(frozen=True)
class _Held:
    version: tuple[int, int]
    task: asyncio.Task[None]


class Tracker:
    """One tracker process.

    Args:
        engine: Where the rows are.
        settings: Lease and intervals.
        wakeups: Where wake-ups go.
    """

    def __init__(self, engine: Engine, settings: Settings, wakeups: WakeUps) -> None:
        self._engine, self._settings, self._wakeups = engine, settings, wakeups
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._clusters = Clusters(engine, settings)
        self._held: dict[int, _Held] = {}
        self._following: dict[int, ClusterTracker] = {}
        self._renewer = ThreadPoolExecutor(1, "leases")
        self._renewed = self._kept = time.monotonic()
        self._keeping = -inf
        self._tasks: set[asyncio.Future[None]] = set()
        self._woken: dict[int, float] = {}
        self._unable: dict[int, tuple[float, str]] = {}
        self._names: dict[int, str] = {}

    async def run(self) -> None:
        """Track until cancelled; then release the leases."""
        installation = await asyncio.to_thread(identity, self._engine)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hold_clusters(installation))
                tasks.create_task(self._keep_house())
                tasks.create_task(self._listen())
                tasks.create_task(Sender(self._engine, self._settings).run())
        finally:
            for held in self._held.values():
                held.task.cancel()
            await asyncio.gather(*(held.task for held in self._held.values()), return_exceptions=True)
            await self._clusters.close()
            # After a renewal that is under way: it would take the leases back, or lock them in another order.
            await asyncio.get_running_loop().run_in_executor(self._renewer, self._release)
            self._renewer.shutdown(wait=False)

    def dead(self) -> list[str]:
        """The parts of this tracker that show no sign of life, as text. The tracker is ready if there are none. May be called from any
        thread."""
        now = time.monotonic()
        found = [
            f"cluster {cluster_id} is not followed" for cluster_id, held in list(self._held.items()) if held.task.done()
        ]
        found += [
            f"cluster {cluster_id} has not been followed for {following.silent_for():.0f} s"
            for cluster_id, following in list(self._following.items())
            if following.silent_for() > PULSE
        ]
        found += [
            f"cluster {cluster_id} cannot be followed: {why}"
            for cluster_id, (_, why) in list(self._unable.items())
            if why
        ]
        for what, since in (("leases were not renewed", self._renewed), ("no housekeeping", self._kept)):
            if now - since > PULSE:
                found.append(f"{what} for {now - since:.0f} s")
        return found

    async def _hold_clusters(self, installation: str) -> None:
        while True:
            with surviving("leases", "leases not renewed"):
                # In a thread of its own, because all shared threads may be waiting for locks.
                epochs = await asyncio.get_running_loop().run_in_executor(self._renewer, self._renew)
                await self._match(epochs, installation)
                self._renewed = time.monotonic()
            self._show_leases()
            await asyncio.sleep(self._settings.tracker_lease / 5)

    def _show_leases(self) -> None:
        """Show the leases that this tracker holds, and nothing that only their holder knows without them. Not where housekeeping is done:
        this goes on while that waits."""
        oldest = time.monotonic() - self._settings.tracker_lease
        keeping = self._keeping > oldest
        LEASES.labels("cluster").set(len(self._held) if self._renewed > oldest else 0)
        LEASES.labels(_HOUSEKEEPING).set(keeping)
        if not keeping:
            for gauge in metrics.OF_DATABASE:
                metrics.show(gauge, {})
        if self._renewed <= oldest:
            for name in self._names.values():
                metrics.forget(name)

    def _renew(self) -> dict[int, tuple[int, int]]:
        """Renew or take the leases of this tracker's share of the clusters. Release those beyond its share, and those that it cannot follow
        at present. Returns (epoch, credential version) of those that it holds. A tracker that cannot follow a cluster is not counted for
        the shares, so that another tracker may take that cluster."""
        seconds = self._settings.tracker_lease
        with Session(self._engine) as session:
            clusters, connection = registry.clusters(session), session.connection()
            self._unable = {cluster.id: why for cluster in clusters if (why := self._unable.get(cluster.id))}
            share = ceil(
                len(clusters) / leases.present(connection, _TRACKERS, self._holder, seconds, counted=not self._unable)
            )
            epochs: dict[int, tuple[int, int]] = {}
            for cluster in sorted(clusters, key=lambda cluster: (cluster.id not in self._held, cluster.id)):
                cluster_id = cluster.id
                until, _ = self._unable.get(cluster_id, (0.0, ""))
                if len(epochs) < share and until < time.monotonic():
                    epoch = leases.acquire(connection, leases.of_cluster(cluster_id), self._holder, seconds)
                    if epoch is not None:
                        epochs[cluster_id] = (epoch, cluster.credential_version)
                elif cluster_id in self._held:
                    leases.release(connection, leases.of_cluster(cluster_id), self._holder)
            session.commit()
        return epochs

    async def _match(self, epochs: dict[int, tuple[int, int]], installation: str) -> None:
        """Start following clusters whose lease was won, stop those whose lease was lost, and restart those that have new credentials or
        whose task has died."""
        for cluster_id, held in list(self._held.items()):
            following = self._following.get(cluster_id)
            silent = following is not None and following.silent_for() > PULSE
            if epochs.get(cluster_id) != held.version or held.task.done() or silent:
                held.task.cancel()
                await asyncio.gather(held.task, return_exceptions=True)
                del self._held[cluster_id]
                metrics.forget(self._names.pop(cluster_id, ""))
        for cluster_id, version in epochs.items():
            if cluster_id not in self._held:
                task = asyncio.create_task(self._track(cluster_id, version[0], installation))
                self._held[cluster_id] = _Held(version, task)

    async def _track(self, cluster_id: int, epoch: int, installation: str) -> None:
        """Catch every error of one cluster: it is logged and counted, does not affect other clusters, and the cluster is followed again."""
        try:
            with surviving("track", "following the cluster again", cluster=self._clusters.name(cluster_id)):
                await self._follow(cluster_id, epoch, installation)
        finally:
            self._following.pop(cluster_id, None)

    async def _follow(self, cluster_id: int, epoch: int, installation: str) -> None:
        try:
            reached = await self._clusters.reach(cluster_id)
            tracked = Tracked(cluster_id, reached.cluster.name, leases.of_cluster(cluster_id), epoch)
            selector = f"{LABEL_INSTALLATION}={installation}"
            custody = Custody(
                self._engine, reached.connection, cluster_id, reached.cluster.credential_version, installation
            )
            async with argo_server(reached.connection.access, self._settings) as server:
                following = ClusterTracker(
                    self._engine,
                    reached.connection,
                    tracked,
                    selector,
                    custody,
                    self._settings.release_after,
                    self._settings.log_tail,
                    self._wake_submit,
                    server,
                )
                self._following[cluster_id] = following
                self._names[cluster_id] = tracked.name
                metrics.follow(tracked.name)
                self._unable.pop(cluster_id, None)
                await following.run()
        except* Fenced as group:
            log.warning(
                "cluster taken over by another tracker",
                cluster=self._clusters.name(cluster_id),
                reason=str(group.exceptions[0]),
            )
        except* NotFound as group:
            log.info("cluster not tracked", cluster=self._clusters.name(cluster_id), reason=str(group.exceptions[0]))
        except* KubeError as group:
            log.warning(
                "following the cluster again", cluster=self._clusters.name(cluster_id), reason=str(group.exceptions[0])
            )
        except* ArgosyError as group:
            why = str(group.exceptions[0])
            log.error(
                "cluster not tracked, left to another tracker", cluster=self._clusters.name(cluster_id), reason=why
            )
            # Its keys are those of the installation (sealing.py), so a token that they do not open is the cluster's trouble alone.
            own = not isinstance(group.exceptions[0], SealBroken)
            self._unable[cluster_id] = time.monotonic() + _AGAIN, why if own else ""
            with suppress(Fenced, OperationalError):
                await asyncio.to_thread(self._note_unable, cluster_id, epoch, why)

    def _note_unable(self, cluster_id: int, epoch: int, why: str) -> None:
        with self._engine.begin() as connection:
            leases.fence(connection, leases.of_cluster(cluster_id), epoch)
            tracking.health(connection, cluster_id, "unauthorized", why)

    async def _keep_house(self) -> None:
        housekeeping = Housekeeping(self._engine, self._settings, self._clusters, self._wakeups)
        while True:
            for chore in housekeeping.chores():
                await self._do(chore)
            self._kept = time.monotonic()
            await asyncio.sleep(self._settings.housekeeping_interval)

    async def _do(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Catch every error of one task of housekeeping: the gauges must be set even if Redis is not reachable."""
        with surviving(_HOUSEKEEPING, "housekeeping tries again later"):
            asked = time.monotonic()
            if await asyncio.to_thread(self._acquire, _HOUSEKEEPING) is None:
                self._keeping = -inf
                return
            self._keeping = asked
            await chore()

    async def _listen(self) -> None:
        """Turn notices of committed launches and retries into wake-ups. If a notice is missed, housekeeping finds the work."""
        while True:
            with surviving("listen", "not listening"):
                async with await database.listener(self._settings) as connection:
                    await connection.execute(f"LISTEN {notices.LAUNCHES}; LISTEN {notices.QUEUES}")
                    await asyncio.to_thread(self._wake_missed)
                    async for notice in connection.notifies():
                        await asyncio.to_thread(self._wake_noticed, notice)
            await asyncio.sleep(1)

    def _wake_noticed(self, notice: psycopg.Notify) -> None:
        if notice.channel == notices.LAUNCHES:
            self._wakeups.expand(UUID(notice.payload))
        else:
            self._wakeups.submit(int(notice.payload))

    def _wake_missed(self) -> None:
        """Send wake-ups for commits that were made while nobody listened."""
        with self._engine.begin() as connection:
            gids = launches.due(connection, 0)
        for gid in gids:
            self._wakeups.expand(gid)

    def _wake_submit(self, cluster_id: int) -> None:
        """Wake the submitter, because slots are free. If Redis is not reachable, housekeeping does it later."""
        now, last = time.monotonic(), self._woken.get(cluster_id, -_WAKE)
        if last > now:
            return  # a wake-up is about to be sent
        at = self._woken[cluster_id] = max(now, last + _WAKE)

        async def send() -> None:
            await asyncio.sleep(at - now)
            with surviving("wake", "wake-ups not sent", cluster=self._clusters.name(cluster_id)):
                await asyncio.to_thread(self._wakeups.submit, cluster_id)

        task = asyncio.ensure_future(send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _acquire(self, name: str) -> int | None:
        with self._engine.begin() as connection:
            return leases.acquire(connection, name, self._holder, self._settings.tracker_lease)

    def _release(self) -> None:
        with self._engine.begin() as connection:
            for cluster_id in self._held:
                leases.release(connection, leases.of_cluster(cluster_id), self._holder)
            leases.release(connection, _HOUSEKEEPING, self._holder)
            leases.release(connection, f"{_TRACKERS}/{self._holder}", self._holder)
