"""Whether a cluster is the one that its row means, and whether the row is as new as the cluster.

Three faults showed that this is needed. A namespace was registered twice, and the second registration ended its workflows as strangers. The
address of a cluster led to another place, so its jobs were called lost and ran again. A database that was restored from a dump ran finished
jobs a second time and ended healthy ones. A row cannot show any of this; the mark on the cluster does (kube/marks.py).

The row's epoch is written before the mark's, so without a fault it is never the smaller one. Workers, which only create, read the mark; the
tracker that follows the cluster, under its lease, writes it.
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
"""Tries of `accept`: a tracker may write the mark at the same time as the operator's command."""


class Held(ArgosyError):
    """The cluster is held: nothing is created there until it is known what runs there."""


@dataclass(frozen=True)
class Comparison:
    """The result of comparing row and mark. `why` is the reason to hold the cluster, empty if all is well. `lost`: the database has lost at
    most this many seconds of commits, nothing else is wrong, and workflows that have ended since are kept by the finalizer; else None."""

    why: str = ""
    lost: float | None = None


def judge(mark: Mark | None, row: Marked, database: str, twin: str | None) -> Comparison:
    """Compare a mark with the row of the database that reads it. Pure.

    Args:
        mark: As read from the cluster, before the row was.
        row: The cluster's row.
        database: Which database this is.
        twin: Another registered cluster that has this mark.

    Raises:
        ClusterDown: This is not the place that the row means, so nothing that it answers counts.
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
            f" ({'no mark of argosy is there' if mark is None else 'it has another mark'}): correct host, port or namespace; "
            "if the former one is gone for good: argosy cluster remove --abandon",
        )
    if mark is None or (row.identity and mark.uid != row.identity):
        return Comparison()
    if mark.holder != database:
        return Comparison(
            f"another database looks after the workflows there (epoch {mark.epoch}, written {mark.written}); if this database has "
            "replaced that one, or was restored from it: argosy db reconcile; if it is a copy of that one, remove the cluster here"
        )
    if row.identity and mark.epoch > row.epoch:
        why = (
            f"this database is older than the cluster: it knows epoch {row.epoch}, the cluster {mark.epoch}, written {mark.written}; "
            "it was restored, or lost commits in a fail-over; run: argosy db reconcile"
        )
        return Comparison(why, _lost(mark, row, why))
    return Comparison()


def _lost(mark: Mark, row: Marked, why: str) -> float | None:
    """At most how many seconds of commits are lost. None if the cluster is held for another reason: then the hold stays until an operator
    ends it."""
    if row.held not in ("", holds.DOUBTED, why) or not row.finalizer or mark.written is None or row.beat_at is None:
        return None
    return (mark.written - row.beat_at).total_seconds() + BEAT


class Custody:
    """One cluster's mark, as one process sees it.

    Args:
        engine: Where the row is.
        connection: The cluster.
        cluster_id: Its row.
        version: The version of the row's address and credentials with which the connection was made.
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
        """Check that workflows may be created there. The result is kept for `BEAT` seconds.

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
            raise Held(f"cluster {row.name!r} is not as its row says ({row.health}); its tracker must check it first")
        self._looked = time.monotonic()

    def doubt(self) -> None:
        """Make the next `look` check again: the database was away, and another server may answer now."""
        self._looked = -BEAT

    def same(self, connection: Database) -> bool:
        """Whether the same database server answers as at the last `look`: another one may have lost commits."""
        return holds.server(connection) == self._server

    async def keep(self, lease: str, epoch: int) -> Comparison:
        """Write the next epoch. If row and mark do not fit, hold the cluster instead.

        Args:
            lease: Name of the lease of the tracker that follows the cluster.
            epoch: The epoch of that lease.

        Raises:
            Fenced: Another tracker follows it.
            ClusterDown: It is another place, or does not answer.
        """
        mark = await self._marks.read()
        row, database, twin = await asyncio.to_thread(self._row, mark)
        known = row.epoch  # the epoch that is judged; `row` may be replaced below
        if row.version != self._version:
            return Comparison(row.held)  # the address or credentials have changed: this connection is out of date
        if row.identity and (mark is None or mark.uid != row.identity) and await self._proven():
            row = replace(
                row, identity="", epoch=0
            )  # the place is the right one, but its mark was deleted: make or use a new one
        if mark is None and row.identity and row.unfinished:
            # If the namespace is missing, only a create shows it.
            mark = await self._marks.create(database, 0, await asyncio.to_thread(self._now))
        finding = judge(mark, row, database, twin)
        if finding.why:
            await asyncio.to_thread(self._hold, finding.why, known, lease, epoch)
            return finding if mark is not None and self._uncontested(mark) else replace(finding, lost=None)
        if mark is None:
            try:
                mark = await self._marks.create(database, 0, await asyncio.to_thread(self._now))
            except NameTaken:
                return Comparison(row.held)  # another process has just made it; read it with the next beat
        # If the last epoch was written to the row but not to the mark, write it now.
        following = row.epoch if row.identity == mark.uid and row.epoch > mark.epoch else mark.epoch + 1
        at = await asyncio.to_thread(self._intend, mark.uid, following, (lease, epoch))
        if at is not None:
            await self._marks.write(mark, database, following, at)
        # The row knows the mark's last epoch, so no commits before it are lost.
        return Comparison(row.held, 0.0 if row.held == holds.DOUBTED and row.finalizer else None)

    def _uncontested(self, mark: Mark) -> bool:
        """Whether nobody has written the mark for long enough since it was found to be ahead. If the former primary still runs, its tracker
        writes the mark every few seconds: then an operator must decide which of the two databases continues."""
        if self._ahead is None:
            self._ahead = mark.version, time.monotonic()
        version, since = self._ahead
        return version == mark.version and time.monotonic() - since > 1.5 * BEAT

    async def _proven(self) -> bool:
        """Whether the place has a workflow that the row's cluster must have. No other place has one with that name and uid."""
        for name, k8s_uid in await asyncio.to_thread(self._recorded):
            with suppress(Missing):
                if (await self._workflows.get(name))["metadata"]["uid"] == k8s_uid:
                    return True
        return False

    def _recorded(self) -> Sequence[tuple[str, str]]:
        with self._engine.begin() as connection:
            return holds.recorded(connection, self._cluster_id)

    async def accept(self, fence: tuple[str, int] | None = None) -> None:
        """End the hold: what the database had lost is found, or was decided about. From now on the mark names this database, and an epoch
        larger than before.

        Args:
            fence: Lease and epoch of the tracker that calls this; None if an operator does.

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
        # Resume only after the mark is written: before that, readers still see the other database's mark.
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
            # If two rows are registered for one place, the row that has the mark's uid continues.
            return row, holds.database(connection), None if row.identity and mark and row.identity == mark.uid else twin

    def _hold(self, why: str, known: int, lease: str, epoch: int) -> None:
        with self._engine.begin() as connection:
            leases.fence(connection, lease, epoch)
            if holds.hold(connection, self._cluster_id, why, known):
                holds.doubt(connection)  # the database has lost commits, or is a copy, for the other clusters too

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
