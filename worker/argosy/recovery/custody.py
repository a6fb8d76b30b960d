"""Whether a cluster is the one that its row means, and whether the row is as new as the cluster.

Three faults taught it. A namespace that was registered twice had its workflows ended as strangers by the second registration; jobs of a
cluster whose address led elsewhere were called lost, and ran again; and a database that was restored from a dump ran finished jobs a second
time and ended healthy ones. A row proves none of this: the mark on the cluster does (kube/marks.py).

The row's epoch is written before the mark's, so that in a sound system it is never the smaller one. Who only creates (a worker) looks;
who follows the cluster (its tracker, under its lease) keeps the mark.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection as Database
from sqlalchemy import Engine

from argosy.errors import ArgosyError, Conflict, NotFound
from argosy.kube.answers import ClusterDown, Health, Missing, NameTaken, Wait
from argosy.kube.connection import Connection
from argosy.kube.marks import Mark, Marks
from argosy.kube.workflows import Workflows
from argosy.store import holds, leases
from argosy.store.holds import Marked

BEAT = 10.0
"""Seconds between two epochs."""


_TRIES = 5
"""A person who accepts, and a tracker that goes on keeping the mark, may write it at the same time."""


class Held(ArgosyError):
    """The cluster is held: nothing is created there until it is known how things stand."""


@dataclass(frozen=True)
class Finding:
    """How the row stands to the mark: `why` is empty where all is well. `lost` is at most how many seconds of commits the database has
    lost, where nothing else is wrong and what ended since is kept; None else."""

    why: str = ""
    lost: float | None = None


def judge(mark: Mark | None, row: Marked, database: str, twin: str | None) -> Finding:
    """What a mark says to the database that reads it. Pure.

    Args:
        mark: As read from the cluster, before the row was.
        row: The cluster's row.
        database: Which database this is.
        twin: Another registered cluster that has this mark.

    Raises:
        ClusterDown: This is not the place that the row means; nothing here may be believed.
    """
    if twin is not None:
        raise ClusterDown(
            Health.MISPLACED,
            f"it is the same cluster and namespace as {twin!r}: remove one of the two registrations",
        )
    if row.identity and row.unfinished and (mark is None or mark.uid != row.identity):
        raise ClusterDown(
            Health.MISPLACED,
            "its address leads to another cluster or namespace than before"
            f" ({'no mark of argosy is there' if mark is None else 'it bears another mark'}): correct host, port or namespace; "
            "if what it was is gone for good: argosy cluster remove --abandon",
        )
    if mark is None or (row.identity and mark.uid != row.identity):
        return Finding()
    if mark.holder != database:
        return Finding(
            f"another database looks after what argosy has there (epoch {mark.epoch}, written {mark.written}); if this one has taken "
            "its place, or is restored from it: argosy db reconcile; if it is a copy of it, remove the cluster here"
        )
    if row.identity and mark.epoch > row.epoch:
        why = (
            f"this database is older than the cluster: it knows epoch {row.epoch}, the cluster {mark.epoch}, written {mark.written}; "
            "was it restored, or did it fail over and lose commits? argosy db reconcile"
        )
        return Finding(why, _lost(mark, row, why))
    return Finding()


def _lost(mark: Mark, row: Marked, why: str) -> float | None:
    """Seconds of commits. Where it is held for another reason, a person's perhaps, it stays so until he says otherwise."""
    if row.held not in ("", holds.DOUBTED, why) or not row.finalizer or mark.written is None or row.beat_at is None:
        return None
    return (mark.written - row.beat_at).total_seconds() + BEAT


