"""Regular work on one cluster, every few seconds, beside the watch: its mark, the last contact, late jobs, workflows to read again.

Each step reads the rows again and asks the cluster about single workflows; none lists all.
"""

import asyncio
import math
import time
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection as Database
from sqlalchemy.exc import OperationalError

from argosy.kube import answers
from argosy.kube.workflows import Workflows
from argosy.metrics import CLUSTER_UP, MARK_AGE, WATCH_LAST
from argosy.recovery.custody import BEAT, Comparison, Custody
from argosy.store import ending, holds, pacing, queue, strays, tracking
from argosy.track.absences import Absences
from argosy.track.debts import Debts
from argosy.track.standing import Resumed, Standing
from argosy.track.write import Writer

_CONTACT = 2.0
"""Seconds between two rounds."""

_READING = 16
"""Workflows read at the same time."""

log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """The regular work on one cluster.

    Args:
        at: The cluster.
        workflows: Its workflows.
        custody: Its mark.
        writer: Writes what is read.
        debts: What is still to be done there.
        absences: Its workflows that are gone.
        release_after: Seconds that an ended workflow stays there after its end was committed.
    """

    def __init__(
        self,
        at: Standing,
        workflows: Workflows,
        custody: Custody,
        writer: Writer,
        debts: Debts,
        absences: Absences,
        release_after: float,
    ) -> None:
        self._at, self._workflows, self._custody, self._writer, self._debts = at, workflows, custody, writer, debts
        self._absences, self._release_after = absences, release_after
        self._finding = Comparison()
        self._server = ""
        self._kept = 0.0

    async def keep(self) -> None:
        """Every two seconds: record the contact, resize the window, find workflows to end and finalizers to remove.

        Raises:
            Resumed: A hold began or ended, or another database server answers.
        """
        while True:
            await asyncio.sleep(_CONTACT)
            self._writer.look_again()
            try:
                await self._keep_mark()
                await self.note_contact()
                if self._at.held:
                    continue
                await self._end_late()
                unfinished = await self._at.ask(ending.ending, self._at.cluster_id)
                if self._at.up:
                    self._debts.end(unfinished)
                await self._writer.release_quiet()
            except OperationalError as error:
                log.warning("database away", cluster=self._at.name, reason=str(error.orig))

    async def beat(self) -> None:
        """Write the next epoch of the mark, or find out why the cluster is held.

        Raises:
            Resumed: A hold has just begun, and the list from before it does not count.
            KubeError: The cluster does not answer, or is another place.
        """
        self._finding = await self._custody.keep(self._at.tracked.lease, self._at.tracked.epoch)
        self._kept = time.monotonic()
        held, self._at.held = self._at.held, self._finding.why
        if self._at.held and self._at.held != held:
            log.error("cluster is held", cluster=self._at.name, reason=self._at.held)
        if self._at.held and not held and self._at.whole:
            raise Resumed(f"cluster {self._at.name!r} is held")

    async def _keep_mark(self) -> None:
        """Write the mark every few seconds. End the hold if the evidence is complete and there is nothing for an operator to decide."""
        was = self._at.held
        if self._at.up and time.monotonic() - self._kept > BEAT:
            try:
                await self.beat()
            except answers.KubeError as error:
                if isinstance(error, answers.ClusterDown) and error.health is answers.Health.MISPLACED:
                    raise
                late = time.monotonic() - self._kept > 3 * BEAT
                tell = log.warning if late else log.info
                tell(
                    "mark not written: if the database were restored now, argosy would not notice it",
                    cluster=self._at.name,
                    reason=str(error),
                )
        if self._kept:
            MARK_AGE.labels(self._at.name).set(time.monotonic() - self._kept)
        if was and (not self._at.held or await self._settled()):
            raise Resumed(f"cluster {self._at.name!r} is no longer held")

    async def _settled(self) -> bool:
        """End the hold after a fail-over that lost only the last moments: then workflows that have ended since are still on the cluster.
        All must have been read, none be missing, and none be unknown."""
        narrow = self._finding.lost is not None and self._finding.lost <= self._release_after
        if not (narrow and self._at.whole and not self._at.missing and self._writer.oldest() is None):
            return False
        if await self._at.ask(strays.since_hold, self._at.cluster_id):
            return False
        await self._custody.accept((self._at.tracked.lease, self._at.tracked.epoch))
        log.warning(
            "the database may have lost its last commits; nothing is missing on this cluster", cluster=self._at.name
        )
        return True

    async def _end_late(self) -> None:
        """Mark workflows whose deadline has passed. If the watch was silent, the rows may be old, so the workflows are read first: else one
        that began in time would be ended because of its pending deadline."""
        if not self._at.up or not (late := await self._at.ask(ending.late, self._at.cluster_id)):
            return
        read, _ = await self._read(late)
        await self._writer.flush()
        # A sighting is not written yet if another transaction has locked the row.
        read = [workflow for workflow in read if not self._writer.pending(workflow.k8s_uid)]
        if ended := await self._at.write(ending.overdue, self._at.cluster_id, read):
            log.warning("deadlines have passed", cluster=self._at.name, count=ended)

    async def _read(
        self, workflows: Sequence[tracking.Workflow]
    ) -> tuple[list[tracking.Workflow], list[tracking.Workflow]]:
        """Read single workflows and have what is seen written. Returns those that exist, and those that surely do not."""
        there: list[tracking.Workflow] = []
        missing: list[tracking.Workflow] = []
        waiting = iter(workflows)

        async def reader() -> None:
            for workflow in waiting:
                try:
                    if self._writer.notice(await self._workflows.get(workflow.name), gone=False) is not None:
                        there.append(workflow)
                except answers.Missing:
                    missing.append(workflow)
                except answers.KubeError as error:
                    log.info(
                        "workflow not read yet",
                        cluster=self._at.name,
                        workflow=workflow.name,
                        gid=workflow.gid,
                        reason=str(error),
                    )
                    if isinstance(error, answers.ClusterDown | answers.Wait):
                        return

        await asyncio.gather(*(reader() for _ in range(_READING)))
        return there, missing

    async def resolve(self) -> None:
        """Every two seconds: read workflows for which no event may come any more. And put jobs back into the queue whose unclear create
        surely made no workflow, if a pause keeps the workers from finding that out: else a paused cluster would never become empty."""
        while True:
            await asyncio.sleep(_CONTACT)
            if not self._at.up:
                continue
            try:
                await self._read_once()
                await self._read_unwanted()
                if self._at.held:
                    continue
                for claim in await self._at.ask(tracking.unclear, self._at.cluster_id):
                    if await self._surely_absent(claim):
                        await self._return(claim)
            except (answers.ClusterDown, answers.Wait) as error:
                log.info("unclear creates not resolved yet", cluster=self._at.name, reason=str(error))
            except OperationalError as error:
                log.warning("database away", cluster=self._at.name, reason=str(error.orig))

    async def _read_once(self) -> None:
        """Read workflows that were adopted, or whose attempt ended without a sighting: their events may have come before the row knew of
        them."""
        if not (unread := await self._at.ask(tracking.unread, self._at.cluster_id)):
            return
        there, missing = await self._read(unread)
        await self._writer.flush()
        gone = [
            tracking.Expected(it.uid, it.number, it.k8s_uid, it.gid)
            for it in missing
            if it.k8s_uid and not self._at.held
        ]
        await self._absences.settle(gone)
        await self._at.write(tracking.read, there + missing)

    async def _read_unwanted(self) -> None:
        """Read strays that have become unwanted since they were seen, so that they are terminated."""
        if not (found := await self._at.ask(strays.to_end, self._at.cluster_id)):
            return
        there, missing = await self._read(
            [tracking.Workflow(it.uid, it.number, it.name, it.k8s_uid, it.gid) for it in found]
        )
        await self._writer.flush()
        settled = [it.k8s_uid for it in there + missing if it.k8s_uid]
        await self._at.write(strays.forget, self._at.cluster_id, settled)

    async def _surely_absent(self, claim: tracking.UnclearCreate) -> bool:
        """Whether there is no workflow of this claim. An error that concerns only this workflow does not stop the others."""
        try:
            await self._workflows.get(claim.name)
        except answers.Missing:
            return True
        except (answers.ClusterDown, answers.Wait):
            raise
        except answers.KubeError as error:
            log.info(
                "unclear create not resolved yet",
                cluster=self._at.name,
                workflow=claim.name,
                gid=claim.gid,
                reason=str(error),
            )
        return False

    async def _return(self, claim: tracking.UnclearCreate) -> None:
        back = queue.Returned(claim.uid, claim.number, claim.epoch, "its create never arrived", 0.0)
        await self._at.write(queue.record, [back])
        log.info("unclear create never arrived", cluster=self._at.name, workflow=claim.name, gid=claim.gid)

    async def note_contact(self) -> None:
        """Record until when the rows are true: until the last contact, or until the oldest sighting that is not written yet.

        Raises:
            Resumed: Another database server answers.
        """
        async with self._writer.flushing:
            if not self._at.up:
                return
            contact = min(self._at.contact, self._writer.oldest() or math.inf)
            ago = time.monotonic() - contact
            CLUSTER_UP.labels(self._at.name).set(1)
            WATCH_LAST.labels(self._at.name).set(time.time() - ago)
            server = await self._at.write(_note_contact, self._at.cluster_id, ago)
        if server != (self._server or server):
            # It may have lost commits: then rows are older than what was seen, and no event will come again for them.
            raise Resumed("another database server answers")
        self._server = server


def _note_contact(database: Database, cluster_id: int, ago: float) -> str:
    """Record the contact, and return which database server did."""
    tracking.contact(database, cluster_id, ago)
    pacing.adapt(database, cluster_id)
    return holds.server(database)
