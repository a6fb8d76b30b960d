"""What nobody else comes back for: lost wake-ups, automatic retries that had to wait, claims that ran out, Secrets and tokens that are no
longer needed, records past their retention, the gauges.

Runs in the tracker, under a lease, a round every few seconds. It moves no job through the state machine: it only makes sure that the
stage whose work lies around is woken, the submitter for a claim that ran out too, which resolves it by the same-name rule (faults.md §1:
between commit and enqueue a crash leaves a job that nobody runs). Each chore stands alone: one that fails holds up no other, and a
cluster that hangs holds up only what is owed on it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine

from argosy.access import Clusters
from argosy.kube.secrets import Secrets
from argosy.labels import LABEL_INSTALLATION, launch_of_secret, secret_name
from argosy.loops import surviving
from argosy.metrics import (
    ACTIVE,
    BREAKER_OPEN,
    CAPACITY,
    HELD,
    JOBS,
    PAUSED,
    QUEUE_DEPTH,
    QUEUE_OLDEST,
    forget,
)
from argosy.processes.wakeups import WakeUps
from argosy.settings import Settings
from argosy.states import State
from argosy.store import claims, control, launches, pacing, reading, retention, secrets
from argosy.store.installation import identity

_PATIENCE = 3.0
"""Seconds that a launch may wait for its own wake-up before another is sent."""

_FORGET_EVERY = 60.0
"""Seconds between two looks for records past their retention."""

_LOOK_EVERY = 60.0
"""Seconds between two looks for Secrets that no row knows."""

_FORGET_BATCHES = 20
"""Transactions that one look may take; what is left is for the next."""

log = structlog.stdlib.get_logger(__name__)


class Housekeeping:
    """One housekeeper.

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
        self._measured: set[str] = set()

    def chores(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What is to be done each round."""
        return (
            self._expand,
            self._follow,
            self._submit,
            self._find_secrets,
            self._delete_secrets,
            self._forget,
            self._measure,
        )

    async def _expand(self) -> None:
        for gid in await asyncio.to_thread(self._launches_due):
            await asyncio.to_thread(self._wakeups.expand, gid)

    async def _follow(self) -> None:
        """Automatic retries that could not be written together with the end that they follow."""
        while await asyncio.to_thread(self._follow_some):
            pass

    async def _submit(self) -> None:
        for cluster_id in await asyncio.to_thread(self._clusters_due):
            await asyncio.to_thread(self._wakeups.submit, cluster_id)

    async def _find_secrets(self) -> None:
        """Those that no row knows, because the database became an older one."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for cluster_id in await asyncio.to_thread(self._to_look):
            self._apart(cluster_id, partial(self._find_on, cluster_id))

    async def _delete_secrets(self) -> None:
        by_cluster: dict[int, list[secrets.Debt]] = {}
        for debt in await asyncio.to_thread(self._secrets_due):
            by_cluster.setdefault(debt.cluster_id, []).append(debt)
        for cluster_id, debts in by_cluster.items():
            self._apart(cluster_id, partial(self._delete_on, cluster_id, debts))

    def _apart(self, cluster_id: int, work: partial[Coroutine[Any, Any, None]]) -> None:
        """In a task of its own, begun anew when the last one of this kind for the cluster has ended."""
        key = work.func, cluster_id
        if (last := self._tasks.get(key)) is None or last.done():
            self._tasks[key] = asyncio.create_task(self._tried(cluster_id, work))

    async def _tried(self, cluster_id: int, work: partial[Coroutine[Any, Any, None]]) -> None:
        """The outermost loop of what is done on one cluster: nobody awaits it."""
        with surviving("secrets", "Secrets not deleted yet", cluster=cluster_id):
            await work()

    async def _find_on(self, cluster_id: int) -> None:
        reached = await self._clusters.reach(cluster_id)
        selector = f"{LABEL_INSTALLATION}={await asyncio.to_thread(identity, self._engine)}"
        found = await Secrets(reached.connection).found(selector)
        gids = {gid for name in found if (gid := launch_of_secret(name)) is not None}
        if count := await asyncio.to_thread(self._note_found, cluster_id, gids):
            log.warning("Secrets that no row knew", cluster=cluster_id, count=count)

    async def _delete_on(self, cluster_id: int, debts: list[secrets.Debt]) -> None:
        for debt in debts:
            reached = await self._clusters.reach(cluster_id)
            there, name = Secrets(reached.connection), secret_name(debt.gid)
            uid = await there.uid(name)
            # Asked after it was read: whoever settles this meanwhile, and makes it anew, makes another object.
            if not await asyncio.to_thread(self._still_due, debt):
                continue
            if uid is not None:
                await there.delete(name, uid)
            await asyncio.to_thread(self._settle, debt)

    async def _forget(self) -> None:
        if time.monotonic() - self._forgot < _FORGET_EVERY:
            return
        self._forgot = time.monotonic()
        await asyncio.to_thread(self._forget_turns)
        for _ in range(_FORGET_BATCHES):
            if not await asyncio.to_thread(self._forget_batch):
                return

    async def _measure(self) -> None:
        states, queues, standings = await asyncio.to_thread(self._figures)
        for state in State:
            JOBS.labels(str(state)).set(states.get(str(state), 0))
        for name, (depth, oldest) in queues.items():
            QUEUE_DEPTH.labels(name).set(depth)
            QUEUE_OLDEST.labels(name).set(oldest)
        for cluster in standings:
            CAPACITY.labels(cluster.name).set(cluster.capacity)
            ACTIVE.labels(cluster.name).set(cluster.active)
            BREAKER_OPEN.labels(cluster.name).set(cluster.open)
            PAUSED.labels(cluster.name).set(cluster.paused)
            HELD.labels(cluster.name).set(cluster.held)
        named = {cluster.name for cluster in standings}
        for name in self._measured - named:
            forget(name)
        self._measured = named

    def _launches_due(self) -> list[UUID]:
        with self._engine.begin() as connection:
            return launches.due(connection, _PATIENCE)

    def _follow_some(self) -> int:
        with self._engine.begin() as connection:
            return control.follow(connection)

    def _clusters_due(self) -> list[int]:
        with self._engine.begin() as connection:
            return claims.clusters_with_work(connection)

    def _secrets_due(self) -> list[secrets.Debt]:
        with self._engine.begin() as connection:
            secrets.wipe_tokens(connection)
            return secrets.due(connection)

    def _to_look(self) -> list[int]:
        with self._engine.begin() as connection:
            return secrets.look(connection)

    def _note_found(self, cluster_id: int, gids: set[UUID]) -> int:
        with self._engine.begin() as connection:
            return secrets.found(connection, cluster_id, gids)

    def _still_due(self, debt: secrets.Debt) -> bool:
        with self._engine.begin() as connection:
            return secrets.still_due(connection, debt)

    def _settle(self, debt: secrets.Debt) -> None:
        with self._engine.begin() as connection:
            secrets.settle(connection, debt)

    def _forget_turns(self) -> None:
        with self._engine.begin() as connection:
            claims.forget_turns(connection)

    def _forget_batch(self) -> int:
        with self._engine.begin() as connection:
            return retention.forget(connection, self._settings.retention_days)

    def _figures(self) -> tuple[dict[str, int], dict[str, tuple[int, float]], list[pacing.Standing]]:
        with self._engine.begin() as connection:
            return reading.jobs_by_state(connection), reading.queues(connection), pacing.standing(connection)