class Custody:
    """One cluster's mark, as one process sees it.

    Args:
        engine: Where the row is.
        connection: The cluster.
        cluster_id: Its row.
        version: Of the row's address and credentials, with which the connection was made.
        installation: Label of our objects.
    """

    def __init__(
        self, engine: Engine, connection: Connection, cluster_id: int, version: int, installation: str
    ) -> None:
        self._engine, self._cluster_id, self._version, self._server = engine, cluster_id, version, ""
        self._marks, self._workflows = Marks(connection, installation), Workflows(connection)
        self._looked = -BEAT
        self._ahead: tuple[str, float] | None = None

    async def look(self) -> None:
        """See that something may be created there; what was seen a moment ago is believed.

        Raises:
            Held: Nothing may be created there now.
            ClusterDown: It is another place, or does not answer.
        """
        if time.monotonic() - self._looked < BEAT:
            return
        mark = await self._marks.read()
        row, database, twin = await asyncio.to_thread(self._row, mark)
        if why := row.held or judge(mark, row, database, twin).why:
            raise Held(f"cluster {row.name!r} is held: {why}")
        if row.version != self._version or (row.identity and (mark is None or mark.uid != row.identity)):
            raise Held(f"cluster {row.name!r} is not as its row says ({row.health}); its tracker looks at it first")
        self._looked = time.monotonic()

    def doubt(self) -> None:
        """Look again before anything else is created: the database was away, and may be another now."""
        self._looked = -BEAT

    def same(self, connection: Database) -> bool:
        """Whether the server that answers is the one that answered the last look: another one may have lost commits."""
        return holds.server(connection) == self._server

    async def keep(self, lease: str, epoch: int) -> Finding:
        """Write the next epoch, or find why not: then the cluster is held from now on.

        Args:
            lease: Of the tracker that follows the cluster.
            epoch: That lease's.

        Raises:
            Fenced: Another tracker follows it.
            ClusterDown: It is another place, or does not answer.
        """
        mark = await self._marks.read()
        row, database, twin = await asyncio.to_thread(self._row, mark)
        known = row.epoch  # as it was when this was judged, whatever `row` becomes here
        if row.version != self._version:
            return Finding(row.held)  # this connection is to be given up
        if row.identity and (mark is None or mark.uid != row.identity) and await self._proven():
            row = replace(row, identity="", epoch=0)  # somebody has taken the mark away; it is made, or taken, anew
        if mark is None and row.identity and row.unfinished:
            # Where the namespace is missing, only a create says so.
            mark = await self._marks.create(database, 0, await asyncio.to_thread(self._now))
        finding = judge(mark, row, database, twin)
        if finding.why:
            await asyncio.to_thread(self._hold, finding.why, known, lease, epoch)
            return finding if mark is not None and self._uncontested(mark) else replace(finding, lost=None)
        if mark is None:
            try:
                mark = await self._marks.create(database, 0, await asyncio.to_thread(self._now))
            except NameTaken:
                return Finding(row.held)  # looked at again with the next beat
        # Where the last mark was intended and never written, it is written now.
        following = row.epoch if row.identity == mark.uid and row.epoch > mark.epoch else mark.epoch + 1
        at = await asyncio.to_thread(self._intend, mark.uid, following, (lease, epoch))
        if at is not None:
            await self._marks.write(mark, database, following, at)
        # What was written there last is known: nothing of it is lost.
        return Finding(row.held, 0.0 if row.held == holds.DOUBTED and row.finalizer else None)

    def _uncontested(self, mark: Mark) -> bool:
        """Whether nobody has written the mark for long enough since it was found to be ahead. A former primary that still runs does, every
        few seconds: then it is for a person to say which of the two goes on."""
        if self._ahead is None:
            self._ahead = mark.version, time.monotonic()
        version, since = self._ahead
        return version == mark.version and time.monotonic() - since > 1.5 * BEAT

    async def _proven(self) -> bool:
        """Whether the place has a workflow that was recorded there: no other has one of that name and uid."""
        for name, k8s_uid in await asyncio.to_thread(self._recorded):
            with suppress(Missing):
                if (await self._workflows.get(name))["metadata"]["uid"] == k8s_uid:
                    return True
        return False

    def _recorded(self) -> Sequence[tuple[str, str]]:
        with self._engine.begin() as connection:
            return holds.recorded(connection, self._cluster_id)

    async def accept(self, fence: tuple[str, int] | None = None) -> None:
        """Go on from where the cluster is: what the database had lost is found, or decided. The mark is this database's from now on.

        Args:
            fence: Lease and epoch of the tracker that says so; None where a person does.

        Raises:
            Fenced: Another tracker follows it.
            KubeError: The cluster does not answer.
        """
        for _ in range(_TRIES):
            with suppress(Wait):
                await self._accept(fence)
                return
        await self._accept(fence)

    async def _accept(self, fence: tuple[str, int] | None) -> None:
        mark = await self._marks.read()
        row, database, _ = await asyncio.to_thread(self._row, mark)
        if mark is None:
            mark = await self._marks.create(database, row.epoch, await asyncio.to_thread(self._now))
        following = max(mark.epoch, row.epoch) + 1
        at = await asyncio.to_thread(self._intend, mark.uid, following, fence)
        if at is None:
            raise Conflict("the cluster was changed meanwhile; do it again")
        await self._marks.write(mark, database, following, at)
        # Not earlier: until then a reader sees another database's mark.
        if not await asyncio.to_thread(self._resume, following, fence):
            raise Conflict("the cluster was changed meanwhile; do it again")

    def _row(self, mark: Mark | None) -> tuple[Marked, str, str | None]:
        with self._engine.begin() as connection:
            holds.check_server(connection)
            row = holds.marked(connection, self._cluster_id)
            if row is None:
                raise NotFound(f"cluster {self._cluster_id} is not registered; see: argosy cluster list")
            self._server = holds.server(connection)
            twin = None if mark is None else holds.twin(connection, self._cluster_id, mark.uid)
            # Two rows of one place: the one that was there first goes on.
            return row, holds.database(connection), None if row.identity and mark and row.identity == mark.uid else twin

    def _hold(self, why: str, known: int, lease: str, epoch: int) -> None:
        with self._engine.begin() as connection:
            leases.fence(connection, lease, epoch)
            if holds.hold(connection, self._cluster_id, why, known):
                holds.doubt(connection)  # what this cluster tells of the database is true of the others too

    def _resume(self, epoch: int, fence: tuple[str, int] | None) -> bool:
        with self._engine.begin() as connection:
            if fence is not None:
                leases.fence(connection, *fence)
            return holds.resume(connection, self._cluster_id, epoch)

    def _intend(self, identity: str, following: int, fence: tuple[str, int] | None) -> datetime | None:
        with self._engine.begin() as connection:
            if fence is not None:
                leases.fence(connection, *fence)
            return holds.intend(connection, self._cluster_id, identity, following, self._version)

    def _now(self) -> datetime:
        with self._engine.begin() as connection:
            return holds.now(connection)
