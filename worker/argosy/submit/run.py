"""Stage 2: queued jobs become workflows, once each.

Jobs are claimed ahead and outcomes are recorded later, so that the creators never wait for the database (A7: with a claim and a record
around each create, the speed was two thirds). Why there is only one workflow per attempt (P1):

- the claim is committed before the create and stores its name, which follows from uid and attempt and is never random;
- a creator checks the claim's deadline on the monotonic clock right before it sends, and its request ends before the lease does;
- an unclear create is resolved by creating the *same name* again; if the name is taken, the object is read and compared, and adopted if it
  is ours; if it is then gone, the workflow existed;
- a workflow is rendered only from the frozen launch, and its digest is stored with the claim.

If a cluster asks to wait, or fails, no worker submits to it for a while. An unclear create delays only its own job (breaker.py).

If the database is away for a short time, creates that are under way go on. Nothing new is claimed, and outcomes are recorded when the
database is back, as long as the claim lasts; after that the next claimer finds the name taken (F5 and F19). A worker that is told to stop
claims nothing more, puts jobs that it has not sent back into the queue, and records the rest within one request's time-out.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import structlog
from sqlalchemy import Connection as Database
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from argosy import metrics
from argosy.access import Clusters, Reached
from argosy.errors import ArgosyError, NotConfigured, NotFound
from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.loops import reason_of, surviving
from argosy.manifest import Rendered, Renderer
from argosy.recovery.custody import Custody, Held
from argosy.settings import Settings
from argosy.store import claims, queue
from argosy.store.database import transact
from argosy.store.registered import Cluster
from argosy.submit.breaker import DOWN, Breaker
from argosy.submit.create import MARGIN, Claimed, Creator, Pass
from argosy.submit.rendering import Renderers

_AGAIN = 1.0
"""Seconds between two tries of a record."""

_GATHER = 0.05
"""Seconds that an outcome waits for others to join its transaction while creators are at work. If PostgreSQL shares the cores with the
apiserver, small transactions slow down creates."""

log = structlog.stdlib.get_logger(__name__)

_LABELS: dict[type[queue.Outcome], str] = {
    queue.Created: "created",
    queue.Returned: "returned",
    queue.Unresolved: "unresolved",
    queue.Ended: "ended",
}
"""How metrics call the outcome of a create."""


class Submitter:
    """Submits the queues of clusters; one per process and event loop.

    Args:
        engine: The database with the queue.
        settings: Lease, batch, concurrency, values for the workflows.
        clusters: Connections of this process.
        installation: Label of our objects.
        worker: Who claims; only shown to people.
    """

    def __init__(self, engine: Engine, settings: Settings, clusters: Clusters, installation: str, worker: str) -> None:
        self._engine, self._settings, self._clusters = engine, settings, clusters
        self._installation, self._worker = installation, worker
        self._running: dict[int, bool] = {}
        self._unclear: dict[int, Counter[int]] = {}
        self._custody: dict[int, tuple[Connection, Custody]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._renderers = Renderers(settings, installation)

    def start(self, cluster_id: int) -> None:
        """Start a run in a task of its own, so that a cluster that hangs takes no thread from the others. If a run cannot begin (the
        database is away, the cluster's token cannot be opened), the reason is logged. Any other exception is logged and counted, and the
        process goes on. Housekeeping sends another wake-up."""
        task = asyncio.get_running_loop().create_task(self._survive(cluster_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drained(self) -> None:
        """Wait for the runs that were started; after `stop` that takes one request's time-out at most."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _survive(self, cluster_id: int) -> None:
        name = self._clusters.name(cluster_id)
        with surviving("submit", "nothing submitted", cluster=name):
            try:
                await self.run(cluster_id)
            except* NotFound as group:
                log.info("nothing submitted", cluster=name, reason=reason_of(group))

    async def run(self, cluster_id: int) -> None:
        """Submit queued jobs to a cluster until its queue is empty or its slots are used up.

        If a run of this process is under way already, that run makes one more pass. While the breaker is open, nothing is claimed;
        housekeeping sends another wake-up.

        Raises:
            NotFound: The cluster was removed.
        """
        if cluster_id in self._running:
            self._running[cluster_id] = True
            return
        self._running[cluster_id] = True
        try:
            while self._running[cluster_id] and not self._stopping:
                self._running[cluster_id] = False
                await self._pass(cluster_id)
        finally:
            del self._running[cluster_id]

    def stop(self) -> None:
        """Claim and send nothing more. Runs that are under way release their claims and end. May be called from any thread."""
        self._stopping = True

    async def _pass(self, cluster_id: int) -> None:
        reached = await self._clusters.reach(cluster_id)
        unclear = self._unclear.setdefault(cluster_id, Counter())
        breaker = Breaker(self._engine, cluster_id, reached.cluster.name, unclear)
        custody = self._custody_of(reached)
        try:
            await custody.look()
        except Held as error:
            await breaker.wait("the cluster is held", error, DOWN)
            raise
        except (answers.ClusterDown, answers.Unclear) as error:
            await breaker.failed(f"cluster {error.health}", error)
            return
        except answers.Wait as error:
            await breaker.wait("the cluster asks to wait", error, error.retry_after or 1.0)
            return
        except answers.KubeError as error:
            await breaker.failed("its mark cannot be read", error)
            return
        metrics.submit(reached.cluster.name, _LABELS.values())
        run = Pass(reached, custody, breaker, asyncio.Queue(maxsize=self._settings.claim_batch))
        creators = self._settings.creates_in_flight
        async with asyncio.TaskGroup() as tasks:
            recorder = tasks.create_task(self._record(run))
            workers = [tasks.create_task(self._creator(run)) for _ in range(creators)]
            await self._claim(run)
            for _ in workers:
                await run.claimed.put(None)
            await asyncio.gather(*workers)
            run.created.set()
            await run.outcomes.put(None)
            await recorder
        if run.breaker.closed:
            self._running[cluster_id] = True

    def _custody_of(self, reached: Reached) -> Custody:
        """The custody of exactly this connection: another connection may lead to another place."""
        cluster_id, connection = reached.cluster.id, reached.connection
        known, custody = self._custody.get(cluster_id, (None, None))
        if custody is None or known is not connection:
            version = reached.cluster.credential_version
            custody = Custody(self._engine, connection, cluster_id, version, self._installation)
            self._custody[cluster_id] = connection, custody
        return custody

    async def _claim(self, run: Pass) -> None:
        """Claim ahead. The size of the queue `claimed` limits how far, so that no claim waits long before it is used."""
        while run.breaker.hold is None and not self._stopping:
            before = time.monotonic()
            try:
                claimed = await asyncio.to_thread(self._claim_batch, run.reached.cluster, run.custody)
            except OperationalError as error:
                log.warning("database away, nothing claimed", cluster=run.name, reason=str(error.orig))
                run.custody.doubt()
                return
            failpoint("submit.claimed")
            taken, made = claimed
            run.breaker.probe = taken.probe
            run.batches += 1
            deadline = before + self._settings.claim_lease - MARGIN
            metrics.CLAIMS.labels(run.name).inc()
            for waiting in taken.jobs:
                metrics.QUEUED_SECONDS.labels(run.name).observe(waiting.waited)
                await run.claimed.put(Claimed(waiting, *made[waiting.uid], before, deadline, run.batches))
            if run.breaker.probe or not (taken.jobs or taken.rejected):
                return

    def _claim_batch(
        self, cluster: Cluster, custody: Custody
    ) -> tuple[claims.Claims, dict[UUID, tuple[Renderer, Rendered]]]:
        with self._engine.begin() as database:
            if not custody.same(database):
                custody.doubt()
                return claims.Claims([]), {}
            made: dict[UUID, tuple[Renderer, Rendered]] = {}
            in_clear: dict[tuple[UUID, int], Renderer] = {}

            def render(waiting: claims.Waiting) -> claims.Rendering | str:
                try:
                    renderer = self._renderers.of(database, waiting.gid, waiting.revision, cluster, in_clear)
                except NotConfigured:
                    raise
                except ArgosyError as error:
                    return str(error)
                rendered = renderer.render(waiting.uid, waiting.number, waiting.media_ids)
                made[waiting.uid] = renderer, rendered
                return claims.Rendering(rendered.name, rendered.digest)

            claimed = claims.claim(
                database,
                cluster.id,
                self._worker,
                self._settings.claim_lease,
                self._settings.claim_batch,
                self._settings.travel,
                render,
            )
            failpoint("submit.claiming")
            return claimed, made

    async def _creator(self, run: Pass) -> None:
        creator = Creator(run, self._engine, self._settings, self._installation, lambda: self._stopping)
        async for job in _until_none(run.claimed):
            outcome = await creator.create(job)
            metrics.SUBMITTED.labels(run.name, _LABELS[type(outcome)]).inc()
            if isinstance(outcome, queue.Created) and job.waiting.launched is not None:
                taken = time.monotonic() - job.claimed_at
                metrics.LAUNCH_TO_CREATE.labels(run.name).observe(job.waiting.launched + taken)
            log.info(
                "submitted", outcome=_LABELS[type(outcome)], reason=getattr(outcome, "reason", ""), **job.told(run.name)
            )
            await run.outcomes.put(outcome)
            await self._judge(run, job, outcome)

    async def _judge(self, run: Pass, job: Claimed, outcome: queue.Outcome) -> None:
        """What an outcome says about the cluster."""
        match outcome:
            case queue.Created() | queue.Ended(asked=True):
                await run.breaker.answered()
            case queue.Unresolved(unclear=True):
                await run.breaker.doubted(job.waiting.project, outcome.reason)

    async def _record(self, run: Pass) -> None:
        """Record outcomes: all that have come in since the last commit, or come shortly after, go into one transaction."""
        ended = False
        while not ended:
            batch: list[queue.Outcome | None] = [await run.outcomes.get()]
            with suppress(TimeoutError):
                await asyncio.wait_for(run.created.wait(), _GATHER)
            while not run.outcomes.empty():
                batch.append(run.outcomes.get_nowait())
            outcomes = [outcome for outcome in batch if outcome is not None]
            ended = len(outcomes) < len(batch)
            if outcomes:
                await self._record_surely(run, outcomes)

    async def _record_surely(self, run: Pass, outcomes: list[queue.Outcome]) -> None:
        """Record outcomes, again if a commit is unclear: every record is a compare-and-set, so that is safe. After the lease the claim may
        be another worker's, so it gives up."""
        until = time.monotonic() + self._settings.claim_lease
        while True:
            try:
                await transact(self._engine, _record, outcomes)
            except OperationalError as error:
                if time.monotonic() > until:
                    raise
                log.warning(
                    "database away, records are kept", cluster=run.name, count=len(outcomes), reason=str(error.orig)
                )
                await asyncio.sleep(_AGAIN)
            else:
                failpoint("submit.recorded")
                return


async def _until_none(source: asyncio.Queue[Claimed | None]) -> AsyncIterator[Claimed]:
    while (item := await source.get()) is not None:
        yield item


def _record(database: Database, outcomes: list[queue.Outcome]) -> None:
    queue.record(database, outcomes)
    failpoint("submit.recording")
