"""The chores of one cluster every few seconds, beside the watch: its mark, the last contact, late jobs, workflows to read again.

Each chore looks at the rows anew and asks the cluster about single workflows; none of them lists.
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
from argosy.recovery.custody import BEAT, Custody, Finding
from argosy.store import holds, pacing, queue, strays, tracking
from argosy.track.debts import Debts
from argosy.track.standing import Resumed, Standing
from argosy.track.write import Writer

_CONTACT = 2.0
"""Seconds between two rounds."""

_READING = 16
"""Workflows read at the same time."""

log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """The chores of one cluster.

    Args:
        at: The cluster.
        workflows: Its workflows.
        custody: Its mark.
        writer: Writes what is read.
        debts: What is owed there.
        release_after: Seconds that an ended workflow stays there after its end was committed.
    """

    def __init__(
        self,
        at: Standing,
        workflows: Workflows,
        custody: Custody,
        writer: Writer,
        debts: Debts,
        release_after: float,
    ) -> None:
        self._at, self._workflows, self._custody, self._writer, self._debts = at, workflows, custody, writer, debts
        self._release_after = release_after
        self._finding = Finding()
        self._server = ""
        self._kept = 0.0

    async def keep(self) -> None:
        """Every two seconds: note the contact, resize the window, find what is to be ended, and which finalizers can come off.

        Raises:
            Resumed: The cluster is held, or not any more, or another database server answers.
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
                ending = await self._at.ask(tracking.ending, self._at.cluster_id)
                if self._at.up:
                    self._debts.end(ending)
                await self._writer.release_quiet()
            except OperationalError as error:
                log.warning("database away", cluster=self._at.name, reason=str(error.orig))

    async def beat(self) -> None:
        """The next epoch of the mark, or why the cluster is held.

        Raises:
            Resumed: It is held since a moment ago, and a look from before does not count.
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
        """Write the mark every few seconds; let the cluster go on where the evidence is complete and nothing is left to decide."""
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
                    "mark not written: a restored database would not be seen",
                    cluster=self._at.name,
                    reason=str(error),
                )
            MARK_AGE.labels(self._at.name).set(time.monotonic() - self._kept)
        if was and (not self._at.held or await self._settled()):
            raise Resumed(f"cluster {self._at.name!r} is no longer held")

    async def _settled(self) -> bool:
        """After a fail-over that lost no more than the last moments: what ended since is still on the cluster, and all of it was read."""
        narrow = self._finding.lost is not None and self._finding.lost <= self._release_after
        if not (narrow and self._at.whole and not self._at.missing and self._writer.oldest() is None):
            return False
        if await self._at.ask(strays.since_hold, self._at.cluster_id):
            return False
        await self._custody.accept((self._at.tracked.lease, self._at.tracked.epoch))
        log.warning(
            "the database may have lost its last commits; nothing of them is missing here", cluster=self._at.name
        )
        return True

    async def _end_late(self) -> None:
        """Note whose deadline has passed. What the rows know may be as old as the silence of a watch: the workflows themselves are read
        first, or one that began in time would be ended for not having begun."""
        if not self._at.up or not (late := await self._at.ask(tracking.late, self._at.cluster_id)):
            return
        read, _ = await self._read(late)
        await self._writer.flush()
        # A sighting is not written yet where another transaction has locked the row.
        read = [workflow for workflow in read if not self._writer.pending(workflow.k8s_uid)]
        if ended := await self._at.write(tracking.overdue, self._at.cluster_id, read):
            log.warning("deadlines have passed", cluster=self._at.name, count=ended)

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
                    if self._writer.notice(await self._workflows.get(workflow.name), gone=False) is not None:
                        there.append(workflow)
                except answers.Missing:
                    missing.append(workflow)
                except answers.KubeError as error:
                    log.info("workflow not read yet", cluster=self._at.name, workflow=workflow.name, reason=str(error))
                    if isinstance(error, answers.ClusterDown | answers.Wait):
                        return

        await asyncio.gather(*(reader() for _ in range(_READING)))
        return there, missing

    async def resolve(self) -> None:
        """Every two seconds: read what nobody will tell of again, and give back to the queue what is surely not on the cluster, where a
        pause keeps the workers from finding out. Who waits for a paused cluster to be empty would wait for ever."""
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
                    if await self._surely_absent(claim.name):
                        await self._return(claim)
            except (answers.ClusterDown, answers.Wait) as error:
                log.info("unclear creates stay unclear", cluster=self._at.name, reason=str(error))
            except OperationalError as error:
                log.warning("database away", cluster=self._at.name, reason=str(error.orig))

    async def _read_once(self) -> None:
        """Read what was adopted, or ended without being seen: its events may have come before its row knew of it, and come no more."""
        if not (unread := await self._at.ask(tracking.unread, self._at.cluster_id)):
            return
        there, missing = await self._read(unread)
        await self._writer.flush()
        gone = [tracking.Expected(it.uid, it.number, it.k8s_uid) for it in missing if it.k8s_uid and not self._at.held]
        self._writer.absent(await self._at.write(_settle, there + missing, gone))

    async def _read_unwanted(self) -> None:
        """Read what no row knew when it was seen, and what nobody wants any more since."""
        if not (found := await self._at.ask(strays.to_end, self._at.cluster_id)):
            return
        there, missing = await self._read([tracking.Workflow(it.uid, it.number, it.name, it.k8s_uid) for it in found])
        await self._writer.flush()
        settled = [it.k8s_uid for it in there + missing if it.k8s_uid]
        await self._at.write(strays.forget, self._at.cluster_id, settled)

    async def _surely_absent(self, name: str) -> bool:
        """Whether there is no workflow of this name; one that cannot be read holds up no other."""
        try:
            await self._workflows.get(name)
        except answers.Missing:
            return True
        except (answers.ClusterDown, answers.Wait):
            raise
        except answers.KubeError as error:
            log.info("unclear create stays unclear", cluster=self._at.name, workflow=name, reason=str(error))
        return False

    async def _return(self, claim: tracking.UnclearCreate) -> None:
        back = queue.Returned(claim.uid, claim.number, claim.epoch, "its create never arrived", 0.0)
        await self._at.write(queue.record, [back])
        log.info("unclear create never arrived", cluster=self._at.name, workflow=claim.name)

    async def note_contact(self) -> None:
        """Until when the rows are true: until the last contact, or until the oldest change that is not written yet.

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
            # It may have lost commits: rows for which no event will come again are older than what was seen.
            raise Resumed("another database server answers")
        self._server = server


def _settle(
    database: Database, read: list[tracking.Workflow], gone: list[tracking.Expected]
) -> list[tracking.Expected]:
    tracking.read(database, read)
    return tracking.absent(database, gone)


def _note_contact(database: Database, cluster_id: int, ago: float) -> str:
    """Which database server took the note."""
    tracking.contact(database, cluster_id, ago)
    pacing.adapt(database, cluster_id)
    return holds.server(database)
