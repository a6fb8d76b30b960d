"""What an API server imports: launch and read, register algorithms and clusters. Typed, synchronous, nothing but PostgreSQL.

A launch is written in the caller's own transaction when it hands its connection in, so the API server needs neither Redis nor a second
commit; everything that is read comes from the database and asks no cluster (P10). The one exception is `check_cluster`, which is
asked for because it asks the cluster.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, Unpack
from uuid import UUID, uuid1

from pydantic import SkipValidation
from sqlmodel import Session

from argosy import clusters, control, registering
from argosy.batches import JobUids
from argosy.errors import InvalidRequest, ManifestError
from argosy.inputs import checked, validated
from argosy.kube.check import Report
from argosy.launch.accept import accept, seal
from argosy.recovery import reconcile
from argosy.recovery.reconcile import Decisions, Findings
from argosy.settings import Settings
from argosy.settings import load as load_settings
from argosy.shapes import (
    AlgorithmFields,
    AlgorithmShape,
    CancelShape,
    ClusterFields,
    ClusterShape,
    Id,
    JobShape,
    Key,
    LaunchRequest,
    LaunchShape,
    MediaId,
    Number,
    ProjectFields,
    ProjectShape,
    ProjectSpec,
    Text,
    Token,
)
from argosy.store import database, holds, projects, reading, registry
from argosy.store.reconciling import Waiting


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


class Client:
    """The job half of the platform.

    Args:
        settings: Of this process; default: from the environment (`ARGOSY_…`).
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self.engine = database.engine(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool; leaving the client's `with` block does it too."""
        self.engine.dispose()

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
    def set_project(self, project: Id, **fields: Unpack[ProjectFields]) -> ProjectShape:
        """Change how a project is treated; the fields are `ProjectSpec`'s.

        Raises:
            InvalidRequest: A field cannot be used.
        """
        with self.engine.begin() as connection:
            now = projects.locked(connection, project).model_dump(include=set(ProjectSpec.model_fields))
            projects.put(connection, project, validated(ProjectSpec, now | fields))
            return projects.get(connection, project)

    @checked
    def limit_project(self, project: Id, cluster: Key, max_active: Number | None) -> ProjectShape:
        """Bound a project's unfinished workflows on one cluster; None takes the bound away. It holds from the next claim on.

        Raises:
            NotFound: There is no such cluster.
            InvalidRequest: The bound is negative.
        """
        with Session(self.engine) as session:
            projects.limit(session.connection(), project, registry.cluster(session, cluster).id, max_active)
            session.commit()
        return self.project(project)

    @checked
    def project(self, project: Id) -> ProjectShape:
        """How a project is treated, and what it has; one that nobody has set anything for has weight 1 and no limits."""
        with self.engine.connect() as connection:
            return projects.get(connection, project)

    @checked
    def projects(self) -> Sequence[ProjectShape]:
        """The projects that something was set for, or that have unfinished or queued jobs."""
        with self.engine.connect() as connection:
            return projects.all_(connection)

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

    @checked
    def register_algorithm(self, **fields: Unpack[AlgorithmFields]) -> AlgorithmShape:
        """Register an algorithm; the fields are `AlgorithmSpec`'s.

        Raises:
            InvalidRequest: A required field is missing or cannot be used.
            ManifestError: The manifest has an error; it says where.
            Conflict: The name is not unique.
            NotFound: The cluster is not registered.
        """
        return registering.register_algorithm(self.engine, fields)

    @checked
    def update_algorithm(self, key: Key, **fields: Unpack[AlgorithmFields]) -> AlgorithmShape:
        """Change fields of an algorithm; launches that exist keep what they were launched with. Raises as `register_algorithm`."""
        return registering.update_algorithm(self.engine, key, fields)

    @checked
    def remove_algorithm(self, key: Key) -> None:
        """Remove an algorithm; its launches go on."""
        registering.remove_algorithm(self.engine, key)

    @checked
    def algorithms(self, *, project: Id | None = None) -> Sequence[AlgorithmShape]:
        """Registered algorithms, by name."""
        return registering.algorithms(self.engine, project)

    @checked
    def algorithm(self, key: Key) -> AlgorithmShape:
        """One algorithm by name or id.

        Raises:
            NotFound: There is none.
        """
        return registering.algorithm(self.engine, key)

    @checked
    def lint(self, text: str, *, cluster: Key | None = None) -> Sequence[ManifestError]:
        """Everything that is wrong with a manifest, in the order of its lines.

        Args:
            text: The manifest.
            cluster: Judge it by this cluster's policy.
        """
        return registering.lint(self.engine, text, cluster)

    @checked
    def add_cluster(self, **fields: Unpack[ClusterFields]) -> ClusterShape:
        """Register a JobCluster; the fields are `ClusterSpec`'s.

        It is asked which place it is, and registered all the same where it does not answer.

        Raises:
            InvalidRequest: A required field is missing or cannot be used.
            Conflict: The name is not unique, or another registration means the same cluster and namespace.
        """
        return registering.add_cluster(self.engine, self.settings, fields)

    @checked
    def update_cluster(self, key: Key, **fields: Unpack[ClusterFields]) -> ClusterShape:
        """Change fields of a cluster. A new host wants the token anew, so that it is never sent to a host it was not meant for. While jobs
        on it have not ended, another address must lead to the same place, and is asked whether it does.

        Raises:
            InvalidRequest: A field cannot be used.
            Conflict: The name is not unique, or the address leads to another place, or does not say.
            NotFound: There is no such cluster.
        """
        return registering.update_cluster(self.engine, self.settings, key, fields)

    @checked
    def release_cluster(self, key: Key) -> int:
        """Take argosy's finalizer off all its workflows on a cluster. Returns and raises as `clusters.release`."""
        return clusters.release(self.engine, self.settings, key)

    @checked
    def remove_cluster(self, key: Key, *, abandon: bool = False, waiting: Waiting | None = None) -> int:
        """Release a cluster, remove it and forget its credentials; `abandon` asks it nothing and ends its jobs; `waiting` says what becomes
        of those that it perhaps ran, where it is held. Returns and raises as `clusters.remove`."""
        return clusters.remove(self.engine, self.settings, key, abandon, waiting)

    @checked
    def clusters(self, *, organization: Id | None = None) -> Sequence[ClusterShape]:
        """Registered clusters, by name, without their tokens."""
        return registering.registered_clusters(self.engine, organization)

    @checked
    def cluster(self, key: Key) -> ClusterShape:
        """One cluster by name or id, without its token.

        Raises:
            NotFound: There is none.
        """
        return registering.cluster(self.engine, key)

    def held(self) -> dict[str, str]:
        """Why clusters are held, by their names; none where all is well."""
        with self.engine.connect() as connection:
            return holds.held(connection)

    def database_restored(self) -> Sequence[str]:
        """Say that the database was restored: until `reconcile` nothing is created, ended or called lost. The clusters held by that."""
        return reconcile.restored(self.engine)

    def reconcile(self, decisions: Decisions | None = None) -> Sequence[Findings]:
        """How the jobs of held clusters stand; with decisions, let them go on. Arguments and errors are those of `reconcile.reconcile`."""
        return reconcile.reconcile(self.engine, self.settings, decisions)

    @checked
    def check_cluster(self, key: Key) -> Report:
        """Ask the cluster itself whether argosy can work there; versions that it tells are kept."""
        return clusters.check(self.engine, self.settings, key)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name}: must be a sequence, not {type(values).__name__}")
    return list(values)
