"""Registers algorithms and clusters, and refuses those that cannot work.

Both come from a person or an API server as fields of a specification, and become rows that every later stage trusts. What cannot work is
refused here, where somebody can correct it, and not when a job fails because of it. Two registrations must not mean the same place, so a
new cluster is asked which place it is (kube/marks.py, P1).
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg.errors import ForeignKeyViolation, UniqueViolation
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from argosy import crypto, manifest, sealing
from argosy.errors import Conflict, InvalidRequest, NotConfigured
from argosy.extras import late
from argosy.inputs import validated
from argosy.settings import Settings, in_cluster
from argosy.shapes.clusters import ClusterSpec
from argosy.shapes.given import AlgorithmSpec
from argosy.shapes.shown import AlgorithmShape, ClusterShape
from argosy.store import holds, registry
from argosy.store.registered import Algorithm, Cluster

if TYPE_CHECKING:
    from argosy import access, clusters
    from argosy.kube import answers, tokens
    from argosy.kube.marks import Mark
    from argosy.network import guard
else:
    access, clusters, guard = late("argosy.access"), late("argosy.clusters"), late("argosy.network.guard")
    answers, tokens = late("argosy.kube.answers"), late("argosy.kube.tokens")


def register_algorithm(engine: Engine, fields: Mapping[str, Any]) -> AlgorithmShape:
    """Register an algorithm.

    Args:
        engine: Where the rows are.
        fields: The fields of `AlgorithmSpec`.

    Raises:
        InvalidRequest: A required field is missing or cannot be used.
        ManifestError: The manifest has an error; it says where.
        Conflict: The name is not unique.
        NotFound: The cluster is not registered.
    """
    spec = validated(AlgorithmSpec, dict(fields))
    with _meanwhile(spec.name), Session(engine, expire_on_commit=False) as session:
        warnings = _check_algorithm(session, spec, None)
        row = Algorithm(**_algorithm_row(spec))
        session.add(row)
        session.commit()
        return _algorithm_shape(row, warnings)


def update_algorithm(engine: Engine, key: str | int, fields: Mapping[str, Any]) -> AlgorithmShape:
    """Change fields of an algorithm; launches that exist keep what they were launched with. Raises as `register_algorithm`."""
    with _meanwhile(str(fields.get("name", key))), Session(engine, expire_on_commit=False) as session:
        row = registry.algorithm(session, key, lock=True)
        now = _algorithm_shape(row).model_dump(include=set(AlgorithmSpec.model_fields))
        if not {"cluster", "clusters", "cluster_labels"}.isdisjoint(fields):
            now |= {"cluster": None, "clusters": [], "cluster_labels": {}}
        spec = validated(AlgorithmSpec, now | {**fields})
        warnings = _check_algorithm(session, spec, row.id)
        row.sqlmodel_update(_algorithm_row(spec))
        session.add(row)
        session.commit()
        return _algorithm_shape(row, warnings)


def remove_algorithm(engine: Engine, key: str | int) -> None:
    """Remove an algorithm; its launches continue."""
    with Session(engine) as session:
        session.delete(registry.algorithm(session, key, lock=True))
        session.commit()


@contextmanager
def _meanwhile(name: str) -> Iterator[None]:
    """Somebody else may write between the checks and the commit.

    Raises:
        Conflict: They have taken the name, or removed a cluster that is named.
    """
    try:
        yield
    except IntegrityError as error:
        if isinstance(error.orig, ForeignKeyViolation):
            raise Conflict(
                f"{name!r}: a cluster that it names was removed just now; see: argosy cluster list"
            ) from error
        if isinstance(error.orig, UniqueViolation):
            raise Conflict(
                f"{name!r}: somebody has registered the same just now; update that one, or try again"
            ) from error
        raise


def algorithms(engine: Engine, project: int | None) -> Sequence[AlgorithmShape]:
    """Registered algorithms, by name."""
    with Session(engine) as session:
        return [_algorithm_shape(row) for row in registry.algorithms(session, project)]


def algorithm(engine: Engine, key: str | int) -> AlgorithmShape:
    """One algorithm by name or id.

    Raises:
        NotFound: There is none.
    """
    with Session(engine) as session:
        return _algorithm_shape(registry.algorithm(session, key))


def _check_algorithm(session: Session, spec: AlgorithmSpec, own: int | None) -> Sequence[str]:
    """Check an algorithm; returns the warnings for its author."""
    if registry.name_taken(session, Algorithm, spec.name, own):
        raise Conflict(
            f"name: {spec.name!r} is not unique; another algorithm has it (names are unique across projects): update that one, or choose "
            "another name"
        )
    named = [*spec.clusters, *([] if spec.cluster is None else [spec.cluster])]
    clusters = registry.candidates(session, named, spec.cluster_labels)
    in_clear = bool(clusters) and all(cluster.token_in_clear for cluster in clusters)
    manifest.safe_text("name", spec.name)
    parameters = manifest.merge_parameters(spec.parameters, [])
    document = manifest.check(spec.manifest, in_clear, registry.policies(clusters) or manifest.STRICTEST)
    for fault in manifest.outside_enum(document, parameters):
        raise InvalidRequest(f"{fault}: no launch could run")
    warnings = [str(each) for each in manifest.warnings(document, [each.name for each in spec.parameters], in_clear)]
    if spec.cluster_labels and not clusters:
        warnings.append(
            "cluster_labels: no registered cluster carries these labels; launches are rejected until one does"
        )
    if not (named or spec.cluster_labels or clusters or in_cluster()):
        warnings.append(
            "cluster: it names none, and no default cluster is registered; launches are refused until one is"
        )
    return warnings


def _algorithm_row(spec: AlgorithmSpec) -> dict[str, Any]:
    return spec.model_dump(exclude={"cluster", "clusters"}) | {"cluster_id": spec.cluster, "cluster_ids": spec.clusters}


def _algorithm_shape(row: Algorithm, warnings: Sequence[str] = ()) -> AlgorithmShape:
    return AlgorithmShape.model_validate(
        row.model_dump(exclude={"cluster_id", "cluster_ids", "created_at"})
        | {"cluster": row.cluster_id, "clusters": row.cluster_ids, "warnings": warnings}
    )


def add_cluster(engine: Engine, settings: Settings, fields: Mapping[str, Any]) -> ClusterShape:
    """Register a JobCluster. It is asked which place it is. If it does not answer, it is still registered.

    Args:
        engine: Where the rows are.
        settings: Keys and time-outs.
        fields: The fields of `ClusterSpec`.

    Raises:
        InvalidRequest: A required field is missing or cannot be used.
        Conflict: The name is not unique, or another registration means the same cluster and namespace.
        NotConfigured: The keys are missing, or not this installation's.
    """
    spec = validated(ClusterSpec, dict(fields))
    access.check_hosts(settings, spec.host, spec.argo_server)
    with Session(engine, expire_on_commit=False) as session:
        _check_cluster(session, spec, None)
    row = Cluster(**_cluster_row(settings, spec))
    mark = _place(engine, settings, row)
    with _meanwhile(spec.name), Session(engine, expire_on_commit=False) as session:
        if row.token_sealed is not None:
            sealing.hold(session.connection(), settings)
        if mark is not None:
            row.identity, row.epoch = mark.uid, mark.epoch
        _check_place(session, row)
        _one_default(session, row)
        session.commit()
        session.refresh(row)
        return _cluster_shapes(session, [row])[0]


def update_cluster(engine: Engine, settings: Settings, key: str | int, fields: Mapping[str, Any]) -> ClusterShape:
    """Change fields of a cluster. A new host, and a new address of an Argo Server, need the token again, so that the token is never sent to
    a host that it was not meant for. With a new host its Argo Server must be named again.

    While the cluster has unfinished jobs, a new address must lead to the same place; the cluster is asked whether it does.

    Raises:
        InvalidRequest: A field cannot be used.
        Conflict: The name is not unique, or the address leads to another place, or nobody answers there.
        NotFound: There is no such cluster.
    """
    with Session(engine, expire_on_commit=False) as session:
        before = registry.cluster(session, key)
        after = Cluster(**before.model_dump() | _changed(session, settings, before, fields))
    moved = _address(after) != _address(before)
    mark = _place(engine, settings, after) if moved else None
    with _meanwhile(after.name), Session(engine, expire_on_commit=False) as session:
        if fields.get("token"):
            sealing.hold(session.connection(), settings)
        row = registry.locked(session, key)
        if _address(row) != _address(before):
            raise Conflict(f"the address of cluster {row.name!r} was changed meanwhile; check it, and try again")
        changed = _changed(session, settings, row, fields)
        if any(changed[name] != getattr(row, name) for name in changed.keys() - _LIMITS):
            row.credential_version += 1
        row.sqlmodel_update(changed)
        if moved and (mark is None or mark.uid != row.identity):
            _check_moved(session, row, mark)
            row.identity, row.epoch = (mark.uid, mark.epoch) if mark else ("", 0)
            _check_place(session, row)
        _one_default(session, row)
        session.commit()
        session.refresh(row)
        shape = _cluster_shapes(session, [row])[0]
        return shape.model_copy(update={"warnings": _no_longer_fit(session, row)}) if "policy" in fields else shape


def _no_longer_fit(session: Session, row: Cluster) -> list[str]:
    """The algorithms whose jobs this cluster may take, and whose manifests its policy refuses."""
    policies, found = registry.policies([row]), []
    for algorithm in registry.algorithms(session, None):
        if row in registry.candidates_of(session, algorithm):
            errors = [
                each for each in manifest.lint(algorithm.manifest, row.token_in_clear, policies) if not each.warning
            ]
            found += [f"algorithm {algorithm.name}: {errors[0].problem}"] if errors else []
    more = [f"{len(found) - _SHOWN} more algorithms"] if len(found) > _SHOWN else []
    return found[:_SHOWN] + more


_SHOWN = 20

_LIMITS = {
    "max_active",
    "project_max_active",
    "pending_deadline",
    "run_deadline",
    "pace",
    "logs",
    "labels",
    "is_default",
    "organization",
}
"""Fields whose change needs no new connection to the cluster."""


def registered_clusters(engine: Engine, organization: int | None) -> Sequence[ClusterShape]:
    """Registered clusters, by name, without their tokens."""
    with Session(engine) as session:
        return _cluster_shapes(session, registry.clusters(session, organization, token=False))


def cluster(engine: Engine, key: str | int) -> ClusterShape:
    """One cluster by name or id, without its token.

    Raises:
        NotFound: There is none.
    """
    with Session(engine) as session:
        return _cluster_shapes(session, [registry.cluster(session, key, token=False)])[0]


def _changed(session: Session, settings: Settings, row: Cluster, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The new columns of a cluster."""
    fresh = fields.get("token") or fields.get("token_source")
    for name in ("host", "path"):
        if fields.get(name, getattr(row, name)) != getattr(row, name) and not fresh:
            raise InvalidRequest(f"token: enter it again together with a new {name}")
    now = _cluster_shapes(session, [row])[0].model_dump(include=set(ClusterSpec.model_fields))
    if now["host"] != fields.get("host", row.host):
        # Its token is not for the old Argo Server.
        now |= {"argo_server": "", "argo_server_ca": ""}
    if fields.get("token"):
        now["token_source"] = None
    kept = {} if now["token_source"] or fields.get("token_source") else {"token": "unchanged"}
    spec = validated(ClusterSpec, now | kept | {**fields})
    if row.host is not None and spec.argo_server not in ("", row.argo_server) and not fresh:
        raise InvalidRequest("token: enter it again together with a new address of an Argo Server")
    if not {"host", "argo_server"}.isdisjoint(fields):
        access.check_hosts(settings, spec.host, spec.argo_server)
    _check_cluster(session, spec, row.id)
    changed = _cluster_row(settings, spec)
    if not fresh:
        del changed["token_sealed"], changed["token_expires_at"]
    return changed


