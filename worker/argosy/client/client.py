"""The methods for launches and jobs."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from uuid import uuid1

from pydantic import SkipValidation

from argosy.client import control
from argosy.client.administration import Administration
from argosy.client.bulk import Bulks
from argosy.client.finding import Finder
from argosy.errors import InvalidRequest
from argosy.history.reader import Reader
from argosy.inputs import checked, validated
from argosy.launch import inputs
from argosy.launch.accept import accept, seal
from argosy.launch.judging import judge
from argosy.logs.reader import LogReader
from argosy.shapes.filters import RetryFilter
from argosy.shapes.given import (
    AnyId,
    Id,
    Key,
    LaunchRequest,
    LaunchToken,
    MediaId,
    Number,
    Parameters,
    Ref,
    Text,
    uuid_of,
)
from argosy.shapes.launched import Launched
from argosy.shapes.shown import CancelShape, JobShape, OutdatedShape, SplitShape
from argosy.store import reading
from argosy.store.retries import Again


class Client(Administration, Reader, LogReader, Finder, Bulks):
    """The methods for launches and jobs, and those of `Administration`, `Reader` (history/reader.py), `LogReader`
    (logs/reader.py), `Finder` (finding.py) and `Bulks` (bulk.py).

    Args:
        settings: Settings of this process; default: from the environment (`ARGOSY_…`).
        pool_size: Connections to the database that are kept.
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
        token: LaunchToken | None = None,
        success_email_spec: SkipValidation[dict[str, Any] | None] = None,
        failure_email_spec: SkipValidation[dict[str, Any] | None] = None,
        gid: AnyId | None = None,
        priority: int = 0,
        skip_done: bool = False,
        after: AnyId | None = None,
        after_if: Literal["ok", "any"] = "ok",
        cancel_with: bool = False,
        webhook: str | None = None,
        connection: Any = None,
    ) -> Launched:
        """Run an algorithm on media.

        Args:
            algorithm_name: A registered algorithm of the project.
            project: The project that has the media, and whose share of the clusters is used.
            user: The user who launches.
            media_ids: The media in their order; repetitions are ignored.
            media_query: Instead of media_ids, a query string for the API server's media list. Without both, all media of the project.
            extra_params: Parameters, each as `{"name": …, "value": …}`.
            token: The user's API token; sealed before it leaves this call.
            success_email_spec: The mail that is sent when all its jobs have Succeeded: `{"recipients": ["Name <mail>", …], "subject": …,
                "text": …, "attachments": [{"key": …, "name": …}]}`; see worker/docs/mail.md.
            failure_email_spec: The mail for every other end.
            gid: Version-1 UUID; default: a new one. The same request with the same gid is the same launch.
            priority: -100 to 100, higher first; orders only this user's jobs in this project, and does not affect other users.
            skip_done: Leave out media on which the algorithm has Succeeded already, with the same manifest and parameters, in this
                project. `launches(gid=…)` says how many were left out; if none remain, the launch is `expanded` with 0 jobs.
            after: gid of a launch of the same project, which must be there: begin when all its jobs have ended.
            after_if: `ok`: if these have not all Succeeded, this launch is rejected; `any`: begin however they end.
            cancel_with: A cancel of that launch cancels this one too, as long as it waits.
            webhook: URL that gets a signed POST when all its jobs have ended (worker/docs/enqueue.md, “Webhooks”).
            connection: A connection of psycopg, psycopg2 or Django, or a connection or session of SQLAlchemy. The launch is written in its
                transaction, and the caller commits. Default: a transaction of its own, committed on return. For asynchronous ones there is
                `argosy.client.AsyncClient`.

        Raises:
            InvalidRequest: A field, the connection, or a parameter of the algorithm cannot be used; there are no media; or they, or the
                parameters, are too large.
            Conflict: The gid belongs to another launch.
            NotFound: The project has no such algorithm, or no launch `after`, or no registered cluster may take its jobs.
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
                "skip_done": skip_done,
                "after": after,
                "after_if": after_if,
                "cancel_with": cancel_with,
                "webhook": webhook,
            },
        )
        written = accept(self.engine, self.settings, request, connection, judge)
        return Launched(
            gid=request.gid, expanded=written.jobs is not None, **{**vars(written), "jobs": written.jobs or 0}
        )

    @checked
    def cancel(self, key: Ref | None = None, *, project: Id | None = None) -> CancelShape:
        """Cancel a job, a launch or all jobs of a project, at any time, even while the cluster is not reachable. Idempotent.

        Jobs that were not submitted end at once; the others are `Cancelling` until their workflow has ended. The record stays. A large
        launch is cancelled in batches; if the call was interrupted, a second call continues.

        Args:
            key: uid of a job or gid of a launch; default: all of the project.
            project: Only if it belongs to this project.

        Raises:
            NotFound: There is no such job or launch.
            InvalidRequest: Neither is given.
        """
        return CancelShape(**vars(control.cancel(self.engine, None if key is None else uuid_of(key), project)))

    @checked
    def delete(self, key: Ref, *, project: Id | None = None) -> CancelShape:
        """The REST reference's DELETE: cancel a job or launch, and hide it from default lists. Raises as `cancel`."""
        return CancelShape(**vars(control.cancel(self.engine, uuid_of(key), project, hide=True)))

    @checked
    def retry(
        self,
        key: Ref,
        *,
        project: Id | None = None,
        failed_only: bool = True,
        where: RetryFilter | None = None,
        token: LaunchToken | None = None,
        latest: bool = False,
        extra_params: SkipValidation[Sequence[dict[str, Any]]] = (),
    ) -> int:
        """Retry ended jobs. Each gets a new attempt under the same uid; `get(uid, attempt=…)` still reads the old ones.

        Args:
            key: uid of a job or gid of a launch.
            project: Only if it belongs to this project.
            failed_only: Only jobs that ended `Failed`, `Error`, `Lost`, `Deleted` or `Cancelled`; else also `Rejected` and `Succeeded`.
            where: Only some of them: by the key of a group of `failures`, by status, by medium.
            token: The user's API token. It is needed again after all jobs of the launch had ended, because it was wiped then.
            latest: Run manifest, parameters, clusters and deadlines of the algorithm as they are registered now; else, what these jobs ran.
            extra_params: Parameters in place of, or beside, those that these jobs had, each as `{"name": …, "value": …}`.

        Returns:
            How many jobs are queued again.

        Raises:
            NotFound: There is no such job or launch; or, with `latest`, no such algorithm any more.
            Conflict: It has no jobs, its cluster was removed, or unfinished jobs use the present token.
            InvalidRequest: The token is needed and not given, or manifest and parameters do not fit each other.
            QueueFull: The project has too many queued jobs; nothing is written.
        """
        return control.retry(
            self.engine,
            uuid_of(key),
            project,
            self._again(key, project, failed_only, where, token, latest, extra_params),
        )

    @checked
    def split(
        self,
        key: Ref,
        *,
        project: Id | None = None,
        failed_only: bool = True,
        where: RetryFilter | None = None,
        token: LaunchToken | None = None,
        latest: bool = False,
        extra_params: SkipValidation[Sequence[dict[str, Any]]] = (),
    ) -> SplitShape:
        """Retry each medium by itself. Arguments and errors are those of `retry`.

        Ended batches of several media stay as they ended, and their media become jobs of one medium each, of a new launch with the same
        manifest and parameters: its `parent_gid` is the old one's gid. Ended jobs of one medium are queued again. The same call again
        returns the same new launch until that has ended; after that, it makes another one of those media on which no such launch has
        Succeeded.
        """
        made, queued = control.split(
            self.engine,
            uuid_of(key),
            project,
            self._again(key, project, failed_only, where, token, latest, extra_params),
        )
        return SplitShape(**vars(made), queued=queued)

    def _again(
        self,
        key: Ref,
        project: int | None,
        failed_only: bool,
        where: RetryFilter | None,
        token: LaunchToken | None,
        latest: bool,
        extra_params: Sequence[dict[str, Any]],
    ) -> Again:
        """What `retry` and `split` ask for."""
        given = validated(Parameters, {"extra_params": _listed("extra_params", extra_params)}).extra_params
        revised = inputs.revise(self.engine, uuid_of(key), project, latest, given) if latest or given else None
        return Again(control.which(where, failed_only), seal(self.settings, token), revised)

    @checked
    def outdated(self, key: Ref, *, project: Id | None = None) -> OutdatedShape | None:
        """Whether `retry` with `latest` would run something else than the newest attempts of a job or launch ran.

        Args:
            key: uid of a job or gid of a launch.
            project: Only if it belongs to this project.

        Returns:
            None if it would run the same, or if its algorithm is not registered any more.
        """
        return inputs.outdated(self.engine, uuid_of(key), project)

    @checked
    def pause(
        self,
        *,
        cluster: Key | None = None,
        project: Id | None = None,
        algorithm: Key | None = None,
        reason: Text = "",
    ) -> None:
        """Submit no new jobs to a cluster, of a project or of an algorithm. Jobs that run continue, and queued jobs show why they wait.

        Args:
            cluster: Name or id.
            project: Id.
            algorithm: Name or id.
            reason: Shown with the jobs that wait.

        Raises:
            InvalidRequest: None, or more than one, of the three is given.
            NotFound: There is no such cluster or algorithm.
        """
        control.pause(self.engine, cluster, project, algorithm, reason)

    @checked
    def resume(self, *, cluster: Key | None = None, project: Id | None = None, algorithm: Key | None = None) -> None:
        """End a pause. Arguments and errors are those of `pause`."""
        control.resume(self.engine, cluster, project, algorithm)

    @checked
    def list(
        self,
        *,
        project: Id | None = None,
        gid: AnyId | None = None,
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
        where = reading.Filter(
            project=project, gid=None if gid is None else uuid_of(gid), media_id=media_id, hidden=hidden
        )
        with self.engine.connect() as connection:
            return reading.jobs(connection, where, limit, offset, nodes)

    @checked
    def get(self, uid: Ref, *, project: Id | None = None, attempt: Number | None = None) -> JobShape:
        """One job, even if its launch is not expanded yet or was rejected.

        Args:
            uid: Which.
            project: Only if it belongs to this project.
            attempt: An older attempt instead of the newest.

        Raises:
            NotFound: There is no such job.
        """
        where = reading.Filter(uid=uuid_of(uid), project=project, attempt=attempt, hidden=True)
        with self.engine.connect() as connection:
            return reading.job(connection, where)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name}: must be a sequence, not {type(values).__name__}")
    return list(values)
