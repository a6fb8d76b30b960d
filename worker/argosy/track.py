"""Stage 3: what happens to workflows on one cluster becomes rows, and nothing else does.

LIST, then WATCH from its version. The watch is doubted all the time: 70 s without a byte and it counts as dead, a version that is too old
or ahead means a new list, and versions are never compared by size (faults.md §2, rows 8, 9, 10). Absence counts only after a complete
list, and only for workflows that were recorded before its first page was asked for: a page that fails, or a create that is recorded
meanwhile, loses no job (row 12). Each transaction begins with the fence of the cluster's lease.

What a sighting means is decided by `decide`, a pure function of the attempt's row and the object. What must then be done on the cluster
(terminate, take the finalizer off) is a debt, worked off until it is confirmed; a new list finds the same debts again.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy.kube import answers, status
from argosy.kube.connection import Connection
from argosy.kube.status import Sighting
from argosy.kube.workflows import Workflows
from argosy.metrics import CLUSTER_UP, STRANGERS, UNREADABLE, WATCH_LAG, WATCH_LAST
from argosy.states import FINAL, TRANSITIONS, State, observed
from argosy.store import leases, tracking

FLUSH = 0.2
"""Seconds for which changes are collected into one transaction."""

_CONTACT = 2.0
"""Seconds between two notes of the last contact, and between two tries at the debts."""

_BACK_OFF = (1.0, 15.0)
"""Seconds between two tries to reach a cluster: first and longest."""

_TERMINATES = 16
"""Debts worked off at once."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What a sighting of a workflow asks for.

    `change` is written to its attempt, with its nodes where `nodes` says so. `terminate` and `release` (our finalizer) are to be done
    on the cluster. `stranger` raises the alarm metric.
    """

    change: tracking.Change | None = None
    nodes: bool = False
    terminate: bool = False
    release: bool = False
    stranger: bool = False


def decide(known: tracking.Known | None, seen: Sighting, cluster_id: int) -> Verdict:
    """What a sighting means for the attempt that its labels name. Pure.

    Args:
        known: The attempt's row; None where there is none.
        seen: The workflow.
        cluster_id: Where it was seen.
    """
    alive = not (seen.finished or seen.gone)
    ours = known is not None and known.cluster_id == cluster_id and _same(known, seen)
    if known is None or not ours:
        if known is not None and known.state is State.QUEUED and known.k8s_uid is None and known.name == seen.name:
            return Verdict()  # its create is about to be resolved by the taken name
        return Verdict(terminate=alive and not seen.shutdown, release=_held_for_nothing(seen), stranger=alive)
    target = _target(known, seen)
    may = target is not None and (target in TRANSITIONS[known.state]) and (known.newest or known.state not in FINAL)
    state = target if may and target is not None else known.state
    wanted = known.newest and not known.cancel_requested and state not in FINAL
    return Verdict(
        change=_change(known, seen, state),
        nodes=state == target or known.state not in FINAL,
        terminate=alive and not wanted and not seen.shutdown,
        release=seen.held and not seen.gone and state in FINAL and (seen.finished or seen.deleting),
        stranger=alive and known.state in FINAL and state in FINAL and not seen.deleting and not seen.shutdown,
    )


def _same(known: tracking.Known, seen: Sighting) -> bool:
    """The recorded object, or the one that a claim was about to record."""
    if known.k8s_uid is not None:
        return known.k8s_uid == seen.k8s_uid
    return known.state is State.SUBMITTING and known.name == seen.name


def _held_for_nothing(seen: Sighting) -> bool:
    return seen.held and not seen.gone and (seen.finished or seen.deleting)


def _target(known: tracking.Known, seen: Sighting) -> State | None:
    """The state that the object's own state asks for. A deletion comes before the phase: a deleted workflow may say Running for ever."""
    if (seen.gone or seen.deleting) and not seen.finished:
        return State.CANCELLED if known.cancel_requested else State.DELETED
    return observed(seen.phase, known.cancel_requested)


def _change(known: tracking.Known, seen: Sighting, state: State) -> tracking.Change | None:
    message = seen.message or seen.note
    if state is State.DELETED:
        message = "its workflow was deleted on the cluster" + (f" ({message})" if message else "")
    if known.state in FINAL and state == known.state:
        return None
    if (state, seen.k8s_uid, message, seen.progress) == (known.state, known.k8s_uid, known.message, known.progress):
        return None
    return tracking.Change(
        known.uid, known.number, state, seen.k8s_uid, message, seen.progress, seen.started_at, seen.finished_at
    )


@dataclass(frozen=True)
class Tracked:
    """Which cluster, under which lease."""

    cluster_id: int
    name: str
    lease: str
    epoch: int


@dataclass(frozen=True)
class _Debt:
    seen: Sighting
    terminate: bool
    release: bool