def _place(engine: Engine, settings: Settings, row: Cluster) -> "Mark | None":
    """The mark at a row's address; None if it cannot be read. Then it is read again before anything is done there."""
    try:
        return clusters.place(engine, settings, row)
    except (answers.KubeError, NotConfigured) as error:
        if isinstance(error.__cause__, guard.ForbiddenAddress):
            raise InvalidRequest(f"host: {error.__cause__}") from error
        return None


def _check_moved(session: Session, row: Cluster, mark: "Mark | None") -> None:
    known = holds.marked(session.connection(), row.id)
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


def _check_cluster(session: Session, spec: ClusterSpec, own: int | None) -> None:
    if registry.name_taken(session, Cluster, spec.name, own):
        raise Conflict(f"name: {spec.name!r} is not unique; another cluster has it")
    for field in ("cert", "argo_server_ca"):
        if certificates := getattr(spec, field):
            try:
                ssl.create_default_context(cadata=certificates)
            except (ssl.SSLError, ValueError) as error:
                raise InvalidRequest(f"{field}: not a PEM certificate ({error})") from error


def _cluster_row(settings: Settings, spec: ClusterSpec) -> dict[str, Any]:
    row = spec.model_dump(exclude={"token", "token_source", "default"})
    row["token_source"] = spec.token_source.model_dump() if spec.token_source else {}
    row["token_expires_at"] = tokens.expires(spec.token)
    ring = crypto.KeyRing(settings.keys) if spec.token else None
    return row | {"is_default": spec.default, "token_sealed": ring.seal(spec.token) if ring else None}


