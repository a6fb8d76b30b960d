"""The library for an API server: launch and read, register algorithms and clusters. Typed, synchronous, nothing but PostgreSQL.

A launch is written in the caller's own transaction when it hands its connection in, so the API server needs neither Redis nor a second
commit; everything that is read comes from the database and asks no cluster (P10). The one exception is `check_cluster`, which is
asked for because it asks the cluster.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid1

from pydantic import SkipValidation

from argosy import control
from argosy.administration import Administration
from argosy.batches import JobUids
from argosy.errors import InvalidRequest
from argosy.inputs import checked, validated
from argosy.launch.accept import accept, seal
from argosy.shapes.given import Id, Key, LaunchRequest, MediaId, Number, Text, Token
from argosy.shapes.shown import CancelShape, JobShape, LaunchShape
from argosy.store import reading


@dataclass(frozen=True)
class Launched:
    """A launch that is written.

    `uids` are the ids of its jobs in the order of their batches; None where they are known only when the launch is expanded (a query,
    all media, or an algorithm that is not registered). `new` is False where the same request was written before. `state` is the launch's,
    and `position` how many jobs of its project were queued already: they come first, unless its priority is higher.
    """

    gid: UUID
    uids: JobUids | None
    new: bool
    state: str
    position: int


class Client(Administration):
    """The job half of the platform.

    Args:
        settings: Of this process; default: from the environment (`ARGOSY_…`).
    """

    @checked
    def launch(
        self,
        algorithm_name: SkipValidation[str],
        *,
        project: Id,
        user: Id,
        media_ids: SkipValidation[Sequence[int] | None] = None,
        media_query: str | None = None,
        extra_params: SkipValidation[Sequence[dict[str, Any]]] = (),
        token: Token | None = None,
        success_email_spec: SkipValidation[dict[str, Any] | None] = None,
        failure_email_spec: SkipValidation[dict[str, Any] | None] = None,
        gid: UUID | str | None = None,
        priority: int = 0,
        connection: Any = None,
    ) -> Launched:
        """Run an algorithm on media.

        Args:
            algorithm_name: A registered algorithm of the project.
            project: Whose media, and who is charged.
            user: Who launches.
            media_ids: The media in their order; the first of a double counts.
            media_query: Query string of the API server's media list instead; neither means all media of the project.
            extra_params: `{"name": …, "value": …}` each.
            token: The user's API token; sealed before it leaves this call.
            success_email_spec: Stored with the launch.
            failure_email_spec: Stored with the launch.
            gid: Version-1 UUID; default: a new one. The same request with the same gid is the same launch.
            priority: -100 to 100; orders the jobs of this user of this project, higher first, and takes nothing from anybody else.
            connection: A DB-API connection, SQLAlchemy connection or session, or Django connection, in whose transaction the launch
                is written; the caller commits. Default: an own one, committed on return.

        Raises:
            InvalidRequest: A field cannot be used.
            Conflict: The gid belongs to another launch.
            QueueFull: The project has too many queued jobs; nothing is written.
            NotConfigured: A token is given, but no public key is configured.
        """
        request = validated(
            LaunchRequest,
            {
                "gid": gid or uuid1(),
                "project": project,
                "user": user,
                "algorithm_name": algorithm_name,
                "media_ids": None if media_ids is None else _listed("media_ids", media_ids),
                "media_query": media_query,
                "extra_params": _listed("extra_params", extra_params),
                "success_email_spec": success_email_spec,
                "failure_email_spec": failure_email_spec,
                "token_sealed": None if (sealed := seal(self.settings, token)) is None else b64encode(sealed).decode(),
                "priority": priority,
            },
        )
        written = accept(self.engine, self.settings, request, connection)
        uids = None if written.jobs is None else JobUids(request.gid, written.jobs)
        return Launched(request.gid, uids, written.new, written.state, written.position)

    @checked
    def cancel(self, key: UUID | None = None, *, project: Id | None = None) -> CancelShape:
        """Cancel a job, a launch or all of a project, at any moment, also while the cluster is away. Idempotent.

        What was not submitted ends at once; the rest is `Cancelling` until its workflow has ended. The record stays. A launch of very many
        jobs is gone through in batches; where the call was interrupted, the same one goes on.

        Args:
            key: uid of a job or gid of a launch; default: all of the project.
            project: Only if it belongs to this project.

        Raises:
            NotFound: There is no such job or launch.
            InvalidRequest: Neither is given.
        """
        return CancelShape(**vars(control.cancel(self.engine, key, project)))

    @checked
    def delete(self, key: UUID, *, project: Id | None = None) -> CancelShape:
        """The REST reference's DELETE: cancel, and leave it out of default lists. Raises as `cancel`."""
        return CancelShape(**vars(control.cancel(self.engine, key, project, hide=True)))

    @checked
    def retry(
        self, key: UUID, *, project: Id | None = None, failed_only: bool = True, token: Token | None = None
    ) -> int:
        """Try again what has ended; each job gets a new attempt under its uid, and `get(uid, attempt=…)` still reads the old ones.

        Args:
            key: uid of a job or gid of a launch.
            project: Only if it belongs to this project.
            failed_only: Only jobs that ended `Failed`, `Error`, `Lost`, `Deleted` or `Cancelled`; else also `Rejected` and `Succeeded`.
            token: The user's API token, needed again once all jobs of the launch had ended, because it was forgotten then.

        Returns:
            How many jobs are queued again.

        Raises:
            NotFound: There is no such job or launch.
            Conflict: It has no jobs, its cluster was removed, or unfinished jobs use the present token.
            InvalidRequest: The token is needed and not given.
            QueueFull: The project has too many queued jobs; nothing is written.
        """
        return control.retry(self.engine, key, project, failed_only, seal(self.settings, token))

    @checked
    def pause(
        self,
        *,
        cluster: Key | None = None,
        project: Id | None = None,
        algorithm: Key | None = None,
        reason: Text = "",
    ) -> None:
        """Submit nothing new on a cluster, of a project or of an algorithm; what runs goes on, and jobs that wait say why.

        Args:
            cluster: Name or id.
            project: Id.
            algorithm: Name or id.
            reason: Shown with the jobs that wait.

        Raises:
            InvalidRequest: Not just one of the three is given.
            NotFound: There is no such cluster or algorithm.
        """
        control.pause(self.engine, cluster, project, algorithm, reason)

    @checked
    def resume(self, *, cluster: Key | None = None, project: Id | None = None, algorithm: Key | None = None) -> None:
        """Let what was paused go on. Arguments and errors are those of `pause`."""
        control.resume(self.engine, cluster, project, algorithm)

    @checked
    def launches(
        self, *, project: Id | None = None, gid: UUID | None = None, limit: Number = 100, hidden: bool = False
    ) -> list[LaunchShape]:
        """Launches, newest first, with their jobs counted by status; deleted ones only by their gid or with `hidden`."""
        with self.engine.connect() as connection:
            return reading.launches(connection, project, gid, limit, hidden)

    @checked
    def list(
        self,
        *,
        project: Id | None = None,
        gid: UUID | None = None,
        media_id: MediaId | None = None,
        limit: Number = 100,
        offset: Number = 0,
        nodes: bool = True,
        hidden: bool = False,
    ) -> list[JobShape]:
        """Jobs, newest launch first, in the order of their batches.

        Args:
            project: Only this project's.
            gid: Only this launch's.
            media_id: Only those that hold this medium.
            limit: The most to return.
            offset: How many to leave out first.
            nodes: Whether to read the nodes too.
            hidden: Deleted ones too.
        """
        where = reading.Filter(project=project, gid=gid, media_id=media_id, hidden=hidden)
        with self.engine.connect() as connection:
            return reading.jobs(connection, where, limit, offset, nodes)

    @checked
    def get(self, uid: UUID, *, project: Id | None = None, attempt: Number | None = None) -> JobShape:
        """One job, also before its launch was expanded and after it was rejected.

        Args:
            uid: Which.
            project: Only if it belongs to this project.
            attempt: An older attempt instead of the newest.

        Raises:
            NotFound: There is no such job.
        """
        where = reading.Filter(uid=uid, project=project, attempt=attempt, hidden=True)
        with self.engine.connect() as connection:
            return reading.job(connection, where)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name}: must be a sequence, not {type(values).__name__}")
    return list(values)
