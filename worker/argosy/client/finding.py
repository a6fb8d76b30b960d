"""The part of the client that finds jobs and launches: by a filter, page by page, counted by status; or by a word."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine

from argosy.inputs import checked
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import AnyId, Id, Number, Text, uuid_of
from argosy.shapes.shown import FailedShape, Hit, JobCounts, JobPage, LaunchList, SlotsShape
from argosy.store import finding, revisions, searching, slots


class Finder:
    """The methods that find jobs; `Client` has them too. `projects` are those that the caller may read, None means all: nothing of any
    other project is found, whatever is asked for."""

    engine: Engine

    @checked
    def find(self, where: JobFilter, *, projects: frozenset[Id] | None = None, nodes: bool = False) -> JobPage:
        """A page of the jobs that a filter chooses. Jobs of launches that are not cut yet are not among them.

        Args:
            where: Which jobs, in which order, how many, and after which.
            projects: Only of these.
            nodes: Whether to read the nodes too; then the jobs are `JobShape`s.
        """
        with self.engine.connect() as connection:
            return finding.find(connection, where, projects, nodes)

    @checked
    def counts(self, where: JobFilter, *, projects: frozenset[Id] | None = None) -> JobCounts:
        """How many jobs a filter chooses, by status, as if it named no status. Arguments are those of `find`."""
        with self.engine.connect() as connection:
            return finding.count(connection, where, projects)

    @checked
    def find_launches(self, where: JobFilter, *, projects: frozenset[Id] | None = None) -> LaunchList:
        """A page of the launches that a filter chooses, or one of whose jobs it chooses. Arguments are those of `find`."""
        with self.engine.connect() as connection:
            return finding.launches(connection, where, projects)

    @checked
    def failed(self, gid: AnyId, *, project: Id | None = None) -> FailedShape:
        """What failed of a launch, and what that ran with: all that a new launch of it needs.

        Args:
            gid: The launch.
            project: Only if it belongs to this project.

        Raises:
            NotFound: There is no such launch.
        """
        with self.engine.connect() as connection:
            return revisions.failed(connection, uuid_of(gid), project)

    @checked
    def slots(self, *, project: Id | None = None, limit: Number = 100) -> Sequence[SlotsShape]:
        """What uses the slots of clusters now, those who use most first.

        Args:
            project: Only this one's.
            limit: The most to return.
        """
        with self.engine.connect() as connection:
            return slots.used(connection, project, limit)

    @checked
    def search(self, text: Text, *, projects: frozenset[Id] | None = None, limit: Number = 20) -> list[Hit]:
        """Launches and jobs by a word: an id, the first eight or more letters of one, GID/17, the name of a workflow or pod, the id of a
        medium or a user, NAME=VALUE of a parameter, or the name of an algorithm.

        Args:
            text: The word.
            projects: Only in these.
            limit: The most of each kind, the newest.
        """
        with self.engine.connect() as connection:
            return searching.search(connection, text, projects, min(limit, 100))

    @checked
    def resolve(self, text: Text, *, projects: frozenset[Id] | None = None) -> UUID:
        """The id of the one job or launch that is meant by an id, its first eight or more letters, GID/17, or the name of a workflow or
        pod. A whole id is returned as it is, whether anything has it or not.

        Raises:
            NotFound: Nothing begins so.
            InvalidRequest: It is none of these, or several begin so.
        """
        with self.engine.connect() as connection:
            return searching.resolve(connection, text, projects)
