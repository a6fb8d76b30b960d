"""Stage 2: queued jobs become workflows, once each.

Claims run ahead and records run behind, so that the creators never wait for the database (design §3: the same work with a claim and a
record around each create ran at two thirds of the speed). What keeps it to one workflow per attempt (design §5.1):

- the claim is committed before the create, and names it: f(uid, attempt), never a drawn name;
- a creator checks the claim's deadline on the monotonic clock right before it sends, and its request ends before the lease does;
- an answer that proves nothing is resolved by creating the *same name* again; a taken name is read and compared, and adopted when it
  is ours; taken and then gone means that it existed;
- what is created is rendered from the frozen launch alone, and its digest is stored with the claim.

A cluster that asks to be left alone, or fails, is left alone by all workers; an unclear create backs off alone (breaker.py).

A database that blinks ends no create under way: nothing new is claimed, and what was created is recorded when it is back, for as long as
the claim lasts; after that the next claimer finds the taken name (faults.md §2, rows 5 and 19). A worker that is told to stop claims
nothing more, hands back what it has not sent, and records the rest within one request's time-out.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection as Database
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from argosy import crypto
from argosy.access import Clusters, Reached
from argosy.errors import ArgosyError, Conflict, NotConfigured, NotFound, SealBroken
from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import (
    LABEL_ATTEMPT,
    LABEL_GID,
    LABEL_INSTALLATION,
    LABEL_MANAGED_BY,
    LABEL_UID,
    MANAGED_BY,
    SECRET_KEY,
)
from argosy.loops import surviving, words
from argosy.manifest import LaunchFrame, Rendered, Renderer
from argosy.metrics import QUEUED_SECONDS, SUBMIT_SECONDS, SUBMITTED
from argosy.recovery.custody import Custody, Held
from argosy.settings import Settings
from argosy.store import claims, launches, queue, secrets
from argosy.store.tables import Cluster
from argosy.submit.breaker import DOWN, Breaker

_MARGIN = 1.0
"""Seconds that a request ends before its lease does."""

_LONGEST_WAIT = 60.0
"""Seconds that a cluster may ask to be left alone before it is tried again all the same."""

_AGAIN = 1.0
"""Seconds between two tries of a record."""

_GATHER = 0.05
"""Seconds that a record waits for others to join its transaction while creators are at work: on cores that PostgreSQL shares with the
apiserver, a few rows a transaction cost creates."""

_TRAVEL = 6
"""Request time-outs after its lease in which a create may still arrive; with the default that is the minute after which an apiserver
gives a request up by itself."""

_LONGEST_AGAIN = 15.0
"""Seconds between two tries of an unclear create at most; from one on they double."""

_TRIES = 10
"""Unclear tries after which a refusal is believed: an apiserver gives a request up after a minute, ten tries take longer."""

_RENDERERS = 256
"""Launches whose frame is kept rendered, those that were claimed from last."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A job in this worker's hands until `deadline` (monotonic seconds); `batch` numbers the claims of a pass."""

    waiting: claims.Waiting
    renderer: Renderer
    rendered: Rendered
    deadline: float
    batch: int

    def key(self) -> tuple[UUID, int, int]:
        """What every record of it carries."""
        return self.waiting.uid, self.waiting.number, self.waiting.epoch


@dataclass
class _Run:
    """One pass over one cluster's queue; `created` is set when no creator works any more.

    `secrets_made` says after which claim batch a launch's Secret was made or found. It speaks for jobs of that batch and before, which have
    kept it there since; before a later one all jobs may have ended, the Secret may have gone, and a retry may have brought a new token.
    """

    reached: Reached
    custody: Custody
    breaker: Breaker
    claimed: asyncio.Queue[Claimed | None]
    outcomes: asyncio.Queue[queue.Outcome | None] = field(default_factory=asyncio.Queue)
    created: asyncio.Event = field(default_factory=asyncio.Event)
    secrets: dict[UUID, asyncio.Lock] = field(default_factory=dict)
    secrets_made: dict[UUID, int] = field(default_factory=dict)
    batches: int = 0

    @property
    def name(self) -> str:
        return self.reached.cluster.name


