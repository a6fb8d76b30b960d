"""Registered clusters and algorithms."""

from collections.abc import Sequence

from sqlalchemy import any_, func, or_, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from argosy.errors import Conflict, NoDefaultCluster, NotFound
from argosy.settings import in_cluster
from argosy.shapes.given import Policy
from argosy.states import ACTIVE
from argosy.store import leases, placements, strays
from argosy.store.conditions import DELAYED, READY, in_states
from argosy.store.named import known, unlabelled
from argosy.store.registered import Algorithm, Cluster

IN_CLUSTER = "in-cluster"
"""Name of the cluster that argosy itself runs in. It is registered automatically when an algorithm needs it."""


_WITHOUT_TOKEN = defer(Cluster.token_sealed, raiseload=True)  # type: ignore[arg-type]
"""For those whose user may not read it (roles.py)."""


def clusters(session: Session, organization: int | None = None, *, token: bool = True) -> Sequence[Cluster]:
    """All clusters, or an organization's, by name. Without the sealed token if `token` is false; it cannot be read later."""
    query = select(Cluster).where(col(Cluster.removed_at).is_(None)).order_by(Cluster.name)
    if organization is not None:
        query = query.where(Cluster.organization == organization)
    return session.exec(query if token else query.options(_WITHOUT_TOKEN)).all()


def cluster(session: Session, key: str | int, *, token: bool = True) -> Cluster:
    """A cluster by name or id. `token` as for `clusters`.

    Raises:
        NotFound: There is none.
    """
    same = Cluster.id == key if isinstance(key, int) else Cluster.name == key
    query = select(Cluster).where(same, col(Cluster.removed_at).is_(None))
    found = session.exec(query if token else query.options(_WITHOUT_TOKEN)).one_or_none()
    if found is None:
        raise NotFound(f"cluster {key!r} is not registered; see: argosy cluster list")
    return found


def default_cluster(session: Session) -> int | None:
    """Id of the default cluster. If none is registered and this process runs in a cluster, that one becomes the default; else None."""
    query = select(Cluster.id).where(col(Cluster.is_default), col(Cluster.removed_at).is_(None))
    default = session.exec(query).one_or_none()
    if default is None and in_cluster():
        session.exec(insert(Cluster).values(name=IN_CLUSTER, host=None, is_default=True).on_conflict_do_nothing())
        default = session.exec(query).one_or_none()
    return default


def clusters_of(session: Session, algorithm: Algorithm) -> Sequence[Cluster]:
    """The clusters that may take an algorithm's jobs: those with its labels, those that it lists, the one that it names, or the default
    one.

    Raises:
        NoDefaultCluster: It needs the default one, and there is none.
        NotFound: There is none.
    """
    if algorithm.cluster_labels:
        query = select(Cluster).where(
            col(Cluster.removed_at).is_(None), col(Cluster.labels).contains(algorithm.cluster_labels)
        )
        found = session.exec(query).all()
        if not found:
            raise unlabelled(algorithm.cluster_labels)
        return found
    if algorithm.cluster_ids:
        return [cluster(session, cluster_id) for cluster_id in algorithm.cluster_ids]
    sole = algorithm.cluster_id or default_cluster(session)
    if sole is None:
        raise NoDefaultCluster(algorithm.name)
    return [cluster(session, sole)]


def candidates(session: Session, ids: Sequence[int], labels: dict[str, str]) -> Sequence[Cluster]:
    """The clusters that could take jobs now of an algorithm that lists these clusters, or these labels, or neither. Empty if no registered
    cluster fits.

    Raises:
        NotFound: One of those that it lists is not registered.
    """
    if ids:
        return [cluster(session, cluster_id) for cluster_id in ids]
    query = select(Cluster).where(col(Cluster.removed_at).is_(None))
    which = col(Cluster.labels).contains(labels) if labels else col(Cluster.is_default)
    return session.exec(query.where(which)).all()


def candidates_of(session: Session, row: Algorithm) -> Sequence[Cluster]:
    """The clusters that could take jobs of a registered algorithm now. Raises as `candidates`."""
    named = row.cluster_ids or ([] if row.cluster_id is None else [row.cluster_id])
    return candidates(session, named, row.cluster_labels)


# Those that a placement lists, or that carry its labels.
_PLACED = text(
    f"SELECT c.id FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} WHERE p.id = :placement AND c.removed_at IS NULL"
)


def placed(session: Session, placement: int) -> Sequence[Cluster]:
    """The registered clusters that may take jobs of a placement."""
    ids = session.connection().execute(_PLACED, {"placement": placement}).scalars().all()
    return session.exec(select(Cluster).where(col(Cluster.id).in_(ids)).order_by(Cluster.name)).all()


def policies(clusters: Sequence[Cluster]) -> dict[str, Policy]:
    """Their policies, by their names."""
    return {each.name: Policy.model_validate(each.policy) for each in clusters}


# Slots taken on each cluster.
_ACTIVE = text(
    f"SELECT cluster_id, count(*) AS active FROM argosy.attempt WHERE {in_states(ACTIVE)} GROUP BY cluster_id"
)


def active(session: Session) -> dict[int, int]:
    """Unfinished workflows, by cluster."""
    rows = session.connection().execute(_ACTIVE)
    return {row.cluster_id: row.active for row in rows}


