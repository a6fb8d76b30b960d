"""What an API server imports: launch and read, register algorithms and clusters. Typed, synchronous, nothing but PostgreSQL.

A launch is written in the caller's own transaction when it hands its connection in, so the API server needs neither Redis nor a second
commit; everything that is read comes from the database and asks no cluster (design §6). The one exception is `check_cluster`, which is
asked for because it asks the cluster.
"""

import inspect
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid1

from pydantic import BaseModel, SkipValidation, TypeAdapter, ValidationError
from sqlmodel import Session

from argosy import clusters, control, crypto, manifest
from argosy.batches import JobUids, count, distinct
from argosy.errors import Conflict, InvalidRequest, ManifestError, NotConfigured, NotFound
from argosy.kube.answers import KubeError
from argosy.kube.check import Report
from argosy.kube.marks import Mark
from argosy.recovery import reconcile
from argosy.recovery.reconcile import Decisions, Findings
from argosy.settings import Settings
from argosy.settings import load as load_settings
from argosy.shapes import (
    AlgorithmShape,
    AlgorithmSpec,
    CancelShape,
    ClusterShape,
    ClusterSpec,
    Id,
    JobShape,
    Key,
    LaunchRequest,
    LaunchShape,
    MediaId,
    Number,
    ProjectShape,
    ProjectSpec,
    Text,
    Token,
)
from argosy.store import database, holds, launches, pausing, projects, reading, registry
from argosy.store.reconciling import Waiting
from argosy.store.tables import Algorithm, Cluster

M = TypeVar("M", bound=BaseModel)


P = ParamSpec("P")
T = TypeVar("T")