class ClusterTracker:
    """Tracks one cluster for as long as its lease is held.

    Args:
        engine: Where the rows are.
        connection: The cluster.
        tracked: Its identity and lease.
        selector: Label selector of this installation's workflows.
        on_slots: Called with the cluster's id after jobs there have ended.
    """

    def __init__(
        self, engine: Engine, connection: Connection, tracked: Tracked, selector: str, on_slots: Callable[[int], None]
    ) -> None:
        self._engine, self._tracked, self._selector, self._on_slots = engine, tracked, selector, on_slots
        self._workflows = Workflows(connection)
        self._version = ""
        self._buffer: dict[str, tuple[Sighting, float]] = {}
        self._arrived = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._written: dict[str, dict[str, int]] = {}
        self._debts: dict[str, _Debt] = {}
        self._contact = 0.0
        self._up = False

    async def run(self) -> None:
        """Follow the cluster until cancelled.

        Raises:
            Fenced: Another tracker has taken it over.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._write())
                tasks.create_task(self._keep())
        finally:
            CLUSTER_UP.labels(self._tracked.name).set(0)

    async def _follow(self) -> None:
        back_off = _BACK_OFF[0]
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                back_off = _BACK_OFF[0]
            except (answers.Expired, answers.FutureVersion) as error:
                log.info("listing anew", cluster=self._tracked.name, reason=str(error))
                self._version = ""
            except answers.Wait as error:
                log.info("the cluster asks to wait", cluster=self._tracked.name, reason=str(error))
                await asyncio.sleep(error.retry_after or back_off)
            except answers.KubeError as error:
                await self._down(error)
                await asyncio.sleep(back_off)
                back_off = min(back_off * 2, _BACK_OFF[1])

    async def _list(self) -> None:
        expected = await asyncio.to_thread(self._expected)
        seen: set[str] = set()
        page = await self._workflows.page(self._selector)
        version = page.resource_version
        while True:
            for workflow in page.items:
                seen.add(workflow["metadata"]["uid"])
                self._notice(workflow, gone=False)
            if not page.continue_:
                break
            page = await self._workflows.page(self._selector, page.continue_)
        await self._flush()
        missing = [row for row in expected if row.k8s_uid not in seen]
        if missing:
            await asyncio.to_thread(self._absent, missing)
            self._on_slots(self._tracked.cluster_id)
        self._version = version
        await self._heard()

    async def _watch(self) -> None:
        """Follow until the stream ends. One that ends without a word leaves no version behind, so a list follows: a version from
        before an etcd restore is not refused, the apiserver is just silent until it comes to pass again."""
        resumed, self._version = self._version, ""
        async with self._workflows.watch(self._selector, resumed) as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    self._notice(event.object, gone=event.type == "DELETED")
                self._version = event.object["metadata"]["resourceVersion"]
                self._contact = time.monotonic()

    def _notice(self, workflow: status.Object, gone: bool) -> None:
        try:
            sighting = status.read(workflow, gone)
        except status.Unreadable as error:
            UNREADABLE.labels(self._tracked.name).inc()
            log.error("workflow not readable", cluster=self._tracked.name, reason=str(error))
            return
        self._buffer[sighting.k8s_uid] = (sighting, time.monotonic())
        self._arrived.set()

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(FLUSH)
            try:
                await self._flush()
            except OperationalError as error:
                log.warning("database away, changes are kept", cluster=self._tracked.name, reason=str(error.orig))
                await asyncio.sleep(1)

    async def _flush(self) -> None:
        """Write what was noticed; what cannot be written now stays in the buffer unless something newer has come."""
        async with self._flushing:
            self._arrived.clear()
            taken, self._buffer = self._buffer, {}
            try:
                verdicts = await asyncio.to_thread(self._commit, [seen for seen, _ in taken.values()])
            except BaseException:
                self._buffer = taken | self._buffer
                self._arrived.set()
                raise
            now = time.monotonic()
            for _, at in taken.values():
                WATCH_LAG.labels(self._tracked.name).observe(now - at)
        ended = False
        for seen, verdict in verdicts:
            ended |= verdict.change is not None and verdict.change.state in FINAL
            if verdict.stranger:
                STRANGERS.labels(self._tracked.name).inc()
                log.error(
                    "stranger under our labels", cluster=self._tracked.name, workflow=seen.name, k8s_uid=seen.k8s_uid
                )
            if verdict.terminate or verdict.release:
                self._debts[seen.k8s_uid] = _Debt(seen, verdict.terminate, verdict.release)
        if ended:
            self._on_slots(self._tracked.cluster_id)
        await self._pay()

    def _commit(self, sightings: list[Sighting]) -> list[tuple[Sighting, Verdict]]:
        try:
            return self._commit_all(sightings)
        except OperationalError:
            raise
        except DBAPIError:
            if len(sightings) == 1:
                UNREADABLE.labels(self._tracked.name).inc()
                log.exception("workflow not writable", cluster=self._tracked.name, workflow=sightings[0].name)
                return []
            half = len(sightings) // 2
            return self._commit(sightings[:half]) + self._commit(sightings[half:])

    def _commit_all(self, sightings: list[Sighting]) -> list[tuple[Sighting, Verdict]]:
        verdicts: list[tuple[Sighting, Verdict]] = []
        changes: list[tracking.Change] = []
        nodes: list[tracking.NodeRow] = []
        written: dict[str, dict[str, int]] = {}
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            keys = [(seen.uid, seen.attempt) for seen in sightings if seen.uid and seen.attempt]
            rows = tracking.known(database, keys)
            for seen in sightings:
                row = rows.get((seen.uid, seen.attempt)) if seen.uid and seen.attempt else None
                verdict = decide(row, seen, self._tracked.cluster_id)
                verdicts.append((seen, verdict))
                if verdict.change is not None:
                    changes.append(verdict.change)
                if verdict.nodes and row is not None:
                    written[seen.k8s_uid] = self._changed_nodes(row, seen, nodes)
            tracking.change(database, changes)
            tracking.write_nodes(database, nodes)
        self._written.update(written)
        for seen, verdict in verdicts:
            if verdict.change is not None and verdict.change.state in FINAL:
                self._written.pop(seen.k8s_uid, None)
        return verdicts

    def _changed_nodes(self, row: tracking.Known, seen: Sighting, out: list[tracking.NodeRow]) -> dict[str, int]:
        """Append the nodes that this tracker has not written in this state before; the fingerprints of all."""
        before = self._written.get(seen.k8s_uid, {})
        after = dict(before)
        for node in seen.nodes or ():
            after[node.node_id] = hash(node)
            if before.get(node.node_id) != after[node.node_id]:
                out.append(tracking.NodeRow(row.uid, row.number, **vars(node)))
        return after

    async def _keep(self) -> None:
        """Every two seconds: note the contact, find what is to be cancelled, and work off the debts."""
        while True:
            await asyncio.sleep(_CONTACT)
            try:
                cancelling = await asyncio.to_thread(self._note_contact)
            except OperationalError as error:
                log.warning("database away", cluster=self._tracked.name, reason=str(error.orig))
                continue
            if self._up:
                await asyncio.gather(*(self._terminate(name, k8s_uid) for name, k8s_uid in cancelling[:_TERMINATES]))
                await self._pay()

    async def _pay(self) -> None:
        due = list(self._debts.items())[:_TERMINATES]
        while due and self._up:
            paid = await asyncio.gather(*(self._pay_one(debt) for _, debt in due))
            for (k8s_uid, debt), left in zip(due, paid, strict=True):
                if self._debts.get(k8s_uid) is debt:
                    if left is None:
                        del self._debts[k8s_uid]
                    else:
                        self._debts[k8s_uid] = left
            if any(paid):
                return
            due = list(self._debts.items())[:_TERMINATES]

    async def _pay_one(self, debt: _Debt) -> _Debt | None:
        """Do what is owed on one workflow; what is left of it."""
        if debt.terminate and not await self._terminate(debt.seen.name, debt.seen.k8s_uid):
            return debt
        if debt.release:
            try:
                await self._workflows.release(debt.seen.name, debt.seen.k8s_uid, list(debt.seen.finalizers))
            except (answers.Missing, answers.OtherObject):
                return None
            except answers.KubeError as error:
                log.warning("finalizer not removed yet", workflow=debt.seen.name, reason=str(error))
                return replace(debt, terminate=False)
        return None

    async def _terminate(self, name: str, k8s_uid: str) -> bool:
        try:
            await self._workflows.terminate(name, k8s_uid)
        except (answers.Missing, answers.OtherObject):
            return True
        except answers.KubeError as error:
            log.warning("workflow not terminated yet", workflow=name, reason=str(error))
            return False
        return True

    async def _heard(self) -> None:
        self._contact = time.monotonic()
        if not self._up:
            self._up = True
            log.info("cluster is up", cluster=self._tracked.name)
            await asyncio.to_thread(self._note_contact)

    async def _down(self, error: answers.KubeError) -> None:
        health = error.health if isinstance(error, answers.ClusterDown) else answers.Health.UNREACHABLE
        if self._up or not self._contact:
            log.warning("cluster is down", cluster=self._tracked.name, health=str(health), reason=str(error))
        self._up = False
        CLUSTER_UP.labels(self._tracked.name).set(0)
        await asyncio.to_thread(self._note_health, str(health), str(error))

    def _expected(self) -> list[tracking.Expected]:
        with self._engine.begin() as database:
            return tracking.expected(database, self._tracked.cluster_id)

    def _absent(self, missing: list[tracking.Expected]) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.absent(database, missing)
        log.warning("workflows are gone from the cluster", cluster=self._tracked.name, count=len(missing))

    def _note_health(self, health: str, message: str) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.health(database, self._tracked.cluster_id, health, message)

    def _note_contact(self) -> list[tuple[str, str]]:
        if not self._up:
            return []
        ago = time.monotonic() - self._contact
        CLUSTER_UP.labels(self._tracked.name).set(1)
        WATCH_LAST.labels(self._tracked.name).set(time.time() - ago)
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.contact(database, self._tracked.cluster_id, ago)
            return tracking.cancelling(database, self._tracked.cluster_id)