def unfinished(session: Session, cluster_id: int) -> int:
    """Number of unfinished jobs on a cluster, plus the queued jobs and uncut launches that no other cluster may take."""
    only_here = placements.ONLY_HERE
    row = session.connection().execute(
        text(
            f"SELECT (SELECT count(*) FROM {only_here} JOIN argosy.attempt a ON a.placement_id = p.id AND {READY})"
            f" + (SELECT count(*) FROM {only_here} JOIN argosy.attempt a ON a.placement_id = p.id AND {DELAYED})"
            f" + (SELECT count(*) FROM argosy.attempt WHERE cluster_id = :cluster AND {in_states(ACTIVE)})"
            f" + (SELECT count(*) FROM {only_here} JOIN argosy.launch l ON l.placement_id = p.id AND l.state = 'resolved')"
        ),
        {"cluster": cluster_id},
    )
    return int(row.scalar_one())


def locked(session: Session, key: str | int) -> Cluster:
    """A cluster, with its row locked until the transaction ends.

    Raises:
        NotFound: There is none, or it was removed just now.
    """
    same = "id = :key" if isinstance(key, int) else "name = :key"
    statement = text(f"SELECT FROM argosy.cluster WHERE {same} AND removed_at IS NULL FOR NO KEY UPDATE")
    session.connection().execute(statement, {"key": key})
    return cluster(session, key)


# No claims while it is locked.
_LOCK = text("SELECT FROM argosy.cluster WHERE id = :id FOR UPDATE")


def removable(session: Session, key: str | int, abandoned: bool = False) -> Cluster:
    """A cluster that nothing needs any more, with its row locked.

    Args:
        session: In a transaction.
        key: Name or id.
        abandoned: Remove it even if it has unfinished jobs.

    Raises:
        Conflict: It has unfinished jobs, or workflows that no row knows, or an algorithm names it.
    """
    found = locked(session, key)
    # FOR UPDATE also waits for transactions that are queueing a job there: these lock the row FOR KEY SHARE.
    session.connection().execute(_LOCK, {"id": found.id})
    if not abandoned and (jobs := unfinished(session, found.id)):
        raise Conflict(
            f"cluster {found.name!r} has {jobs} unfinished job{'s' * (jobs != 1)}; cancel them or wait, then remove it; "
            "if it is gone for good: --abandon"
        )
    if not abandoned and (lost := strays.count(session.connection(), found.id)):
        raise Conflict(
            f"cluster {found.name!r} has {lost} workflow{'s' * (lost != 1)} of jobs that this database does not know: it may have lost "
            "them, and a repeated launch would adopt them; delete the workflows that nobody needs, then remove the cluster, or leave them "
            "there: --abandon"
        )
    named = session.exec(
        select(Algorithm.name).where(
            or_(col(Algorithm.cluster_id) == found.id, any_(col(Algorithm.cluster_ids)) == found.id)
        )
    ).all()
    if named:
        raise Conflict(
            f"cluster {found.name!r} is named by the algorithms {', '.join(named)}; change or remove them first"
        )
    return found


# Its row stays for the history, without its credentials.
_REMOVE = text(
    "UPDATE argosy.cluster SET removed_at = clock_timestamp(), token_sealed = NULL, token_source = '{}', token_expires_at = NULL, "
    "cert = '', argo_server = '', argo_server_ca = '', "
    "is_default = false, "
    "credential_version = credential_version + 1 WHERE id = :id"
)


def remove_cluster(session: Session, key: str | int, abandoned: bool = False) -> Cluster:
    """Remove a cluster; its row stays without credentials, because finished attempts name it. Raises as `removable`.

    If it is abandoned, its strays are kept: their jobs must not run again elsewhere as if they had never run. Its lease is revoked first,
    in the same lock order as its tracker's transactions, so that the tracker cannot re-open a job that counts as ended here.
    """
    leases.revoke(session.connection(), leases.of_cluster(cluster(session, key).id))
    found = removable(session, key, abandoned)
    for table in ("launch_secret", "project_limit", "turn"):
        session.connection().execute(text(f"DELETE FROM argosy.{table} WHERE cluster_id = :id"), {"id": found.id})
    session.connection().execute(_REMOVE, {"id": found.id})
    return found


def algorithms(session: Session, project: int | None = None) -> Sequence[Algorithm]:
    """All algorithms, or a project's, by name."""
    query = select(Algorithm).order_by(Algorithm.name)
    if project is not None:
        query = query.where(Algorithm.project == project)
    return session.exec(query).all()


def algorithm(session: Session, key: str | int, *, lock: bool = False) -> Algorithm:
    """An algorithm by name or id; with `lock`, its row is locked until the transaction ends.

    Raises:
        NotFound: There is none; the message names what is there.
    """
    same = Algorithm.id == key if isinstance(key, int) else Algorithm.name == key
    query = select(Algorithm).where(same)
    found = session.exec(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        raise NotFound(f"algorithm {key!r} is not registered; {known([each.name for each in algorithms(session)])}")
    return found


def algorithm_of(session: Session, project: int, name: str) -> Algorithm:
    """The algorithm that a launch in a project names.

    Raises:
        NotFound: The project has none of that name; the message names those it has.
    """
    found = session.exec(select(Algorithm).where(Algorithm.project == project, Algorithm.name == name)).one_or_none()
    if found is None:
        raise NotFound(
            f"unknown algorithm {name!r} in project {project}; {known([each.name for each in algorithms(session, project)])}"
        )
    return found


def name_taken(session: Session, table: type[Cluster] | type[Algorithm], name: str, other_than: int | None) -> bool:
    """Whether another registered row has this name."""
    query = select(func.count()).select_from(table).where(col(table.name) == name)
    if table is Cluster:
        query = query.where(col(Cluster.removed_at).is_(None))
    if other_than is not None:
        query = query.where(col(table.id) != other_than)
    return session.exec(query).one() > 0
