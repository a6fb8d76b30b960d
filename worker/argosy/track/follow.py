"""Stage 3: what happens to workflows on one cluster becomes rows, and nothing else does.

LIST, then WATCH from its version. The watch is doubted all the time: 70 s without a byte and it counts as dead, a version that is too old
or ahead means a new list, and versions are never compared by size (faults.md §2, rows 8, 9, 10). Absence counts only after a complete
list, and only for workflows that were recorded before its first page was asked for: a page that fails, or a create that is recorded
meanwhile, loses no job (row 12). Each transaction begins with the fence of the cluster's lease.

What a sighting means is decided in verdicts.py; what must then be done on the cluster (terminate, take the finalizer off) is a debt
(debts.py). A watch that broke is never taken up at its old version: the apiserver may have come back with an older etcd, to which that
version lies in the future, and would be silent for as long (row 10). A task that ends, for whatever reason, ends the tracker of this
cluster, and readiness fails until it runs again (row 23).
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from argosy.errors import ArgosyError, Fenced
from argosy.failpoints import failpoint
from argosy.kube import answers, status
from argosy.kube.connection import Connection
from argosy.kube.status import Sighting
from argosy.kube.workflows import SILENCE, Workflows
from argosy.metrics import CLUSTER_UP, MARK_AGE, STRANGERS, UNREADABLE, WATCH_LAG, WATCH_LAST
from argosy.recovery.custody import BEAT, Custody, Finding
from argosy.states import FINAL, State
from argosy.store import holds, leases, pacing, queue, strays, tracking
from argosy.track.debts import Debts
from argosy.track.verdicts import Verdict, decide

FLUSH = 0.2
"""Seconds for which changes are collected into one transaction."""

_LISTED = 10_000
"""Nodes that a list may leave in memory before they are written, however large the cluster."""

_CONTACT = 2.0
"""Seconds between two notes of the last contact, and between two looks for jobs that are to be cancelled."""

_BACK_OFF = (1.0, 15.0)
"""Seconds between two tries to reach a cluster: first and longest."""

_LASTED = 5.0
"""Seconds; a watch that ended sooner is followed by a pause before the next."""

_READING = 16
"""Workflows read at the same time."""

_LONGEST_WAIT = 60.0
"""Seconds that a cluster may ask to be left alone before it is tried again all the same."""

PULSE = SILENCE + 20.0
"""Seconds without a sign of life after which following a cluster counts as dead: the silence limit, and a request's time-out and more."""

log = structlog.stdlib.get_logger(__name__)


class Resumed(ArgosyError):
    """What was seen is to be looked at anew: the cluster was held and is not any more, or the database is another."""


@dataclass(frozen=True)
class Tracked:
    """Which cluster, under which lease."""

    cluster_id: int
    name: str
    lease: str
    epoch: int


