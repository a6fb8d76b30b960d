"""Finds work that nobody else comes back to: lost wake-ups, automatic retries that had to wait, claims that ran out, Secrets and tokens
that are no longer needed, records past their retention. It also sets the gauges.

It runs in the tracker, under a lease, in a round every few seconds. It does not change the state of jobs itself, except for automatic
retries: it wakes the stage that has unfinished work (F25: after a crash between commit and enqueue, nobody runs a job). For a claim that
ran out that is the submitter, which creates the same name again. Each task is independent: if one fails, the others still run, and a
cluster that hangs delays only its own work.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from argosy import metrics
from argosy.access import Clusters
from argosy.kube.secrets import Secrets
from argosy.labels import LABEL_GID, LABEL_INSTALLATION
from argosy.loops import surviving
from argosy.metrics import show
from argosy.processes.wakeups import WakeUps
from argosy.settings import Settings
from argosy.states import State
from argosy.store import (
    claims,
    clocks,
    holds,
    launches,
    manifests,
    outbox,
    pacing,
    reading,
    retention,
    retries,
    secrets,
    telling,
)
from argosy.store.database import transact
from argosy.store.installation import identity

_PATIENCE = 3.0
"""Seconds that a launch may wait for its own wake-up before another is sent."""

_FORGET_EVERY = 60.0
"""Seconds between two searches for records past their retention."""

_LOOK_EVERY = 60.0
"""Seconds between two searches for Secrets that no row knows."""

_STEP = 5.0
"""Seconds by which the database's clock must have been set back to count."""

_FORGET_BATCHES = 20
"""The most transactions of one search; the next one continues."""

log = structlog.stdlib.get_logger(__name__)


