"""The part of the client for operators: algorithms, clusters, projects, and a restored database.

Each method checks its arguments and calls the function that does the work, in a transaction of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

from pydantic import SkipValidation
from sqlmodel import Session

from argosy import sealing
from argosy.client import linting, moving, registering
from argosy.errors import ManifestError
from argosy.extras import late
from argosy.inputs import checked, validated
from argosy.settings import Settings
from argosy.settings import load as load_settings
from argosy.shapes.clusters import ClusterFields
from argosy.shapes.given import AlgorithmFields, Id, Key, Number, Parameter, Parameters
from argosy.shapes.moved import MovedShape
from argosy.shapes.projects import ProjectFields, ProjectSpec
from argosy.shapes.shown import AlgorithmShape, ClusterShape, ProjectShape
from argosy.shapes.status import StatusShape
from argosy.store import database, holds, projects, registry, status
from argosy.store.reconciling import Waiting

if TYPE_CHECKING:
    from argosy import clusters
    from argosy.kube.check import Report
    from argosy.recovery import reconcile
    from argosy.recovery.reconcile import Decisions, Findings
else:
    clusters, reconcile = late("argosy.clusters"), late("argosy.recovery.reconcile")


class Administration:
    """The methods for what jobs run with and where.

    Args:
        settings: Settings of this process; default: from the environment (`ARGOSY_…`).
        pool_size: Connections to the database that are kept.
    """

    def __init__(self, settings: Settings | None = None, pool_size: int = 5) -> None:
        self.settings = settings or load_settings()
        self.engine = database.engine(self.settings, pool_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool; leaving the client's `with` block does it too."""
        self.engine.dispose()

    @checked
    def set_project(self, project: Id, **fields: Unpack[ProjectFields]) -> ProjectShape:
        """Change a project's settings; the fields are those of `ProjectSpec`.

        Raises:
            InvalidRequest: A field cannot be used.
        """
        with self.engine.begin() as connection:
            now = projects.locked(connection, project).model_dump(include=set(ProjectSpec.model_fields))
            projects.put(connection, project, validated(ProjectSpec, now | fields))
            return projects.get(connection, project)

    @checked
    def limit_project(self, project: Id, cluster: Key, max_active: Number | None) -> ProjectShape:
        """Limit a project's unfinished workflows on one cluster; None removes the limit. It takes effect with the next claim.

        Raises:
            NotFound: There is no such cluster.
            InvalidRequest: The limit is negative.
        """
        with Session(self.engine) as session:
            projects.limit(session.connection(), project, registry.cluster(session, cluster).id, max_active)
            session.commit()
        return self.project(project)

    @checked
    def project(self, project: Id) -> ProjectShape:
        """A project's settings, and what it has. A project without settings has weight 1 and no limits."""
        with self.engine.connect() as connection:
            return projects.get(connection, project)

    @checked
    def projects(self) -> Sequence[ProjectShape]:
        """The projects that have settings, or unfinished or queued jobs."""
        with self.engine.connect() as connection:
            return projects.all_(connection)

    @checked
    def register_algorithm(self, **fields: Unpack[AlgorithmFields]) -> AlgorithmShape:
        """Register an algorithm; the fields are those of `AlgorithmSpec`.

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
        """Remove an algorithm; its launches continue."""
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
    def lint(
        self, text: str, *, cluster: Key | None = None, extra_params: SkipValidation[Sequence[dict[str, Any]]] = ()
    ) -> Sequence[ManifestError]:
        """Everything that is wrong with a manifest, in the order of its lines.

        Args:
            text: The manifest.
            cluster: Check it against this cluster's policy, and ask its Argo Server, if it names one.
            extra_params: Parameters of a launch, each as `{"name": …, "value": …}`: also why such a launch would be refused.
        """
        return linting.lint(self.engine, self.settings, text, cluster, _given(extra_params))

    @checked
    def lint_algorithm(
        self, algorithm: Key, *, cluster: Key | None = None, extra_params: SkipValidation[Sequence[dict[str, Any]]] = ()
    ) -> Sequence[ManifestError]:
        """Find everything that is wrong with a registered algorithm's manifest, warnings included.

        Args:
            algorithm: Its name or id.
            cluster: Judged by this cluster's policy; without it, by those of all clusters that may take its jobs. Their Argo Servers are
                asked too.
            extra_params: As for `lint`.

        Raises:
            NotFound: There is no such algorithm or cluster.
        """
        return linting.lint_algorithm(self.engine, self.settings, algorithm, cluster, _given(extra_params))

    @checked
    def lint_algorithm_by_argo(self, algorithm: Key) -> Sequence[ManifestError]:
        """What the Argo Servers of the clusters that may take an algorithm's jobs say is wrong with its manifest. Without an Argo Server
        nobody is asked. Raises as `lint_algorithm`."""
        return linting.lint_algorithm_by_argo(self.engine, self.settings, algorithm)

    @checked
    def add_cluster(self, **fields: Unpack[ClusterFields]) -> ClusterShape:
        """Register a JobCluster; the fields are those of `ClusterSpec`.

        The cluster is asked which place it is. If it does not answer, it is still registered.

        Raises:
            InvalidRequest: A required field is missing or cannot be used.
            Conflict: The name is not unique, or another registration means the same cluster and namespace.
        """
        return registering.add_cluster(self.engine, self.settings, fields)

    @checked
    def update_cluster(self, key: Key, **fields: Unpack[ClusterFields]) -> ClusterShape:
        """Change fields of a cluster. A new host, and a new address of an Argo Server, need the token again, so that the token is never
        sent to a host that it was not meant for. With a new host its Argo Server must be named again. While the cluster has unfinished
        jobs, a new address must lead to the same place; the cluster is asked whether it does.

        Raises:
            InvalidRequest: A field cannot be used.
            Conflict: The name is not unique, or the address leads to another place, or nobody answers there.
            NotFound: There is no such cluster.
        """
        return registering.update_cluster(self.engine, self.settings, key, fields)

    @checked
    def release_cluster(self, key: Key) -> int:
        """Remove argosy's finalizer from all its workflows on a cluster. Returns and raises as `clusters.release`."""
        return clusters.release(self.engine, self.settings, key)

    @checked
    def remove_cluster(self, key: Key, *, abandon: bool = False, waiting: Waiting | None = None) -> int:
        """Release a cluster, remove it and delete its credentials. With `abandon` the cluster is not asked, and its jobs end; if it is
        held, `waiting` says what to do with queued jobs that may have run there. Returns and raises as `clusters.remove`."""
        return clusters.remove(self.engine, self.settings, key, abandon, waiting)

    @checked
    def move_jobs(self, source: Key, target: Key, *, dry_run: bool = False) -> MovedShape:
        """Move what is queued for a cluster to another one. Arguments, result and errors are those of `moving.move`."""
        return moving.move(self.engine, self.settings, source, target, dry_run)

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

    def status(self) -> StatusShape:
        """How the installation is: processes that are alive, queue, clusters with their leases, what went wrong last."""
        return status.status(self.engine)

    @checked
    def rotate_secrets(self, *, lost: bool = False) -> sealing.Rotated:
        """Seal everything anew with the newest keys. Arguments, result and errors are those of `sealing.rotate`."""
        return sealing.rotate(self.engine, self.settings, lost)

    def held(self) -> dict[str, str]:
        """Why clusters are held, by their names; empty if none is."""
        with self.engine.connect() as connection:
            return holds.held(connection)

    def database_restored(self) -> Sequence[str]:
        """Tell argosy that the database was restored: until `reconcile`, nothing is created, ended or called lost. Returns the clusters
        that this has held."""
        return reconcile.restored(self.engine)

    def reconcile(self, decisions: "Decisions | None" = None) -> "Sequence[Findings]":
        """The state of the jobs of held clusters; with decisions, apply them and end the holds. Arguments and errors are those of
        `reconcile.reconcile`."""
        return reconcile.reconcile(self.engine, self.settings, decisions)

    @checked
    def check_cluster(self, key: Key) -> "Report":
        """Ask the cluster itself whether argosy can work there. The versions that it reports are stored."""
        return clusters.check(self.engine, self.settings, key)


def _given(extra_params: Sequence[dict[str, Any]]) -> list[Parameter]:
    return validated(Parameters, {"extra_params": extra_params}).extra_params
