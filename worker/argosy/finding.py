"""The part of the client that finds jobs: by a filter, page by page, and counted by status."""

from sqlalchemy import Engine

from argosy.inputs import checked
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import Id
from argosy.shapes.shown import JobCounts, JobPage
from argosy.store import finding


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
