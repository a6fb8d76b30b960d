"""The part of the client that does something with all jobs that a filter chooses: prepare it, look at the count, act, read the report."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, SkipValidation
from sqlalchemy import Engine

from argosy.failpoints import failpoint
from argosy.inputs import checked
from argosy.launch import inputs
from argosy.shapes.bulk import BulkShape, Verb
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import AnyId, Id, uuid_of
from argosy.store import bulks
from argosy.store.revisions import Inputs

Priority = Annotated[int, Field(ge=-100, le=100)]


class Bulks:
    """The methods for work on many jobs; `Client` has them too."""

    engine: Engine

    @checked
    def prepare(
        self,
        verb: Verb,
        where: JobFilter,
        *,
        user: Id,
        projects: frozenset[Id] | None = None,
        priority: Priority | None = None,
    ) -> BulkShape:
        """Write down the jobs that a filter chooses now, and with which it can be done. Nothing is done yet.

        Args:
            verb: `cancel` them, `retry` them (without a status in the filter, those that failed), the same with the manifest, parameters,
                clusters and deadlines that are registered now (`retry_latest`), or give them a `priority`.
            where: Which jobs. For a cancel also launches that have no jobs yet, where the filter says nothing of their jobs.
            user: Who asks.
            projects: The projects in which they may; None means all.
            priority: The new one, for `priority`.

        Raises:
            InvalidRequest: More than 100,000 jobs are chosen, or an argument does not fit.
        """
        with self.engine.begin() as connection:
            return bulks.prepare(connection, verb, where, projects, user, priority)

    @checked
    def act(self, bulk: AnyId, *, sealed: SkipValidation[bytes | None] = None) -> BulkShape:
        """Do what was prepared, and report. A call that was interrupted is continued by another one; what is done is not done again.

        Args:
            bulk: Its id.
            sealed: The user's API token, sealed, for launches whose own was wiped.

        Raises:
            NotFound: There is none with this id.
        """
        with self.engine.begin() as connection:
            found = bulks.begin(connection, uuid_of(bulk))
        more = True
        while more:
            with self.engine.begin() as connection:
                more = bulks.go_on(connection, found, sealed, self._latest)
                failpoint("bulk.doing")
            failpoint("bulk.done")
        return self.bulk(bulk)

    def _latest(self, gid: UUID) -> dict[int, Inputs]:
        return inputs.revise(self.engine, gid, None, latest=True, given=[])

    @checked
    def bulk(self, bulk: AnyId) -> BulkShape:
        """What was prepared, and what came of it. Raises as `act`."""
        with self.engine.begin() as connection:
            return bulks.report(connection, uuid_of(bulk))