class ClusterTracker:
    """Tracks one cluster for as long as its lease is held.

    Args:
        engine: Where the rows are.
        connection: The cluster.
        tracked: Its identity and lease.
        selector: Label selector of this installation's workflows.
        custody: The cluster's mark.
        release_after: Seconds that an ended workflow stays there after its end was committed.
        on_slots: Called with the cluster's id after jobs there have ended.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        tracked: Tracked,
        selector: str,
        custody: Custody,
        release_after: float,
        on_slots: Callable[[int], None],
    ) -> None:
        self._engine, self._tracked, self._selector, self._on_slots = engine, tracked, selector, on_slots
        self._custody, self._release_after = custody, release_after
        self._workflows = Workflows(connection)
        self._version = ""
        self._buffer: dict[str, tuple[Sighting, float]] = {}
        self._arrived = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._written: dict[str, array[int]] = {}
        self._debts = Debts(self._workflows, tracked.name, lambda: self._up)
        self._later: dict[str, tuple[Sighting, float]] = {}
        self._again: dict[str, Sighting] = {}
        self._strangers: set[str] = set()
        self._unknown: set[str] = set()
        self._missing = 0
        self._finding = Finding()
        self._server = ""
        self._held = ""
        self._whole = False
        self._kept = 0.0
        self._contact = 0.0
        self._pulse = time.monotonic()
        self._up = False

    async def run(self) -> None:
        """Follow the cluster until cancelled, or until what was seen is to be looked at anew.

        Raises:
            Fenced: Another tracker has taken it over.
            RuntimeError: A part of it ended that never may.
        """
        parts = {
            "follow": self._follow(),
            "write": self._write(),
            "keep": self._keep(),
            "resolve": self._resolve(),
            "debts": self._debts.run(),
        }
        tasks = [asyncio.create_task(part, name=f"{name}/{self._tracked.name}") for name, part in parts.items()]
        try:
            # Not a TaskGroup: that would not mind if one of its tasks were cancelled, and the cluster would look followed for ever.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            _raise(done.pop())
        except Resumed as error:
            log.info("following the cluster anew", cluster=self._tracked.name, reason=str(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            CLUSTER_UP.labels(self._tracked.name).set(0)

    def silent_for(self) -> float:
        """Seconds since following the cluster last showed a sign of life; more than `PULSE` means that it is dead, whatever it seems."""
        return time.monotonic() - self._pulse

    async def _follow(self) -> None:
        """List and watch, again and again. A watch that lasted is followed by the next round at once; where every watch is refused as too
        old, or closed at once, the cluster would list all its workflows without a pause."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            watching = self._pulse = time.monotonic()
            pause = min(max(pause * 2, _BACK_OFF[0]), _BACK_OFF[1])
            try:
                if not self._version:
                    await self._list()
                watching = time.monotonic()
                await self._watch()
            except (answers.Expired, answers.FutureVersion) as error:
                log.info("listing anew", cluster=self._tracked.name, reason=str(error))
                self._version = ""
            except answers.Wait as error:
                log.info("the cluster asks to wait", cluster=self._tracked.name, reason=str(error))
                pause = min(error.retry_after or pause, _LONGEST_WAIT)
                continue
            except answers.KubeError as error:
                self._version = ""
                await self._down(error)
            except OperationalError as error:
                log.warning("database away, listing anew", cluster=self._tracked.name, reason=str(error.orig))
                self._version = ""
            if time.monotonic() - watching > _LASTED:
                pause = 0.0

    async def _list(self) -> None:
        await self._beat()
        expected = await asyncio.to_thread(self._expected)
        seen: set[str] = set()
        unwritten = 0
        page = await self._workflows.page(self._selector)
        version = page.resource_version
        while True:
            self._pulse = time.monotonic()
            for workflow in page.items:
                sighting = self._notice(workflow, gone=False)
                if sighting is not None:
                    seen.add(sighting.k8s_uid)
                    unwritten += len(sighting.nodes or ())
                await asyncio.sleep(0)  # or leases would not be renewed while a page of large ones is read
                if unwritten > _LISTED:
                    await self._flush()
                    unwritten = 0
            page.items.clear()
            if not page.continue_:
                break
            page = await self._workflows.page(self._selector, page.continue_)
        failpoint("track.listed")
        await self._flush()
        self._strangers &= seen
        self._written = {uid: nodes for uid, nodes in self._written.items() if uid in seen}
        self._unknown &= seen
        await asyncio.to_thread(self._keep_strays)
        missing = [row for row in expected if row.k8s_uid not in seen]
        self._missing, self._whole = len(missing), True
        if missing and not self._held:
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
                self._version = event.version
                self._contact = self._pulse = time.monotonic()

    def _notice(self, workflow: status.Object, gone: bool) -> Sighting | None:
        """Have it written soon; None where it cannot be read."""
        try:
            sighting = status.read(workflow, gone)
        except status.Unreadable as error:
            UNREADABLE.labels(self._tracked.name).inc()
            log.error("workflow not readable", cluster=self._tracked.name, reason=str(error))
            return None
        self._put(sighting, time.monotonic())
        return sighting

    def _put(self, seen: Sighting, at: float) -> None:
        """Into the buffer, in the place of what was seen before. What is older and not written yet says how old its row is."""
        _, before = self._buffer.get(seen.k8s_uid, (seen, at))
        self._buffer[seen.k8s_uid] = (seen, min(at, before))
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
                written = await asyncio.to_thread(self._commit, list(taken.values()))
            except BaseException:
                self._put_back(taken)
                raise
            now = time.monotonic()
            for seen, _ in written:
                WATCH_LAG.labels(self._tracked.name).observe(now - taken.pop(seen.k8s_uid)[1])
            self._put_back(taken)
        ended = False
        for seen, verdict in written:
            ended |= verdict.change is not None and verdict.change.state in FINAL
            self._follow_up(seen, verdict)
        if ended:
            self._on_slots(self._tracked.cluster_id)

    def _put_back(self, taken: dict[str, tuple[Sighting, float]]) -> None:
        for seen, at in taken.values():
            newer, _ = self._buffer.get(seen.k8s_uid, (seen, at))
            self._put(newer, at)

    def _follow_up(self, seen: Sighting, verdict: Verdict) -> None:
        """What is to be done because of a sighting, now that its row is written. While the cluster is held that is nothing but to look
        again: the row may be older than what was seen."""
        self._unknown.discard(seen.k8s_uid)
        if verdict.unknown and not seen.gone:
            self._unknown.add(seen.k8s_uid)
        if verdict.stranger and seen.k8s_uid not in self._strangers:
            self._strangers.add(seen.k8s_uid)
            STRANGERS.labels(self._tracked.name).inc()
            log.error(
                "workflow that no job knows" if verdict.unknown else "stranger under our labels",
                cluster=self._tracked.name,
                workflow=seen.name,
                k8s_uid=seen.k8s_uid,
                uid=str(seen.uid),
                attempt=seen.attempt,
            )
        self._again.pop(seen.k8s_uid, None)
        if verdict.again or (self._held and verdict.unknown and not seen.gone):
            self._again[seen.k8s_uid] = seen
        if self._held:
            return
        later = verdict.later or self._release_after > 0
        if verdict.release and later and seen.k8s_uid not in self._later:
            self._later[seen.k8s_uid] = seen, time.monotonic() + self._release_after
        release = verdict.release and not later
        if verdict.terminate or release:
            finalizers = seen.finalizers if release else None
            self._debts.owe(
                seen.name,
                seen.k8s_uid,
                terminate=verdict.terminate,
                finalizers=finalizers,
                version=seen.version,
                why=verdict.ended or "",
            )

    def _commit(self, sightings: list[tuple[Sighting, float]]) -> list[tuple[Sighting, Verdict]]:
        """Those that were written, and what they mean. Left out are those whose rows somebody else holds."""
        try:
            return self._commit_all(sightings)
        except (OperationalError, Fenced):
            raise
        except Exception:
            # Whatever is wrong with one of them must not keep how the others ended from being written.
            if len(sightings) == 1:
                log.exception("workflow not writable", cluster=self._tracked.name, workflow=sightings[0][0].name)
                return self._commit_without_nodes(*sightings[0])
        half = len(sightings) // 2
        return self._commit(sightings[:half]) + self._commit(sightings[half:])

    def _commit_without_nodes(self, seen: Sighting, at: float) -> list[tuple[Sighting, Verdict]]:
        """What cannot be written of one workflow hurts that one only, and there its nodes rather than how it ended."""
        UNREADABLE.labels(self._tracked.name).inc()
        if seen.nodes is None:
            return [(seen, Verdict())]
        bare = replace(seen, nodes=None, note="nodes: not readable (the database refuses them)")
        return [(seen, verdict) for _, verdict in self._commit([(bare, at)])]

    def _commit_all(self, sightings: list[tuple[Sighting, float]]) -> list[tuple[Sighting, Verdict]]:
        verdicts: list[tuple[Sighting, Verdict]] = []
        changes: list[tracking.Change] = []
        nodes: list[tracking.NodeRow] = []
        adopted: list[tuple[UUID, int]] = []
        written: dict[str, array[int]] = {}
        unknown: list[strays.Stray] = []
        settled: list[str] = []
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            rows, busy = tracking.known(
                database, [key for seen, _ in sightings if (key := _key(seen)) is not None], self._tracked.cluster_id
            )
            unwanted = strays.unwanted(
                database,
                [(*key, seen.gid) for seen, _ in sightings if (key := _key(seen)) is not None and key not in rows],
            )
            now = time.monotonic()
            for seen, at in sightings:
                key = _key(seen)
                if key in busy:
                    continue
                row = rows.get(key) if key is not None else None
                verdict = decide(row, seen, self._tracked.cluster_id, key in unwanted)
                verdicts.append((seen, verdict))
                if verdict.unknown and key is not None and not seen.gone and seen.k8s_uid not in self._unknown:
                    unknown.append(strays.Stray(seen.k8s_uid, *key, seen.gid, seen.name))
                elif seen.k8s_uid in self._unknown and (seen.gone or not verdict.unknown):
                    settled.append(seen.k8s_uid)
                if verdict.change is not None:
                    changes.append(replace(verdict.change, ago=now - at))
                    if row is not None and row.state is State.QUEUED:
                        adopted.append((row.uid, row.number))
                if verdict.nodes and row is not None:
                    written[seen.k8s_uid] = self._changed_nodes(row, seen, nodes)
            strays.forget(database, self._tracked.cluster_id, settled)
            strays.note(database, self._tracked.cluster_id, unknown)
            tracking.deadlines(database, adopted, self._tracked.cluster_id)
            tracking.change(database, changes)
            tracking.write_nodes(database, nodes)
            failpoint("track.writing")
        failpoint("track.written")
        self._written.update(written)
        for seen, verdict in verdicts:
            if verdict.change is not None and verdict.change.state in FINAL:
                self._written.pop(seen.k8s_uid, None)
        return verdicts

    def _changed_nodes(self, row: tracking.Known, seen: Sighting, out: list[tracking.NodeRow]) -> "array[int]":
        """Append the nodes that this tracker has not written as they are; the fingerprints of all, a word each for thousands of them."""
        known = self._written.get(seen.k8s_uid, array("q"))
        if seen.nodes is None:
            return known
        before, after = frozenset(known), array("q", map(hash, seen.nodes))
        for node, fingerprint in zip(seen.nodes, after, strict=True):
            if fingerprint not in before:
                out.append(tracking.NodeRow(row.uid, row.number, **node._asdict()))
        return after

    async def _keep(self) -> None:
        """Every two seconds: note the contact, resize the window, find what is to be ended, and whose name need not be taken any longer.

        Raises:
            Resumed: The cluster is held, or not any more, or another database server answers.
        """
        while True:
            await asyncio.sleep(_CONTACT)
            for seen in self._again.values():
                self._buffer.setdefault(seen.k8s_uid, (seen, time.monotonic()))
                self._arrived.set()
            try:
                await self._keep_mark()
                await self._note_contact()
                if self._held:
                    continue
                await self._end_late()
                ending = await asyncio.to_thread(self._ending)
                quiet = await asyncio.to_thread(self._quiet)
            except OperationalError as error:
                log.warning("database away", cluster=self._tracked.name, reason=str(error.orig))
                continue
            if self._up:
                self._debts.end(ending)
            for seen in quiet:
                self._debts.owe(seen.name, seen.k8s_uid, finalizers=seen.finalizers, version=seen.version)
                self._later.pop(seen.k8s_uid, None)

    async def _beat(self) -> None:
        """The next epoch of the mark, or why the cluster is held.

        Raises:
            Resumed: It is held since a moment ago, and a look from before does not count.
            KubeError: The cluster does not answer, or is another place.
        """
        self._finding = await self._custody.keep(self._tracked.lease, self._tracked.epoch)
        self._kept = time.monotonic()
        held, self._held = self._held, self._finding.why
        if self._held and self._held != held:
            log.error("cluster is held", cluster=self._tracked.name, reason=self._held)
        if self._held and not held and self._whole:
            raise Resumed(f"cluster {self._tracked.name!r} is held")

    async def _keep_mark(self) -> None:
        """Write the mark every few seconds; let the cluster go on where the evidence is complete and nothing is left to decide."""
        was = self._held
        if self._up and time.monotonic() - self._kept > BEAT:
            try:
                await self._beat()
            except answers.KubeError as error:
                if isinstance(error, answers.ClusterDown) and error.health is answers.Health.MISPLACED:
                    raise
                late = time.monotonic() - self._kept > 3 * BEAT
                tell = log.warning if late else log.info
                tell(
                    "mark not written: a restored database would not be seen",
                    cluster=self._tracked.name,
                    reason=str(error),
                )
            MARK_AGE.labels(self._tracked.name).set(time.monotonic() - self._kept)
        if was and (not self._held or await self._settled()):
            raise Resumed(f"cluster {self._tracked.name!r} is no longer held")

    async def _settled(self) -> bool:
        """After a fail-over that lost no more than the last moments: what ended since is still on the cluster, and all of it was read."""
        narrow = self._finding.lost is not None and self._finding.lost <= self._release_after
        if not (narrow and self._whole and not self._missing and not self._buffer):
            return False
        if await asyncio.to_thread(self._strayed):
            return False
        await self._custody.accept((self._tracked.lease, self._tracked.epoch))
        log.warning(
            "the database may have lost its last commits; nothing of them is missing here", cluster=self._tracked.name
        )
        return True

    async def _end_late(self) -> None:
        """Note whose deadline has passed. What the rows know may be as old as the silence of a watch: the workflows themselves are read
        first, or one that began in time would be ended for not having begun."""
        if not self._up or not (late := await asyncio.to_thread(self._late)):
            return
        read, _ = await self._read(late)
        await self._flush()
        # What was read is not written where somebody holds the row.
        read = [workflow for workflow in read if workflow.k8s_uid not in self._buffer]
        if ended := await asyncio.to_thread(self._overdue, read):
            log.warning("deadlines have passed", cluster=self._tracked.name, count=ended)

    async def _read(
        self, workflows: Sequence[tracking.Workflow]
    ) -> tuple[list[tracking.Workflow], list[tracking.Workflow]]:
        """Read workflows one by one and have what is seen written. Those that were there, and those that surely are not."""
        there: list[tracking.Workflow] = []
        missing: list[tracking.Workflow] = []
        waiting = iter(workflows)

        async def reader() -> None:
            for workflow in waiting:
                try:
                    if self._notice(await self._workflows.get(workflow.name), gone=False) is not None:
                        there.append(workflow)
                except answers.Missing:
                    missing.append(workflow)
                except answers.KubeError as error:
                    log.info(
                        "workflow not read yet", cluster=self._tracked.name, workflow=workflow.name, reason=str(error)
                    )
                    if isinstance(error, answers.ClusterDown | answers.Wait):
                        return

        await asyncio.gather(*(reader() for _ in range(_READING)))
        return there, missing

    async def _resolve(self) -> None:
        """Every two seconds: read what nobody will tell of again, and give back to the queue what is surely not on the cluster, where a
        pause keeps the workers from finding out. Who waits for a paused cluster to be empty would wait for ever."""
        while True:
            await asyncio.sleep(_CONTACT)
            if not self._up:
                continue
            try:
                await self._read_once()
                await self._read_unwanted()
                if self._held:
                    continue
                for claim in await asyncio.to_thread(self._unresolved):
                    if await self._surely_absent(claim.name):
                        await asyncio.to_thread(self._return, claim)
            except (answers.ClusterDown, answers.Wait) as error:
                log.info("unclear creates stay unclear", cluster=self._tracked.name, reason=str(error))
            except OperationalError as error:
                log.warning("database away", cluster=self._tracked.name, reason=str(error.orig))

    async def _read_once(self) -> None:
        """Read what was adopted, or ended without being seen: its events may have come before its row knew of it, and come no more."""
        if not (unread := await asyncio.to_thread(self._unread)):
            return
        there, missing = await self._read(unread)
        await self._flush()
        gone = [tracking.Expected(it.uid, it.number, it.k8s_uid) for it in missing if it.k8s_uid and not self._held]
        await asyncio.to_thread(self._settle, there + missing, gone)

    async def _read_unwanted(self) -> None:
        """Read what no row knew when it was seen, and what nobody wants any more since."""
        if not (found := await asyncio.to_thread(self._unwanted_strays)):
            return
        there, missing = await self._read([tracking.Workflow(it.uid, it.number, it.name, it.k8s_uid) for it in found])
        await self._flush()
        await asyncio.to_thread(self._forget_strays, [it.k8s_uid for it in there + missing if it.k8s_uid])

    async def _surely_absent(self, name: str) -> bool:
        """Whether there is no workflow of this name; one that cannot be read holds up no other."""
        try:
            await self._workflows.get(name)
        except answers.Missing:
            return True
        except (answers.ClusterDown, answers.Wait):
            raise
        except answers.KubeError as error:
            log.info("unclear create stays unclear", cluster=self._tracked.name, workflow=name, reason=str(error))
        return False

    async def _heard(self) -> None:
        self._contact = time.monotonic()
        if not self._up:
            self._up = True
            log.info("cluster is up", cluster=self._tracked.name)
            await self._note_contact()

    async def _down(self, error: answers.KubeError) -> None:
        health = (
            error.health if isinstance(error, answers.ClusterDown | answers.Unclear) else answers.Health.UNREACHABLE
        )
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

    def _unread(self) -> list[tracking.Workflow]:
        with self._engine.begin() as database:
            return tracking.unread(database, self._tracked.cluster_id)

    def _settle(self, read: list[tracking.Workflow], gone: list[tracking.Expected]) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.absent(database, gone)
            tracking.read(database, read)

    def _late(self) -> list[tracking.Workflow]:
        with self._engine.begin() as database:
            return tracking.late(database, self._tracked.cluster_id)

    def _overdue(self, read: list[tracking.Workflow]) -> int:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            return tracking.overdue(database, self._tracked.cluster_id, read)

    def _unresolved(self) -> list[tracking.Unresolved]:
        with self._engine.begin() as database:
            return tracking.unresolved(database, self._tracked.cluster_id)

    def _return(self, claim: tracking.Unresolved) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            queue.record(
                database, [queue.Returned(claim.uid, claim.number, claim.epoch, "its create never arrived", 0.0)]
            )
        log.info("unclear create never arrived", cluster=self._tracked.name, workflow=claim.name)

    def _quiet(self) -> list[Sighting]:
        now = time.monotonic()
        waiting = [seen for seen, at in list(self._later.values()) if at <= now]
        by_key = {key: seen for seen in waiting if (key := _key(seen)) is not None}
        if not by_key:
            return []
        with self._engine.begin() as database:
            found = tracking.quiet(database, list(by_key))
        return [seen for key, seen in by_key.items() if key in found]

    def _note_health(self, health: str, message: str) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.health(database, self._tracked.cluster_id, health, message)

    async def _note_contact(self) -> None:
        """Until when the rows are true: until the last contact, or until the oldest change that is not written yet."""
        async with self._flushing:
            if self._up:
                oldest = min((at for _, at in self._buffer.values()), default=self._contact)
                await asyncio.to_thread(self._write_contact, min(self._contact, oldest))

    def _write_contact(self, contact: float) -> None:
        ago = time.monotonic() - contact
        CLUSTER_UP.labels(self._tracked.name).set(1)
        WATCH_LAST.labels(self._tracked.name).set(time.time() - ago)
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            tracking.contact(database, self._tracked.cluster_id, ago)
            pacing.adapt(database, self._tracked.cluster_id)
            server = holds.server(database)
        if server != (self._server or server):
            # It may have lost commits: rows for which no event will come again are older than what was seen.
            raise Resumed("another database server answers")
        self._server = server

    def _strayed(self) -> bool:
        with self._engine.begin() as database:
            return strays.since_hold(database, self._tracked.cluster_id)

    def _unwanted_strays(self) -> list[strays.Stray]:
        with self._engine.begin() as database:
            return strays.to_end(database, self._tracked.cluster_id)

    def _forget_strays(self, k8s_uids: list[str]) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            strays.forget(database, self._tracked.cluster_id, k8s_uids)

    def _keep_strays(self) -> None:
        with self._engine.begin() as database:
            leases.fence(database, self._tracked.lease, self._tracked.epoch)
            strays.keep(database, self._tracked.cluster_id, self._unknown)

    def _ending(self) -> list[tuple[str, str, str]]:
        with self._engine.begin() as database:
            return tracking.ending(database, self._tracked.cluster_id)


def _key(seen: Sighting) -> tuple[UUID, int] | None:
    """Which attempt a workflow is of, by its labels."""
    return None if seen.uid is None or seen.attempt is None else (seen.uid, seen.attempt)


def _raise(ended: asyncio.Task[None]) -> NoReturn:
    """Why a task ended that never may."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        raise error
    raise RuntimeError(f"{ended.get_name()} ended by itself")