class Housekeeping:
    """Housekeeping of an installation.

    Args:
        engine: Where the rows are.
        settings: How long records are kept.
        clusters: Connections, for deleting Secrets.
        wakeups: Where wake-ups go.
    """

    def __init__(self, engine: Engine, settings: Settings, clusters: Clusters, wakeups: WakeUps) -> None:
        self._engine, self._settings, self._clusters, self._wakeups = engine, settings, clusters, wakeups
        self._tasks: dict[tuple[Callable[..., object], int], asyncio.Task[None]] = {}
        self._forgot = self._looked = -math.inf
        self._ahead = math.inf

    def chores(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """The tasks of one round."""
        return (
            self._see_clock,
            self._expand,
            self._follow,
            self._submit,
            self._find_secrets,
            self._delete_secrets,
            self._tell,
            self._forget,
            self._measure,
        )

    async def _see_clock(self) -> None:
        """Bring times back that lie too far ahead, at the beginning and when the database's clock was set back."""
        before = time.monotonic()
        ahead = (await transact(self._engine, clocks.now)).timestamp() - before
        if ahead < self._ahead - _STEP and (count := await transact(self._engine, clocks.bring_back)):
            log.warning("times lay too far ahead: the database's clock was set back", count=count)
        self._ahead = ahead

    async def _expand(self) -> None:
        for gid in await transact(self._engine, launches.due, _PATIENCE):
            await asyncio.to_thread(self._wakeups.expand, gid)

    async def _follow(self) -> None:
        """Write automatic retries that could not be written together with the end that they follow."""
        while await transact(self._engine, retries.follow):
            pass

    async def _submit(self) -> None:
        for cluster_id in await transact(self._engine, claims.clusters_with_work):
            await asyncio.to_thread(self._wakeups.submit, cluster_id)

    async def _find_secrets(self) -> None:
        """Find Secrets on clusters that have no row, for example after the database was restored from a dump."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for cluster_id in await transact(self._engine, secrets.look):
            self._apart(cluster_id, partial(self._find_on, cluster_id))

    async def _delete_secrets(self) -> None:
        by_cluster: dict[int, list[secrets.Debt]] = {}
        for debt in await transact(self._engine, _secrets_due):
            by_cluster.setdefault(debt.cluster_id, []).append(debt)
        for cluster_id, debts in by_cluster.items():
            self._apart(cluster_id, partial(self._delete_on, cluster_id, debts))

    def _apart(self, cluster_id: int, work: partial[Coroutine[Any, Any, None]]) -> None:
        """Run it in a separate task, unless one of the same kind for this cluster is still running."""
        key = work.func, cluster_id
        if (last := self._tasks.get(key)) is None or last.done():
            self._tasks[key] = asyncio.create_task(self._tried(cluster_id, work))

    async def _tried(self, cluster_id: int, work: partial[Coroutine[Any, Any, None]]) -> None:
        """Catch and log every error of work on one cluster, because nobody awaits its task."""
        with surviving("secrets", "Secrets not deleted yet", cluster=self._clusters.name(cluster_id)):
            await work()

    async def _find_on(self, cluster_id: int) -> None:
        reached = await self._clusters.reach(cluster_id)
        found = await Secrets(reached.connection).found(await self._ours())
        gids = {secret.gid for secret in found if secret.gid is not None}
        if count := await transact(self._engine, secrets.found, cluster_id, gids):
            log.warning("found Secrets that had no row", cluster=self._clusters.name(cluster_id), count=count)

    async def _delete_on(self, cluster_id: int, debts: list[secrets.Debt]) -> None:
        for debt in debts:
            reached = await self._clusters.reach(cluster_id)
            there = Secrets(reached.connection)
            # By its label: one of a launch that was lost, and sent again, has another name than the row says.
            found = await there.found({**await self._ours(), LABEL_GID: str(debt.gid)})
            # Asked after the uids were read: if another process deleted the Secret and made a new one meanwhile, that has another uid.
            if not await transact(self._engine, secrets.still_due, debt):
                continue
            for secret in found:
                await there.delete(secret.name, secret.uid)
            await transact(self._engine, secrets.settle, debt)

    async def _ours(self) -> dict[str, str]:
        """The label of this installation's objects."""
        return {LABEL_INSTALLATION: await asyncio.to_thread(identity, self._engine)}

    async def _forget(self) -> None:
        if time.monotonic() - self._forgot < _FORGET_EVERY:
            return
        self._forgot = time.monotonic()
        await transact(self._engine, retention.forget_turns)
        await transact(self._engine, manifests.forget)
        await transact(self._engine, outbox.forget, self._settings.retention_days)
        for _ in range(_FORGET_BATCHES):
            if not await transact(self._engine, retention.forget, self._settings.retention_days):
                return

    async def _tell(self) -> None:
        """Put into the outbox what is to be told about launches that ended; senders find it there."""
        await transact(self._engine, telling.fill)

    async def _measure(self) -> None:
        overdue, states, queues, outboxes, clusters, working = await transact(self._engine, _figures)
        show(metrics.LAUNCH_OVERDUE, {(state,): age for state, age in overdue.items()})
        show(metrics.JOBS, {(state,): states.get(state, 0) for state in map(str, State)})
        show(metrics.QUEUE_DEPTH, {(name,): depth for name, (depth, _) in queues.items()})
        show(metrics.QUEUE_OLDEST, {(name,): oldest for name, (_, oldest) in queues.items()})
        ages = {(kind,): outboxes.get(kind, (0.0, 0.0)) for kind in metrics.KINDS}
        show(metrics.OUTBOX_AGE, {kind: age for kind, (age, _) in ages.items()})
        show(metrics.OUTBOX_LATE, {kind: overdue for kind, (_, overdue) in ages.items()})
        show(metrics.WORK, {(it.name,): it.id in working for it in clusters})
        show(metrics.CAPACITY, {(it.name,): it.capacity for it in clusters})
        show(metrics.ACTIVE, {(it.name,): it.active for it in clusters})
        show(metrics.BREAKER_OPEN, {(it.name,): it.open for it in clusters})
        show(metrics.PAUSED, {(it.name,): it.paused for it in clusters})
        ends = {it.name: it.token_expires_at for it in clusters}
        show(metrics.TOKEN_EXPIRES, {(name,): end.timestamp() for name, end in ends.items() if end is not None})
        show(metrics.STATUS_AGE, {(it.name,): it.age for it in clusters})
        show(metrics.CLUSTER_DOWN, {(it.name, it.health): 1 for it in clusters if it.health != "ok"})
        whys = ("restored", "doubt")
        show(metrics.HELD, {(it.name, why): why == _why(it.held) for it in clusters for why in whys})


def _why(held: str) -> str:
    """Why a cluster is held, as metrics call it; empty if it is not."""
    return held and ("doubt" if held == holds.DOUBTED else "restored")


def _secrets_due(connection: Connection) -> list[secrets.Debt]:
    secrets.wipe_tokens(connection)
    return secrets.due(connection)


def _figures(
    connection: Connection,
) -> tuple[
    dict[str, float],
    dict[str, int],
    dict[str, tuple[int, float]],
    dict[str, tuple[float, float]],
    list[pacing.Gauges],
    list[int],
]:
    return (
        launches.overdue(connection),
        reading.jobs_by_state(connection),
        reading.queues(connection),
        outbox.ages(connection),
        pacing.standing(connection),
        claims.clusters_with_work(connection),
    )