class Submitter:
    """Submits the queues of clusters; one per process and event loop.

    Args:
        engine: The queue of record.
        settings: Lease, batch, concurrency, what workflows are told.
        clusters: Connections of this process.
        installation: Label of our objects.
        worker: Who claims, for people.
    """

    def __init__(self, engine: Engine, settings: Settings, clusters: Clusters, installation: str, worker: str) -> None:
        self._engine, self._settings, self._clusters = engine, settings, clusters
        self._installation, self._worker = installation, worker
        self._running: dict[int, bool] = {}
        self._unclear: dict[int, Counter[int]] = {}
        self._custody: dict[int, tuple[Connection, Custody]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._renderers: dict[tuple[UUID, int, int], Renderer] = {}
        self._keeping = Lock()  # claims of several clusters run in threads

    def start(self, cluster_id: int) -> None:
        """Run in a task of its own, so that a cluster that hangs takes no thread from the others. A run that cannot be begun (the
        database is away, the cluster's token cannot be opened) says why; a defect is logged, counted and survived. Housekeeping sends
        another wake-up."""
        task = asyncio.get_running_loop().create_task(self._survive(cluster_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drained(self) -> None:
        """Wait for the runs that were started; after `stop` that takes one request's time-out at most."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _survive(self, cluster_id: int) -> None:
        with surviving("submit", "nothing submitted", cluster=cluster_id):
            try:
                await self.run(cluster_id)
            except* NotFound as group:
                log.info("nothing submitted", reason=words(group))

    async def run(self, cluster_id: int) -> None:
        """Submit what is queued on a cluster until its queue or its slots are used up.

        A wake-up that finds a run of this process under way makes it go round once more; one that comes while the cluster is to be left
        alone does nothing, housekeeping sends another.

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
        """Claim and send nothing more; runs under way hand back their claims and end. May be called from any thread."""
        self._stopping = True

    async def _pass(self, cluster_id: int) -> None:
        reached = await self._clusters.reach(cluster_id)
        unclear = self._unclear.setdefault(cluster_id, Counter())
        breaker = Breaker(self._engine, cluster_id, reached.cluster.name, unclear)
        custody = self._custody_of(reached)
        try:
            await custody.look()
        except Held as error:
            await breaker.wait(str(error), DOWN)
            raise
        except (answers.ClusterDown, answers.Unclear) as error:
            await breaker.failed(f"cluster {error.health}: {error}")
            return
        except answers.Wait as error:
            await breaker.wait(f"the cluster asks to wait: {error}", min(error.retry_after or 1.0, _LONGEST_WAIT))
            return
        except answers.KubeError as error:
            await breaker.failed(f"its mark cannot be read: {error}")
            return
        run = _Run(reached, custody, breaker, asyncio.Queue(maxsize=self._settings.claim_batch))
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
        """Of this very connection: another one may lead elsewhere."""
        cluster_id, connection = reached.cluster.id, reached.connection
        known, custody = self._custody.get(cluster_id, (None, None))
        if custody is None or known is not connection:
            version = reached.cluster.credential_version
            custody = Custody(self._engine, connection, cluster_id, version, self._installation)
            self._custody[cluster_id] = connection, custody
        return custody

    async def _claim(self, run: _Run) -> None:
        """Claim ahead: the queue's size bounds how far, so that no claim waits long before it is used."""
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
            deadline = before + self._settings.claim_lease - _MARGIN
            for waiting in taken.jobs:
                QUEUED_SECONDS.labels(run.name).observe(waiting.waited)
                await run.claimed.put(Claimed(waiting, *made[waiting.uid], deadline, run.batches))
            if run.breaker.probe or not (taken.jobs or taken.rejected):
                return

    def _claim_batch(
        self, cluster: Cluster, custody: Custody
    ) -> tuple[claims.Claims, dict[UUID, tuple[Renderer, Rendered]]]:
        assert cluster.id is not None  # noqa: S101 -- it was read from the database
        with self._engine.begin() as database:
            if not custody.same(database):
                custody.doubt()
                return claims.Claims([]), {}
            made: dict[UUID, tuple[Renderer, Rendered]] = {}
            in_clear: dict[UUID, Renderer] = {}

            def render(waiting: claims.Waiting) -> claims.Rendering | str:
                try:
                    renderer = self._renderer(database, waiting.gid, cluster, in_clear)
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
                _TRAVEL * self._settings.request_timeout,
                render,
            )
            failpoint("submit.claiming")
            return claimed, made

    def _renderer(self, database: Database, gid: UUID, cluster: Cluster, in_clear: dict[UUID, Renderer]) -> Renderer:
        """A frame with a token in clear is kept for one claim only: a retry may bring a new one, and what was wiped is not to stay here."""
        if cluster.token_in_clear:
            if gid not in in_clear:
                in_clear[gid] = self._new_renderer(database, gid, cluster)
            return in_clear[gid]
        assert cluster.id is not None  # noqa: S101 -- it was read from the database
        key = (gid, cluster.id, cluster.credential_version)
        with self._keeping:
            found = self._renderers.pop(key, None)
        renderer = found or self._new_renderer(database, gid, cluster)
        with self._keeping:
            self._renderers[key] = renderer
            if len(self._renderers) > _RENDERERS:
                del self._renderers[next(iter(self._renderers))]
        return renderer

    def _new_renderer(self, database: Database, gid: UUID, cluster: Cluster) -> Renderer:
        return Renderer(self._frame(launches.frame(database, gid), cluster))

    def _frame(self, frame: launches.Frame, cluster: Cluster) -> LaunchFrame:
        return LaunchFrame(
            gid=frame.gid,
            project=frame.project,
            user=frame.user_id,
            algorithm_id=frame.algorithm_id,
            algorithm_name=frame.algorithm_name,
            manifest=frame.manifest,
            parameters=[(name, value) for name, value in frame.parameters],
            installation=self._installation,
            host=self._settings.host,
            rest_url=self._settings.rest_url,
            tus_url=self._settings.tus_url,
            service_account=cluster.service_account,
            finalizer=cluster.finalizer,
            token=self._token(frame.token_sealed) if cluster.token_in_clear else None,
        )

    def _token(self, sealed: bytes | None) -> str:
        if sealed is None:
            return ""
        if self._settings.token_private_key is None:
            raise NotConfigured("ARGOSY_TOKEN_PRIVATE_KEY is not set: launch tokens cannot be opened")
        return crypto.open_token(sealed, self._settings.token_private_key.get_secret_value())

    async def _creator(self, run: _Run) -> None:
        workflows = Workflows(run.reached.connection)
        async for job in _until_none(run.claimed):
            with SUBMIT_SECONDS.labels(run.name).time():
                outcome = await self._create(run, workflows, job)
            SUBMITTED.labels(run.name, type(outcome).__name__.lower()).inc()
            await run.outcomes.put(outcome)
            await self._judge(run, job, outcome)

    async def _judge(self, run: _Run, job: Claimed, outcome: queue.Outcome) -> None:
        """What an outcome says about the cluster."""
        match outcome:
            case queue.Created() | queue.Ended(asked=True):
                await run.breaker.answered()
            case queue.Unresolved(unclear=True):
                await run.breaker.doubted(job.waiting.project, outcome.reason)

    async def _create(self, run: _Run, workflows: Workflows, job: Claimed) -> queue.Outcome:
        """One try. The next one is another claim's, which looks at the row again: what the tracker has seen in the meantime, and what was
        then removed from the cluster, is never created a second time."""
        waiting, rendered = job.waiting, job.rendered
        body = rendered.terminated() if waiting.cancel_requested else rendered.body
        try:
            if job.renderer.uses_secret:
                await self._ensure_secret(run, job)
            failpoint("submit.sending")
            # The last check before the bytes leave: a claim that ran out is somebody else's by now.
            left = job.deadline - time.monotonic()
            if left < _MARGIN or run.breaker.hold is not None or self._stopping:
                return _back(job, run.breaker.why, run.breaker.hold or 0.0)
            metadata = await workflows.create(body, timeout=left)
            failpoint("submit.created")
            return queue.Created(*job.key(), rendered.name, rendered.digest, metadata["uid"])
        except answers.NameTaken as error:
            if error.name not in ("", rendered.name):
                return await self._refused(workflows, job, error)
            return await self._adopt(workflows, job)
        except answers.Unclear as error:
            return await self._doubt(run, job, error)
        except answers.Wait as error:
            seconds = min(error.retry_after or 1.0, _LONGEST_WAIT)
            await run.breaker.wait(f"the cluster asks to wait: {error}", seconds)
            return _back(job, run.breaker.why, seconds)
        except answers.ClusterDown as error:
            await run.breaker.failed(f"cluster {error.health}: {error}")
            return _back(job, run.breaker.why, DOWN)
        except Conflict as error:
            return _back(job, str(error), DOWN)
        except (answers.KubeError, SealBroken) as error:
            return await self._refused(workflows, job, error)

    async def _doubt(self, run: _Run, job: Claimed, error: answers.Unclear) -> queue.Outcome:
        """It may have been created, whoever answered and with whatever code. Where the answer says something about the whole cluster, that
        is left alone all the same."""
        if error.retry_after is not None:
            await run.breaker.wait(f"asked to wait: {error}", min(error.retry_after, _LONGEST_WAIT))
        elif error.health is not answers.Health.UNREACHABLE:
            await run.breaker.failed(f"cluster {error.health}: {error}")
        wait = min(2.0 ** min(job.waiting.tries, 4), _LONGEST_AGAIN)
        return queue.Unresolved(*job.key(), str(error), max(wait, run.breaker.hold or 0.0), unclear=True)

    async def _refused(self, workflows: Workflows, job: Claimed, error: ArgosyError) -> queue.Outcome:
        """No create of this can be accepted any more. One that was sent before, and never clearly answered, may have been."""
        waiting = job.waiting
        if waiting.stale:
            if waiting.tries < _TRIES and not isinstance(error, answers.NeverFits):
                return queue.Unresolved(*job.key(), str(error), DOWN)
            try:
                return self._found(await workflows.get(job.rendered.name), job)
            except answers.Missing:
                log.info("refused, and no earlier create of it arrived", workflow=job.rendered.name)
            except answers.KubeError as unread:
                return queue.Unresolved(*job.key(), f"{error}; and it cannot be read: {unread}", DOWN)
        # Where the launch's token cannot be opened, nothing was asked of the cluster.
        asked = isinstance(error, answers.KubeError)
        return queue.Ended(*job.key(), "rejected", f"the workflow cannot be created: {error}", asked)

    async def _adopt(self, workflows: Workflows, job: Claimed) -> queue.Outcome:
        """The name is taken: by this attempt's own workflow, whose answer was lost, or by a stranger."""
        try:
            return self._found(await workflows.get(job.rendered.name), job)
        except answers.Missing:
            return queue.Ended(
                *job.key(), "lost", "its workflow existed and was removed before anybody saw how it ended"
            )
        except answers.KubeError as error:
            return queue.Unresolved(*job.key(), f"the name is taken and cannot be read: {error}", DOWN)

    def _found(self, found: dict[str, Any], job: Claimed) -> queue.Outcome:
        """Whose it is, the labels tell (design §5.1). Its digest need not be this one: settings and renderer may have changed since."""
        labels = found["metadata"].get("labels") or {}
        wanted = {
            LABEL_INSTALLATION: self._installation,
            LABEL_UID: str(job.waiting.uid),
            LABEL_ATTEMPT: str(job.waiting.number),
        }
        if wanted.items() <= labels.items():
            uid = found["metadata"]["uid"]
            return queue.Created(*job.key(), job.rendered.name, job.rendered.digest, uid, answered=2)
        return queue.Ended(
            *job.key(),
            "rejected",
            f"the name {job.rendered.name} is taken by an object that is not this attempt's; remove it and retry",
        )

    async def _ensure_secret(self, run: _Run, job: Claimed) -> None:
        """The launch's token on this cluster, before its first workflow there; written down before it is made."""
        gid, cluster_id = job.waiting.gid, run.reached.cluster.id
        async with run.secrets.setdefault(gid, asyncio.Lock()):
            if run.secrets_made.get(gid, 0) >= job.batch:
                return
            batch = run.batches  # of which all claims are committed, so that their jobs keep what is found or made now
            sealed = await asyncio.to_thread(secrets.intend, self._engine, gid, cluster_id)
            failpoint("submit.securing")
            labels = {
                LABEL_INSTALLATION: self._installation,
                LABEL_GID: str(gid),
                LABEL_MANAGED_BY: MANAGED_BY,
            }
            data = {SECRET_KEY: self._token(sealed)}
            await Secrets(run.reached.connection).ensure(job.renderer.secret_name, labels, data)
            run.secrets_made[gid] = batch

    async def _record(self, run: _Run) -> None:
        """Record behind: whatever has come in since the last commit, and shortly after, goes into one transaction."""
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

    async def _record_surely(self, run: _Run, outcomes: list[queue.Outcome]) -> None:
        """Every record is compare-and-set, so one whose commit is unclear is made again; past the lease it is somebody else's."""
        until = time.monotonic() + self._settings.claim_lease
        while True:
            try:
                await asyncio.to_thread(self._record_batch, outcomes)
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

    def _record_batch(self, outcomes: list[queue.Outcome]) -> None:
        with self._engine.begin() as database:
            queue.record(database, outcomes)
            failpoint("submit.recording")


def _back(job: Claimed, reason: str, seconds: float) -> queue.Outcome:
    """Not now: to the queue where the create surely did not happen, else it stays `submitting`, to be resolved."""
    if job.waiting.stale:
        return queue.Unresolved(
            *job.key(), reason or "taken over from a worker that did not finish it", max(seconds, 1.0)
        )
    return queue.Returned(*job.key(), reason, seconds)


async def _until_none(source: asyncio.Queue[Claimed | None]) -> AsyncIterator[Claimed]:
    while (item := await source.get()) is not None:
        yield item
