"""Clusters that are held: nothing is created, ended, released or called lost there until it is known what runs there. An operator decides
that, or the hold ends by itself if the cluster shows that nothing is missing.

A database that was restored from a dump, or that lost commits in a fail-over, is older than its clusters: it would run again what it does
not know has run. So an epoch is written to each cluster (kube/marks.py) and to the cluster's row: if the row's epoch is smaller than the
cluster's, the database is the older one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from argosy.states import ACTIVE, ON_CLUSTER
from argosy.store import notices
from argosy.store.conditions import in_states
from argosy.store.placements import FITS

DOUBTED = (
    "another database server answers, or this database is older than another cluster: what runs here is looked at first; "
    "where that is not done by itself: argosy db reconcile"
)
"""Reason of a hold that ends by itself if a complete list of the cluster shows nothing that an operator must decide."""

HELD = "held_at IS NOT NULL AND removed_at IS NULL"
"""SQL: whether a cluster is held."""


def in_hold(alias: str) -> str:
    """SQL: whether a cluster is held that may have run the jobs of a row. `alias` is the name, in the statement, of a table with a
    placement_id."""
    return (
        f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {FITS} "
        f"WHERE p.id = {alias}.placement_id AND {HELD})"
    )


@dataclass(frozen=True)
class Marked:
    """The part of a cluster's row that belongs to its mark: the mark's uid (empty if none was seen yet), the epoch last written to it and
    when; why the cluster is held (empty if it is not); whether it has unfinished workflows; whether a finalizer keeps ended ones until they
    are recorded; the version of its address and credentials; and its health."""

    name: str
    identity: str
    epoch: int
    beat_at: datetime | None
    held: str
    unfinished: bool
    finalizer: bool
    version: int
    health: str


# Which server and database this is.
_DATABASE = text(
    "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || oid AS name FROM pg_database "
    "WHERE datname = current_database()"
)


def database(connection: Connection) -> str:
    """Which database this is. A copy in another server or under another name is another database; a replica that takes over is the same
    one."""
    row = connection.execute(_DATABASE).one()
    return str(row.name)


# Which start and timeline of the server this is.
_SERVER = text("SELECT pg_postmaster_start_time()::text || '/' || (pg_control_checkpoint()).timeline_id::text AS name")


def server(connection: Connection) -> str:
    """Which server answers, and since when. The value changes with a fail-over, and with a restart too."""
    row = connection.execute(_SERVER).one()
    return str(row.name)


# The mark of a cluster as its row has it.
_MARKED = text(
    "SELECT name, identity, epoch, beat_at, finalizer, credential_version AS version, "
    "concat_ws(': ', health, nullif(health_message, '')) AS health, "
    "CASE WHEN held_at IS NULL THEN '' ELSE held_reason END AS held, "
    f"EXISTS (SELECT FROM argosy.attempt a WHERE a.cluster_id = c.id AND {in_states(ACTIVE, 'a')}) "
    "AS unfinished FROM argosy.cluster c WHERE id = :cluster AND removed_at IS NULL"
)


def marked(connection: Connection, cluster_id: int) -> Marked | None:
    """What the row of a registered cluster says about its mark."""
    row = connection.execute(_MARKED, {"cluster": cluster_id}).one_or_none()
    return None if row is None else Marked(**row._mapping)


# A few workflows that must be on the cluster.
_RECORDED = text(
    f"SELECT name, k8s_uid FROM argosy.attempt WHERE cluster_id = :cluster AND {in_states(ON_CLUSTER)} "
    "AND k8s_uid IS NOT NULL LIMIT 10"
)


def recorded(connection: Connection, cluster_id: int) -> Sequence[tuple[str, str]]:
    """(name, k8s uid) of a few unfinished workflows. If the cluster is the one that its row means, it must have them."""
    rows = connection.execute(_RECORDED, {"cluster": cluster_id})
    return [(row.name, row.k8s_uid) for row in rows]


# Another registration with the same mark.
_TWIN = text(
    "SELECT name FROM argosy.cluster WHERE identity = :identity AND id IS DISTINCT FROM CAST(:cluster AS int) "
    "AND removed_at IS NULL ORDER BY id LIMIT 1"
)


def twin(connection: Connection, cluster_id: int | None, identity: str) -> str | None:
    """The name of another registered cluster that has this mark."""
    name = connection.execute(_TWIN, {"identity": identity, "cluster": cluster_id}).scalar_one_or_none()
    return None if name is None else str(name)


# Another registration with the same address and namespace.
_NEIGHBOUR = text(
    "SELECT name FROM argosy.cluster WHERE host IS NOT DISTINCT FROM CAST(:host AS text) AND port = :port "
    "AND path = :path AND namespace = :namespace AND id IS DISTINCT FROM CAST(:cluster AS int) AND removed_at IS NULL ORDER BY id LIMIT 1"
)


def neighbour(connection: Connection, cluster_id: int | None, address: tuple[str | None, int, str, str]) -> str | None:
    """The name of another registered cluster with the same host, port, path and namespace."""
    given = dict(zip(("host", "port", "path", "namespace"), address, strict=True))
    name = connection.execute(_NEIGHBOUR, given | {"cluster": cluster_id}).scalar_one_or_none()
    return None if name is None else str(name)


# The mark that is about to be written to the cluster.
_INTEND = text(
    "UPDATE argosy.cluster SET identity = :identity, epoch = :epoch, beat_at = clock_timestamp() "
    "WHERE id = :cluster AND credential_version = :version RETURNING beat_at"
)


def intend(connection: Connection, cluster_id: int, identity: str, epoch: int, version: int) -> datetime | None:
    """Write what is about to be written to the mark, so that the row is never behind it.

    Returns:
        The time; None if the cluster's address or credentials have changed since the mark was read.
    """
    at: datetime | None = connection.execute(
        _INTEND, {"cluster": cluster_id, "identity": identity, "epoch": epoch, "version": version}
    ).scalar_one_or_none()
    return at


# The database's clock.
_NOW = text("SELECT clock_timestamp()")


def now(connection: Connection) -> datetime:
    """The database's clock."""
    moment: datetime = connection.execute(_NOW).scalar_one()
    return moment


