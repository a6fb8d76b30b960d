"""What nobody else comes back for: lost wake-ups, claims that ran out, Secrets and tokens that are no longer needed, the gauges.

Runs in the tracker, under a lease, a round every few seconds. It moves nothing through the state machine itself: it only makes sure that
the stage whose work lies around is woken (faults.md §1: between commit and enqueue a crash leaves a job that nobody runs).
"""

import asyncio
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine

from argosy.access import Clusters
from argosy.errors import ArgosyError
from argosy.kube.secrets import Secrets
from argosy.manifest import secret_name
from argosy.metrics import JOBS, QUEUE_DEPTH, QUEUE_OLDEST
from argosy.states import State
from argosy.store import launches, queue, reading, secrets
from argosy.wakeups import WakeUps

_PATIENCE = 3.0
"""Seconds that a launch may wait for its own wake-up before another is sent."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Housekeeping:
    """One housekeeper.

    Args:
        engine: Where the rows are.
        clusters: Connections, for deleting Secrets.
        wakeups: Where wake-ups go.
    """

    engine: Engine
    clusters: Clusters
    wakeups: WakeUps

    async def round(self) -> None:
        """One round of everything."""
        await asyncio.to_thread(self._wake)
        await self._delete_secrets()
        await asyncio.to_thread(self._measure)

    def _wake(self) -> None:
        with self.engine.begin() as connection:
            gids = launches.due(connection, _PATIENCE)
            cluster_ids = queue.clusters_with_work(connection)
        for gid in gids:
            self.wakeups.expand(gid)
        for cluster_id in cluster_ids:
            self.wakeups.submit(cluster_id)

    async def _delete_secrets(self) -> None:
        for debt in await asyncio.to_thread(self._secrets_due):
            try:
                reached = await self.clusters.reach(debt.cluster_id)
                await Secrets(reached.connection).delete(secret_name(debt.gid))
            except ArgosyError as error:
                log.warning("Secret not deleted yet", gid=str(debt.gid), cluster=debt.cluster_id, reason=str(error))
                continue
            await asyncio.to_thread(self._settle, debt)

    def _secrets_due(self) -> list[secrets.Debt]:
        with self.engine.begin() as connection:
            secrets.wipe_tokens(connection)
            return secrets.due(connection)

    def _settle(self, debt: secrets.Debt) -> None:
        with self.engine.begin() as connection:
            secrets.settle(connection, debt)

    def _measure(self) -> None:
        with self.engine.begin() as connection:
            states = reading.jobs_by_state(connection)
            queues = reading.queues(connection)
        for state in State:
            JOBS.labels(str(state)).set(states.get(str(state), 0))
        for name, (depth, oldest) in queues.items():
            QUEUE_DEPTH.labels(name).set(depth)
            QUEUE_OLDEST.labels(name).set(oldest)
