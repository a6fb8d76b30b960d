"""The part of the client for those who ask what a job's containers wrote."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Engine

from argosy.extras import late
from argosy.inputs import checked
from argosy.logs.wanted import Wanted
from argosy.settings import Settings
from argosy.shapes.given import AnyId, Ref, Row, Text, uuid_of
from argosy.shapes.shown import LogShape

if TYPE_CHECKING:
    from argosy.logs import follow, read
else:
    follow, read = late("argosy.logs.follow"), late("argosy.logs.read")


class LogReader:
    """The methods about logs; `Client` has them too."""

    engine: Engine
    settings: Settings

    @checked
    def logs(
        self,
        uid: Ref,
        *,
        node: Text | None = None,
        attempt: Row | None = None,
        tail: Row | None = None,
        failed: bool = False,
        ask: bool = True,
    ) -> LogShape:
        """What the containers of a job wrote: what its cluster says now, else what was kept of those that failed.

        Args:
            uid: The job.
            node: Only of this node, by its id or task, or of containers of this name.
            attempt: Of an older attempt instead of the newest.
            tail: Only the last lines of each container, so many.
            failed: Only of nodes that failed.
            ask: Whether to ask the cluster, which may take ten seconds; False for what was kept alone.

        Raises:
            NotFound: There is no such job, attempt or node. That the cluster cannot be asked is in the note.
        """
        return read.read(self.engine, self.settings, uuid_of(uid), Wanted(node, failed, attempt, tail), ask)

    @checked
    def jobs_with_logs(self, gid: AnyId, *, failed: bool = False) -> tuple[Sequence[UUID], bool]:
        """The first jobs of a launch that run, or that failed, and whether there are more.

        Raises:
            NotFound: There is no such launch.
        """
        return read.jobs(self.engine, uuid_of(gid), failed)

    @checked
    def follow_logs(
        self,
        uids: Sequence[Ref],
        *,
        node: Text | None = None,
        attempt: Row | None = None,
        tail: Row | None = None,
    ) -> "Generator[follow.Said, None, None]":
        """What the containers of jobs write from now on, and have written, until the jobs have ended. Close the iterator to end it before.

        Arguments are those of `logs`.

        Raises:
            NotFound: There is no such job or attempt.
        """
        jobs = [read.job(self.engine, uuid_of(uid), attempt) for uid in uids]
        return follow.follow(self.engine, self.settings, jobs, Wanted(node, False, attempt, tail))