def _checked(method: Callable[P, T]) -> Callable[P, T]:
    """Have each argument be what its annotation says before the method begins: what cannot be is refused in words, and by name."""
    signature = inspect.signature(method)
    adapters = {
        name: TypeAdapter[Any](parameter.annotation)
        for name, parameter in signature.parameters.items()
        if parameter.annotation not in {inspect.Parameter.empty, Any}
    }

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        for name in bound.arguments.keys() & adapters.keys():
            try:
                bound.arguments[name] = adapters[name].validate_python(bound.arguments[name])
            except ValidationError as error:
                raise _refused(error, name) from None
        return method(*bound.args, **bound.kwargs)

    return call


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

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()

    @_checked
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
        request = _validated(
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
                "token_sealed": self._seal(token),
                "priority": priority,
            },
        )
        written = self._write(request, connection)
        uids = None
        if request.media_ids is not None and written.files_per_job is not None:
            uids = JobUids(request.gid, count(len(distinct(request.media_ids)), written.files_per_job))
        return Launched(request.gid, uids, written.new, written.state, written.position)

    def _seal(self, token: str | None) -> str | None:
        if token is None:
            return None
        if self.settings.token_public_key is None:
            raise NotConfigured(
                "ARGOSY_TOKEN_PUBLIC_KEY is not set: a launch's token cannot be sealed; see: argosy keys"
            )
        return b64encode(crypto.seal_token(token, self.settings.token_public_key)).decode()

    def _write(self, request: LaunchRequest, connection: Any) -> launches.Written:
        if connection is not None:
            with _dbapi(connection).cursor() as cursor, _savepoint(cursor):
                return launches.insert(cursor, request, self.settings.retention_days)
        with self.engine.begin() as own:
            return launches.insert(launches.OwnCursor(own), request, self.settings.retention_days)

    @_checked
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

    @_checked
    def delete(self, key: UUID, *, project: Id | None = None) -> CancelShape:
        """The REST reference's DELETE: cancel, and leave it out of default lists. Raises as `cancel`."""
        return CancelShape(**vars(control.cancel(self.engine, key, project, hide=True)))

    @_checked
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
        sealed = self._seal(token)
        return control.retry(self.engine, key, project, failed_only, b64decode(sealed) if sealed else None)

    @_checked
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
        with Session(self.engine) as session:
            table, key = _paused(session, cluster, project, algorithm)
            pausing.pause(session.connection(), table, key, reason)
            session.commit()

    @_checked
    def resume(self, *, cluster: Key | None = None, project: Id | None = None, algorithm: Key | None = None) -> None:
        """Let what was paused go on. Arguments and errors are those of `pause`."""
        with Session(self.engine) as session:
            table, key = _paused(session, cluster, project, algorithm)
            pausing.resume(session.connection(), table, key)
            session.commit()

    @_checked
    def set_project(self, project: Id, **fields: Any) -> ProjectShape:
        """Change how a project is treated; the fields are `ProjectSpec`'s.

        Raises:
            InvalidRequest: A field cannot be used.
        """
        with self.engine.begin() as connection:
            now = projects.locked(connection, project).model_dump(include=set(ProjectSpec.model_fields))
            projects.put(connection, project, _validated(ProjectSpec, now | fields))
            return projects.get(connection, project)

    @_checked
    def limit_project(self, project: Id, cluster: Key, max_active: Number | None) -> ProjectShape:
        """Bound a project's unfinished workflows on one cluster; None takes the bound away. It holds from the next claim on.

        Raises:
            NotFound: There is no such cluster.
            InvalidRequest: The bound is negative.
        """
        with Session(self.engine) as session:
            projects.limit(session.connection(), project, registry.cluster(session, cluster).id or 0, max_active)
            session.commit()
        return self.project(project)

    @_checked
    def project(self, project: Id) -> ProjectShape:
        """How a project is treated, and what it has; one that nobody has set anything for has weight 1 and no limits."""
        with self.engine.connect() as connection:
            return projects.get(connection, project)

    @_checked
    def projects(self) -> Sequence[ProjectShape]:
        """The projects that something was set for, or that have unfinished or queued jobs."""
        with self.engine.connect() as connection:
            return projects.all_(connection)

    @_checked
    def launches(
        self, *, project: Id | None = None, gid: UUID | None = None, limit: Number = 100, hidden: bool = False
    ) -> list[LaunchShape]:
        """Launches, newest first, with their jobs counted by status; deleted ones only by their gid or with `hidden`."""
        with self.engine.connect() as connection:
            return reading.launches(connection, project, gid, limit, hidden)

    @_checked
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

    @_checked
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
            found = reading.jobs(connection, where, limit=1)
            early = None if found or attempt is not None else reading.unexpanded(connection, uid)
        if early is not None and project in {None, early.project}:
            return early
        if not found:
            raise NotFound(
                f"job {uid}" + (f", attempt {attempt}" if attempt else "") + " does not exist; see: argosy list"
            )
        return found[0]

    @_checked
    def register_algorithm(self, **fields: Any) -> AlgorithmShape:
        """Register an algorithm; the fields are `AlgorithmSpec`'s.

        Raises:
            InvalidRequest: A required field is missing or cannot be used.
            ManifestError: The manifest has an error; it says where.
            Conflict: The name is not unique.
            NotFound: The cluster is not registered.
        """
        spec = _validated(AlgorithmSpec, fields)
        with Session(self.engine, expire_on_commit=False) as session:
            self._check_algorithm(session, spec, None)
            row = Algorithm(**_algorithm_row(spec))
            session.add(row)
            session.commit()
            return _algorithm_shape(row)

    @_checked
    def update_algorithm(self, key: Key, **fields: Any) -> AlgorithmShape:
        """Change fields of an algorithm; launches that exist keep what they were launched with. Raises as `register_algorithm`."""
        with Session(self.engine, expire_on_commit=False) as session:
            row = registry.algorithm(session, key)
            now = _algorithm_shape(row).model_dump(include=set(AlgorithmSpec.model_fields))
            if not {"cluster", "clusters", "cluster_labels"}.isdisjoint(fields):
                now |= {"cluster": None, "clusters": [], "cluster_labels": {}}
            spec = _validated(AlgorithmSpec, now | fields)
            self._check_algorithm(session, spec, row.id)
            row.sqlmodel_update(_algorithm_row(spec))
            session.add(row)
            session.commit()
            return _algorithm_shape(row)

    @_checked
    def remove_algorithm(self, key: Key) -> None:
        """Remove an algorithm; its launches go on."""
        with Session(self.engine) as session:
            session.delete(registry.algorithm(session, key))
            session.commit()

    @_checked
    def algorithms(self, *, project: Id | None = None) -> Sequence[AlgorithmShape]:
        """Registered algorithms, by name."""
        with Session(self.engine) as session:
            return [_algorithm_shape(row) for row in registry.algorithms(session, project)]

    @_checked
    def algorithm(self, key: Key) -> AlgorithmShape:
        """One algorithm by name or id.

        Raises:
            NotFound: There is none.
        """
        with Session(self.engine) as session:
            return _algorithm_shape(registry.algorithm(session, key))

    @_checked
    def lint(self, text: str, *, cluster: Key | None = None) -> Sequence[ManifestError]:
        """Everything that is wrong with a manifest, in the order of its lines.

        Args:
            text: The manifest.
            cluster: Judge it by this cluster's policy.
        """
        in_clear = False
        if cluster is not None:
            with Session(self.engine) as session:
                in_clear = registry.cluster(session, cluster).token_in_clear
        return manifest.lint(text, token_in_clear=in_clear)

    def _check_algorithm(self, session: Session, spec: AlgorithmSpec, own: int | None) -> None:
        if registry.name_taken(session, Algorithm, spec.name, own):
            raise Conflict(
                f"name: {spec.name!r} is not unique; another algorithm has it (names are unique across projects)"
            )
        named = [*spec.clusters, *([] if spec.cluster is None else [spec.cluster])]
        in_clear = bool(named) and all(registry.cluster(session, key).token_in_clear for key in named)
        if "{{" in spec.name:
            raise InvalidRequest("name: must not contain '{{'")
        manifest.merge_parameters(spec.parameters, [])
        manifest.check(spec.manifest, token_in_clear=in_clear)

    @_checked
    def add_cluster(self, **fields: Any) -> ClusterShape:
        """Register a JobCluster; the fields are `ClusterSpec`'s.

        It is asked which place it is, and registered all the same where it does not answer.

        Raises:
            InvalidRequest: A required field is missing or cannot be used.
            Conflict: The name is not unique, or another registration means the same cluster and namespace.
        """
        spec = _validated(ClusterSpec, fields)
        with Session(self.engine, expire_on_commit=False) as session:
            self._check_cluster(session, spec, None)
        row = Cluster(**self._cluster_row(spec))
        mark = self._place(row)
        with Session(self.engine, expire_on_commit=False) as session:
            if mark is not None:
                row.identity, row.epoch = mark.uid, mark.epoch
            _check_place(session, row)
            _one_default(session, row)
            session.commit()
            session.refresh(row)
            return _cluster_shapes(session, [row])[0]

    @_checked
    def update_cluster(self, key: Key, **fields: Any) -> ClusterShape:
        """Change fields of a cluster. A new host wants the token anew, so that it is never sent to a host it was not meant for. While jobs
        on it have not ended, another address must lead to the same place, and is asked whether it does.

        Raises:
            InvalidRequest: A field cannot be used.
            Conflict: The name is not unique, or the address leads to another place, or does not say.
            NotFound: There is no such cluster.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            before = registry.cluster(session, key)
            after = Cluster(**before.model_dump() | self._changed(session, before, fields))
        moved = _address(after) != _address(before)
        mark = self._place(after) if moved else None
        with Session(self.engine, expire_on_commit=False) as session:
            row = registry.locked(session, key)
            if _address(row) != _address(before):
                raise Conflict(f"cluster {row.name!r} was moved meanwhile; look at it, and do it again")
            changed = self._changed(session, row, fields)
            if any(changed[name] != getattr(row, name) for name in changed.keys() - _LIMITS):
                row.credential_version += 1
            row.sqlmodel_update(changed)
            if moved and (mark is None or mark.uid != row.identity):
                self._check_moved(session, row, mark)
                row.identity, row.epoch = (mark.uid, mark.epoch) if mark else ("", 0)
                _check_place(session, row)
            _one_default(session, row)
            session.commit()
            session.refresh(row)
            return _cluster_shapes(session, [row])[0]

    def _changed(self, session: Session, row: Cluster, fields: dict[str, Any]) -> dict[str, Any]:
        """The columns of a cluster as it is to be."""
        if fields.get("host", row.host) != row.host and not fields.get("token"):
            raise InvalidRequest("token: enter it anew together with a new host")
        now = _cluster_shapes(session, [row])[0].model_dump(include=set(ClusterSpec.model_fields))
        spec = _validated(ClusterSpec, now | {"token": "unchanged"} | fields)
        self._check_cluster(session, spec, row.id)
        changed = self._cluster_row(spec)
        if "token" not in fields:
            del changed["token_sealed"]
        return changed

    def _place(self, row: Cluster) -> Mark | None:
        """The mark where a row leads; None where nobody says: it is looked for again before anything is done there."""
        try:
            return clusters.place(self.engine, self.settings, row)
        except (KubeError, NotConfigured):
            return None

    def _check_moved(self, session: Session, row: Cluster, mark: Mark | None) -> None:
        known = holds.marked(session.connection(), row.id or 0)
        if known is not None and known.unfinished:
            what = (
                "cannot be asked whether it is the same cluster"
                if mark is None
                else "leads to another cluster or namespace"
            )
            raise Conflict(
                f"cluster {row.name!r} has unfinished jobs, and its new address {what}; wait until they have ended, or cancel them: they "
                "would be lost, or run twice"
            )

    @_checked
    def release_cluster(self, key: Key) -> int:
        """Take argosy's finalizer off all its workflows on a cluster. Returns and raises as `clusters.release`."""
        return clusters.release(self.engine, self.settings, key)

    @_checked
    def remove_cluster(self, key: Key, *, abandon: bool = False, waiting: Waiting | None = None) -> int:
        """Release a cluster, remove it and forget its credentials; `abandon` asks it nothing and ends its jobs; `waiting` says what becomes
        of those that it perhaps ran, where it is held. Returns and raises as `clusters.remove`."""
        return clusters.remove(self.engine, self.settings, key, abandon, waiting)

    @_checked
    def clusters(self, *, organization: Id | None = None) -> Sequence[ClusterShape]:
        """Registered clusters, by name, without their tokens."""
        with Session(self.engine) as session:
            return _cluster_shapes(session, registry.clusters(session, organization))

    @_checked
    def cluster(self, key: Key) -> ClusterShape:
        """One cluster by name or id, without its token.

        Raises:
            NotFound: There is none.
        """
        with Session(self.engine) as session:
            return _cluster_shapes(session, [registry.cluster(session, key)])[0]

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

    @_checked
    def check_cluster(self, key: Key) -> Report:
        """Ask the cluster itself whether argosy can work there; versions that it tells are kept."""
        return clusters.check(self.engine, self.settings, key)

    def _check_cluster(self, session: Session, spec: ClusterSpec, own: int | None) -> None:
        if registry.name_taken(session, Cluster, spec.name, own):
            raise Conflict(f"name: {spec.name!r} is not unique; another cluster has it")
        if spec.cert:
            try:
                ssl.create_default_context(cadata=spec.cert)
            except (ssl.SSLError, ValueError) as error:
                raise InvalidRequest(f"cert: no PEM certificate ({error})") from error

    def _cluster_row(self, spec: ClusterSpec) -> dict[str, Any]:
        row = spec.model_dump(exclude={"token", "default"})
        ring = crypto.KeyRing([key.get_secret_value() for key in self.settings.keys]) if spec.token else None
        return row | {"is_default": spec.default, "token_sealed": ring.seal(spec.token) if ring else None}


