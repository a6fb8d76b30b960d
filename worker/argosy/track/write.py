"""Writes sightings of workflows: those of a short time together, in one transaction, under the fence of the cluster's lease.

A sighting that cannot be written affects only its own workflow: a batch that the database refuses is halved until the bad sighting is
found, and that one is written without its nodes. What a sighting means is decided in verdicts.py; what must then be done on the cluster is
a debt (debts.py).
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from uuid import UUID

import structlog
from psycopg.errors import QueryCanceled
from sqlalchemy.exc import OperationalError

from argosy.errors import Fenced
from argosy.failpoints import failpoint
from argosy.kube import status
from argosy.kube.argo_server import ArgoServer
from argosy.kube.nodes import NodeStatus
from argosy.kube.pods import Pods
from argosy.kube.status import Sighting
from argosy.metrics import ADOPTIONS, STRANGERS, UNREADABLE, WATCH_LAG
from argosy.states import FINAL, State
from argosy.store import strays, tracking
from argosy.track.debts import Debts
from argosy.track.ending import Ending
from argosy.track.logs import LogKeeper
from argosy.track.offloaded import Offloaded
from argosy.track.standing import Standing
from argosy.track.verdicts import Verdict, decide
from argosy.track.written import Hashes, WrittenNodes

FLUSH = 0.2
"""Seconds for which changes are collected into one transaction."""

log = structlog.stdlib.get_logger(__name__)


class Writer:
    """Writes what is seen on one cluster.

    Args:
        at: The cluster.
        debts: What is still to be done there.
        pods: Its pods.
        logs: Keeps logs of failed pods.
        release_after: Seconds that an ended workflow stays there after its end was committed.
        on_slots: Called with the cluster's id after jobs there have ended.
        server: Its Argo Server; None if it names none.
    """

    def __init__(
        self,
        at: Standing,
        debts: Debts,
        pods: Pods,
        logs: LogKeeper,
        release_after: float,
        on_slots: Callable[[int], None],
        server: ArgoServer | None = None,
    ) -> None:
        self._at, self._debts, self._logs = at, debts, logs
        self._release_after, self._on_slots = release_after, on_slots
        self._buffer: dict[str, tuple[Sighting, float]] = {}
        self._arrived = asyncio.Event()
        self.ending = Ending(at, pods, self._pods_told)
        self.offloaded = Offloaded(server, at.name, self._put, self._recorded)
        self.flushing = asyncio.Lock()
        self._written = WrittenNodes()
        self._later: dict[str, tuple[Sighting, float]] = {}
        self._again: dict[str, Sighting] = {}
        self._strangers: set[str] = set()
        self._unknown: set[str] = set()

    def notice(self, workflow: status.Object, gone: bool) -> Sighting | None:
        """Have a workflow's state written soon; None if it cannot be read."""
        try:
            sighting = status.read(workflow, gone)
        except status.Unreadable as error:
            UNREADABLE.labels(self._at.name).inc()
            log.error("workflow not readable", cluster=self._at.name, reason=str(error))
            return None
        self.put(sighting)
        return sighting

    def put(self, seen: Sighting) -> None:
        """Have a sighting written soon."""
        self.offloaded.take(seen, time.monotonic())

    def absent(self, cancelled: Iterable[tracking.Expected]) -> None:
        """Have cancelled jobs whose workflows are gone end when their pods have ended."""
        for each in cancelled:
            self._put(status.gone(each.uid, each.number, each.k8s_uid, each.gid), time.monotonic())

    def _put(self, seen: Sighting, at: float) -> None:
        """Put a sighting into the buffer, in place of an older one. The time of an older one that is not written yet is kept: it says since
        when the row is out of date. So are the nodes that were read for it, until newer ones are."""
        older, before = self._buffer.get(seen.k8s_uid, (seen, at))
        self._buffer[seen.k8s_uid] = (_with_nodes(seen, older), min(at, before))
        self._arrived.set()

    def _pods_told(self, seen: Sighting, ended: bool) -> None:
        newest, _ = self._buffer.get(seen.k8s_uid, (seen, 0.0))
        self._put(replace(newest, pods_ended=ended), time.monotonic())

    async def run(self) -> None:
        """Write what arrives, for ever."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(FLUSH)
            try:
                await self.flush()
            except OperationalError as error:
                log.warning("database away, changes are kept", cluster=self._at.name, reason=str(error.orig))
                await asyncio.sleep(1)

    async def flush(self) -> None:
        """Write what was noticed. What cannot be written now stays in the buffer, unless something newer has come."""
        async with self.flushing:
            self._arrived.clear()
            taken, self._buffer = self._buffer, {}
            try:
                written = await asyncio.to_thread(self._commit, list(taken.values()))
            except BaseException:
                self._put_back(taken)
                raise
            now = time.monotonic()
            for seen, _ in written:
                WATCH_LAG.labels(self._at.name).observe(now - taken.pop(seen.k8s_uid)[1])
            self._put_back(taken)
        ended = False
        for seen, verdict in written:
            ended |= verdict.change is not None and verdict.change.state in FINAL
            self._follow_up(seen, verdict)
        if ended:
            self._on_slots(self._at.cluster_id)

    def _put_back(self, taken: dict[str, tuple[Sighting, float]]) -> None:
        for seen, at in taken.values():
            newer, _ = self._buffer.get(seen.k8s_uid, (seen, at))
            self._put(_with_nodes(newer, seen), at)

    def _follow_up(self, seen: Sighting, verdict: Verdict) -> None:
        """Do what a sighting calls for, now that its row is written. While the cluster is held, nothing is done on it; a workflow without a
        row is only judged again later, because the row may be older than what was seen."""
        self._unknown.discard(seen.k8s_uid)
        if verdict.unknown and not seen.gone:
            self._unknown.add(seen.k8s_uid)
        if verdict.stranger and seen.k8s_uid not in self._strangers:
            self._strangers.add(seen.k8s_uid)
            _alarm(self._at.name, seen, verdict)
        if verdict.ending:
            self.ending.wait(seen)
        else:
            self.ending.forget(seen.k8s_uid)
        if verdict.logs:
            self._logs.want(seen)
        self._again.pop(seen.k8s_uid, None)
        if verdict.again or (self._at.held and verdict.unknown and not seen.gone):
            self._again[seen.k8s_uid] = seen
        if self._at.held:
            return
        later = verdict.later or self._release_after > 0 or self._logs.pending(seen.k8s_uid)
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
                gid=seen.gid,
            )

    def _commit(self, sightings: list[tuple[Sighting, float]]) -> list[tuple[Sighting, Verdict]]:
        """Write sightings. Returns those that were written, with their verdicts; those whose rows another transaction has locked are left
        out."""
        try:
            return self._commit_all(sightings)
        except Fenced:
            raise
        except OperationalError as error:
            heavy = isinstance(error.orig, QueryCanceled) and (len(sightings) > 1 or sightings[0][0].nodes is not None)
            if not heavy:
                raise
            if len(sightings) == 1:  # it alone takes longer than a statement may
                return self._commit_without_nodes(*sightings[0])
        except Exception:
            # An error in one of them must not keep the others from being written.
            if len(sightings) == 1:
                log.exception(
                    "workflow not writable",
                    cluster=self._at.name,
                    workflow=sightings[0][0].name,
                    gid=sightings[0][0].gid,
                )
                return self._commit_without_nodes(*sightings[0])
        half = len(sightings) // 2
        return self._commit(sightings[:half]) + self._commit(sightings[half:])

    def _commit_without_nodes(self, seen: Sighting, at: float) -> list[tuple[Sighting, Verdict]]:
        """The database refuses this workflow: write it without its nodes, because how it ended matters more."""
        UNREADABLE.labels(self._at.name).inc()
        if seen.nodes is None:
            return [(seen, Verdict())]
        bare = replace(seen, nodes=None, note="nodes: not readable (the database refuses them)")
        return [(seen, verdict) for _, verdict in self._commit([(bare, at)])]

    def _commit_all(self, sightings: list[tuple[Sighting, float]]) -> list[tuple[Sighting, Verdict]]:
        verdicts: list[tuple[Sighting, Verdict]] = []
        changes: list[tracking.Change] = []
        nodes: list[tracking.NodeRow] = []
        adopted: list[tuple[UUID, int]] = []
        written: dict[str, Hashes] = {}
        unknown: list[strays.Stray] = []
        settled: list[str] = []
        with self._at.engine.begin() as database:
            self._at.fence(database)
            rows, busy = tracking.known(
                database, [key for seen, _ in sightings if (key := _key(seen)) is not None], self._at.cluster_id
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
                verdict = decide(row, seen, self._at.cluster_id, key in unwanted)
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
                    changed, written[seen.k8s_uid] = self._written.changed(seen)
                    nodes += [_node_row(row, node) for node in changed]
            strays.forget(database, self._at.cluster_id, settled)
            strays.note(database, self._at.cluster_id, unknown)
            tracking.deadlines(database, adopted, self._at.cluster_id)
            tracking.write_nodes(database, nodes)  # first, so that what failed is told before the job's end
            tracking.change(database, changes)
            failpoint("track.writing")
        failpoint("track.written")
        ADOPTIONS.labels(self._at.name, "tracker").inc(len(adopted))
        self._written.note(written)
        for seen, verdict in verdicts:
            if verdict.change is not None and verdict.change.state in FINAL:
                self._written.forget(seen.k8s_uid)
        return verdicts

    async def _recorded(self, seen: Sighting) -> bool:
        return (key := _key(seen)) is not None and await self._at.ask(tracking.recorded, *key)

    def pending(self, k8s_uid: str | None) -> bool:
        """Whether a sighting of a workflow is not written yet: another transaction has locked its row, or its nodes are still read."""
        return k8s_uid in self._buffer or self.offloaded.pending(k8s_uid)

    def oldest(self) -> float | None:
        """The time of the oldest sighting that is not written yet (monotonic seconds); None if all are written."""
        return min((*self.offloaded.since(), *(at for _, at in self._buffer.values())), default=None)

    def look_again(self) -> None:
        """Judge the workflows again whose row did not say yet whose they are."""
        for seen in self._again.values():
            self._buffer.setdefault(seen.k8s_uid, (seen, time.monotonic()))
            self._arrived.set()

    def keep(self, seen: Set[str]) -> Set[str]:
        """Forget what is not in a complete list of the cluster. Returns the workflows in the list that no row knows."""
        self._strangers &= seen
        self._written.keep(seen)
        self._unknown &= seen
        self._logs.keep(seen)
        self.offloaded.keep(seen)
        return set(self._unknown)

    async def release_quiet(self) -> None:
        """Remove our finalizer from workflows that ended long enough ago, whose attempts are quiet and whose logs are kept, or given up."""
        now = time.monotonic()
        waiting = [
            seen for seen, at in list(self._later.values()) if at <= now and not self._logs.pending(seen.k8s_uid)
        ]
        by_key = {key: seen for seen in waiting if (key := _key(seen)) is not None}
        if not by_key:
            return
        for key in await self._at.ask(tracking.quiet, list(by_key)):
            seen = by_key[key]
            self._debts.owe(seen.name, seen.k8s_uid, finalizers=seen.finalizers, version=seen.version, gid=seen.gid)
            self._later.pop(seen.k8s_uid, None)


def _alarm(cluster: str, seen: Sighting, verdict: Verdict) -> None:
    STRANGERS.labels(cluster).inc()
    log.error(
        "workflow that no job knows" if verdict.unknown else "stranger under our labels",
        cluster=cluster,
        workflow=seen.name,
        k8s_uid=seen.k8s_uid,
        gid=seen.gid,
    )


def _with_nodes(newer: Sighting, older: Sighting) -> Sighting:
    """A sighting with the nodes of an older one, if its own are not read yet."""
    return replace(newer, nodes=older.nodes) if newer.offloaded and newer.nodes is None else newer


def _key(seen: Sighting) -> tuple[UUID, int] | None:
    """The attempt that a workflow's labels name."""
    return None if seen.uid is None or seen.attempt is None else (seen.uid, seen.attempt)


def _node_row(row: tracking.Known, node: NodeStatus) -> tracking.NodeRow:
    return tracking.NodeRow(row.uid, row.number, **node._asdict() | {"resources": dict(node.resources)})
