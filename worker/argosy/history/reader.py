"""The part of the client for those who ask how launches stand, and why: progress, events, explanations, failures in groups, usage."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlmodel import Session

from argosy.errors import InvalidRequest, NotFound
from argosy.history.explain import explain
from argosy.inputs import checked
from argosy.shapes.given import AnyId, Id, Key, Number, Ref, Text, uuid_of
from argosy.shapes.history import EventPage, ExplainShape, FailureShape, UsageShape
from argosy.shapes.shown import LaunchShape
from argosy.store import events, registry, summaries, targets


class Reader:
    """The methods about what happened; `Client` has them too."""

    engine: Engine

    @checked
    def launches(
        self,
        *,
        project: Id | None = None,
        gid: AnyId | None = None,
        limit: Number = 100,
        hidden: bool = False,
        after: Text | None = None,
    ) -> Sequence[LaunchShape]:
        """Launches, newest first, with their jobs counted by status. Deleted ones are returned only by their gid or with `hidden`.

        Args:
            project: Only this project's.
            gid: Only this one.
            limit: The most to return.
            hidden: Deleted ones too.
            after: A cursor (`cursor_of` the last launch of the page before), for those that come after it.

        Raises:
            InvalidRequest: `after` is no cursor.
        """
        with self.engine.connect() as connection:
            return summaries.launches(connection, project, None if gid is None else uuid_of(gid), limit, hidden, after)

    @checked
    def explain(self, uid: Ref, *, project: Id | None = None) -> ExplainShape:
        """Where a job is, since when, why, and what may be done about it.

        Args:
            uid: Which.
            project: Only if it belongs to this project. What clusters say is left out then: it is for operators.

        Raises:
            NotFound: There is no such job.
        """
        return explain(self.engine, uuid_of(uid), project)

    @checked
    def events(
        self,
        key: Ref | None = None,
        *,
        cluster: Key | None = None,
        project: Id | None = None,
        limit: Number = 200,
        after: Text | None = None,
    ) -> EventPage:
        """What happened to a job, a launch with all its jobs, or a cluster, in order.

        Args:
            key: uid of a job or gid of a launch.
            cluster: Instead, name or id of a cluster.
            project: Only if the job or launch belongs to this project.
            limit: The most, at least 1; without `after` the newest.
            after: The `cursor` of a page before, for the events since. An event that came while that page was read may be in both.

        Raises:
            NotFound: There is no such job, launch or cluster.
            InvalidRequest: Neither or both are given, or `after` is no cursor.
        """
        with Session(self.engine) as session:
            if cluster is not None and key is None:
                of = events.Subject(cluster=registry.cluster(session, cluster, token=False).id)
            elif key is not None and cluster is None:
                of = _subject(session.connection(), uuid_of(key), project)
            else:
                raise InvalidRequest("say which: a job's uid or a launch's gid, or a cluster")
            return events.page(session.connection(), of, max(limit, 1), after)

    @checked
    def failures(self, gid: AnyId, *, project: Id | None = None) -> Sequence[FailureShape]:
        """The failed jobs of a launch, those that failed alike together, the most frequent first. A group's `key` goes to `retry`.

        Raises:
            NotFound: There is no such launch.
        """
        with self.engine.connect() as connection:
            if not summaries.launches(connection, project, uuid_of(gid), 1):
                raise NotFound(f"launch {gid} does not exist; see: argosy list --launches")
            return summaries.failures(connection, uuid_of(gid))

    @checked
    def usage(self, project: Id, *, days: Number = 30) -> UsageShape:
        """What the attempts of a project that ended within some days used, as Argo counts it; those that are past the retention are not
        known any more."""
        with self.engine.connect() as connection:
            attempts, resources = summaries.usage(connection, project, days)
        return UsageShape(project=project, days=days, attempts=attempts, resources=resources)


def _subject(connection: Connection, key: UUID, project: int | None) -> events.Subject:
    found = targets.find(connection, key, project)
    if found is None:
        of = "" if project is None else f" of project {project}"
        raise NotFound(f"{key} is not the id of a job or a launch{of}; see: argosy list")
    return events.Subject(found.gid, found.uid)