def _validated(model: type[M], fields: dict[str, Any]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError, *at: str) -> InvalidRequest:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in (*at, *first["loc"]))
    words = {"missing": "required field is missing", "extra_forbidden": "no such field"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return InvalidRequest(f"{where}: {words}" if where else words)


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{name}: must be a sequence, not {type(values).__name__}")
    return list(values)


def _dbapi(connection: Any) -> Any:
    """The DB-API connection inside what the caller has: SQLAlchemy's session or connection, else the thing itself."""
    if hasattr(connection, "get_bind"):
        connection = connection.connection()
    if hasattr(connection, "in_transaction") and not connection.in_transaction():
        connection.begin()
    driver = getattr(getattr(connection, "connection", None), "driver_connection", None)
    return connection if driver is None else driver


@contextmanager
def _savepoint(cursor: launches.Cursor) -> Iterator[None]:
    """So that whatever goes wrong leaves the caller's transaction as it was, and usable.

    Raises:
        InvalidRequest: There is no transaction.
    """
    try:
        cursor.execute("SAVEPOINT argosy_launch")
    except Exception as error:
        # Of whatever driver: psycopg's, or what Django made of it.
        if any(getattr(one, "sqlstate", None) == "25P01" for one in (error, error.__cause__)):
            raise InvalidRequest(
                "connection: it is in autocommit and has no transaction; begin one (Django: transaction.atomic()), or leave the "
                "connection out"
            ) from error
        raise
    try:
        yield
    except Exception:
        cursor.execute("ROLLBACK TO SAVEPOINT argosy_launch")
        raise
    finally:
        cursor.execute("RELEASE SAVEPOINT argosy_launch")


def _paused(
    session: Session, cluster: str | int | None, project: int | None, algorithm: str | int | None
) -> tuple[pausing.Pausable, int]:
    """What is meant, as a table and an id."""
    if sum(key is not None for key in (cluster, project, algorithm)) != 1:
        raise InvalidRequest("say which: a cluster, a project or an algorithm")
    if cluster is not None:
        return "cluster", registry.cluster(session, cluster).id or 0
    if algorithm is not None:
        return "algorithm", registry.algorithm(session, algorithm).id or 0
    return "project", project or 0


def _address(row: Cluster) -> tuple[str | None, int, str]:
    return row.host, row.port, row.namespace


def _check_place(session: Session, row: Cluster) -> None:
    """See that no other registration means the same place.

    Raises:
        Conflict: One does.
    """
    connection = session.connection()
    twin = holds.twin(connection, row.id, row.identity) if row.identity else None
    if (twin := twin or holds.neighbour(connection, row.id, _address(row))) is not None:
        raise Conflict(f"it is the same cluster and namespace as {twin!r}; update that one, or remove it first")


def _one_default(session: Session, row: Cluster) -> None:
    """A new default takes the place of the old one."""
    if row.is_default:
        with session.no_autoflush:
            for other in registry.clusters(session):
                if other.is_default and other.id != row.id:
                    other.is_default = False
                    session.add(other)
            session.flush()
    session.add(row)


def _algorithm_row(spec: AlgorithmSpec) -> dict[str, Any]:
    return spec.model_dump(exclude={"cluster", "clusters"}) | {"cluster_id": spec.cluster, "cluster_ids": spec.clusters}


def _algorithm_shape(row: Algorithm) -> AlgorithmShape:
    return AlgorithmShape.model_validate(
        row.model_dump(exclude={"cluster_id", "cluster_ids", "created_at"})
        | {"cluster": row.cluster_id, "clusters": row.cluster_ids}
    )


def _cluster_shapes(session: Session, rows: Sequence[Cluster]) -> list[ClusterShape]:
    active = registry.active(session)
    return [
        ClusterShape.model_validate(
            row.model_dump()
            | {"default": row.is_default, "window": row.pace_window, "active": active.get(row.id or 0, 0)}
        )
        for row in rows
    ]


_LIMITS = {
    "max_active",
    "project_max_active",
    "pending_deadline",
    "run_deadline",
    "pace",
    "labels",
    "is_default",
    "organization",
}
"""What may change without anybody connecting to the cluster anew."""