# Only the first reason is kept.
_HOLD = text(
    "UPDATE argosy.cluster SET held_at = coalesce(held_at, clock_timestamp()), held_reason = :reason "
    "WHERE (held_at IS NULL OR held_reason = :doubted AND :reason <> :doubted) AND removed_at IS NULL "
    "AND (CAST(:cluster AS int) IS NULL OR id = :cluster) AND (CAST(:epoch AS bigint) IS NULL OR epoch = :epoch) RETURNING name"
)


def hold(connection: Connection, cluster_id: int | None, reason: str, epoch: int | None = None) -> Sequence[str]:
    """Hold a cluster, or all of them. A cluster that is held already keeps its reason, unless that is `DOUBTED`.

    Args:
        connection: In a transaction.
        cluster_id: Which; None for all.
        reason: For people.
        epoch: The row's epoch when the reason was found. If the row has another one by now, somebody has resumed the cluster since, and it
            is not held. None: hold it anyway.

    Returns:
        The names of the clusters that this call has held.
    """
    rows = connection.execute(_HOLD, {"cluster": cluster_id, "reason": reason, "doubted": DOUBTED, "epoch": epoch})
    return [row.name for row in rows]


# When commits may have been lost.
_DOUBT = text("UPDATE argosy.installation SET doubted_at = clock_timestamp()")


def doubt(connection: Connection) -> None:
    """Hold all clusters until each was listed completely. The database may have lost commits, and the workers that wrote them may still be
    creating workflows: jobs that are queued now and that several clusters may take wait until that is over (store/claims.py)."""
    connection.execute(_DOUBT)
    hold(connection, None, DOUBTED)


# The timeline that was seen last, and the present one.
_TIMELINE = text("SELECT timeline, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM argosy.installation")

# Only the first process that sees a new timeline finds the known one. True if no timeline was known before.
_NEW_TIMELINE = text("UPDATE argosy.installation SET timeline = :timeline WHERE timeline = :known RETURNING :known = 0")


def check_server(connection: Connection) -> None:
    """Call `doubt` if another server has taken over since the last check. A server that takes over begins a new timeline: the first eight
    hex digits of its WAL file's name."""
    known, now = connection.execute(_TIMELINE).one()
    if known == (timeline := int(now, 16)):
        return
    first = connection.execute(_NEW_TIMELINE, {"timeline": timeline, "known": known}).scalar_one_or_none()
    if first is False:
        doubt(connection)


# Not if the row is older than the mark that was decided about.
_RESUME = text("UPDATE argosy.cluster SET held_at = NULL, held_reason = '' WHERE id = :cluster AND epoch >= :epoch")


def resume(connection: Connection, cluster_id: int, epoch: int) -> bool:
    """End a cluster's hold, and notify the workers that wait for its queue.

    Returns:
        False if the row's epoch is smaller than `epoch`, as it is after another restore.
    """
    resumed = connection.execute(_RESUME, {"cluster": cluster_id, "epoch": epoch})
    notices.queue_grew(connection, cluster_id)
    return resumed.rowcount > 0


# All held clusters.
_HELD_NOW = text(f"SELECT name, held_reason FROM argosy.cluster WHERE {HELD} ORDER BY name")


def held(connection: Connection) -> dict[str, str]:
    """Why clusters are held, by their names."""
    rows = connection.execute(_HELD_NOW)
    return {row.name: row.held_reason for row in rows}