def _address(row: Cluster) -> tuple[str | None, int, str, str]:
    return row.host, row.port, row.path, row.namespace


def _check_place(session: Session, row: Cluster) -> None:
    """Check that no other registration means the same place.

    Raises:
        Conflict: One does.
    """
    connection = session.connection()
    twin = holds.twin(connection, row.id, row.identity) if row.identity else None
    if (twin := twin or holds.neighbour(connection, row.id, _address(row))) is not None:
        raise Conflict(f"it is the same cluster and namespace as {twin!r}; update that one, or remove it first")


def _one_default(session: Session, row: Cluster) -> None:
    """If a cluster becomes the default, the old default is no longer one."""
    if row.is_default:
        with session.no_autoflush:
            for other in registry.clusters(session):
                if other.is_default and other.id != row.id:
                    other.is_default = False
                    session.add(other)
            session.flush()
    session.add(row)


def _cluster_shapes(session: Session, rows: Sequence[Cluster]) -> list[ClusterShape]:
    active = registry.active(session)
    return [
        ClusterShape.model_validate(
            row.model_dump(exclude={"token_sealed"})
            | {
                "token_source": row.token_source or None,
                "default": row.is_default,
                "window": row.pace_window,
                "active": active.get(row.id, 0),
            }
        )
        for row in rows
    ]
