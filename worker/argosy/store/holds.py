"""Clusters that are held: nothing is created, ended, released or called lost there until somebody, or the evidence, says how things stand.

A database that was restored from a dump, or failed over and lost commits, is older than the world. What it does not know has run, and would
run again. The cluster remembers (kube/marks.py), and the row remembers what was last written there: a smaller epoch in the row is proof.
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
"""Reason of a hold that ends by itself where a complete look finds nothing to decide."""

HELD = "held_at IS NOT NULL AND removed_at IS NULL"
"""SQL: whether a cluster is held."""


def in_hold(alias: str) -> str:
    """SQL: whether a cluster is held that may have run the jobs of a row, by its name in the statement, that has a placement."""
    return (
        f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {FITS} "
        f"WHERE p.id = {alias}.placement_id AND {HELD})"
    )


@dataclass(frozen=True)
class Marked:
    """What a cluster's row says of its mark: the mark's uid (empty where none was seen yet), the epoch last written to it and when; why it
    is held, empty where it is not; whether it has unfinished workflows; whether ended ones are kept until they are recorded; and the
    version of its address and credentials; and its health."""

    name: str
    identity: str
    epoch: int
    beat_at: datetime | None
    held: str
    unfinished: bool
    finalizer: bool
    version: int
    health: str


def database(connection: Connection) -> str:
    """Which database this is: a copy of it, in another server or under another name, is another one; a replica that takes over is not."""
    row = connection.execute(
        text(
            "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || oid AS name FROM pg_database "
            "WHERE datname = current_database()"
        )
    ).one()
    return str(row.name)


def server(connection: Connection) -> str:
    """Which server answers, and since when: another one after a fail-over, and after a restart too."""
    row = connection.execute(
        text("SELECT pg_postmaster_start_time()::text || '/' || (pg_control_checkpoint()).timeline_id::text AS name")
    ).one()
    return str(row.name)


def marked(connection: Connection, cluster_id: int) -> Marked | None:
    """A registered cluster's side of its mark."""
    row = connection.execute(
        text(
            "SELECT name, identity, epoch, beat_at, finalizer, credential_version AS version, "
            "concat_ws(': ', health, nullif(health_message, '')) AS health, "
            "CASE WHEN held_at IS NULL THEN '' ELSE held_reason END AS held, "
            f"EXISTS (SELECT FROM argosy.attempt a WHERE a.cluster_id = c.id AND {in_states(ACTIVE, 'a')}) "
            "AS unfinished FROM argosy.cluster c WHERE id = :cluster AND removed_at IS NULL"
        ),
        {"cluster": cluster_id},
    ).one_or_none()
    return None if row is None else Marked(**row._mapping)


def recorded(connection: Connection, cluster_id: int) -> Sequence[tuple[str, str]]:
    """(name, k8s uid) of a few unfinished workflows that a cluster must have, if it is the one that its row means."""
    rows = connection.execute(
        text(
            f"SELECT name, k8s_uid FROM argosy.attempt WHERE cluster_id = :cluster AND {in_states(ON_CLUSTER)} "
            "AND k8s_uid IS NOT NULL LIMIT 10"
        ),
        {"cluster": cluster_id},
    )
    return [(row.name, row.k8s_uid) for row in rows]


def twin(connection: Connection, cluster_id: int | None, identity: str) -> str | None:
    """The name of another registered cluster that has this mark."""
    name = connection.execute(
        text(
            "SELECT name FROM argosy.cluster WHERE identity = :identity AND id IS DISTINCT FROM CAST(:cluster AS int) "
            "AND removed_at IS NULL ORDER BY id LIMIT 1"
        ),
        {"identity": identity, "cluster": cluster_id},
    ).scalar_one_or_none()
    return None if name is None else str(name)


def neighbour(connection: Connection, cluster_id: int | None, address: tuple[str | None, int, str]) -> str | None:
    """The name of another registered cluster with the same host, port and namespace."""
    name = connection.execute(
        text(
            "SELECT name FROM argosy.cluster WHERE host IS NOT DISTINCT FROM CAST(:host AS text) AND port = :port "
            "AND namespace = :namespace AND id IS DISTINCT FROM CAST(:cluster AS int) AND removed_at IS NULL ORDER BY id LIMIT 1"
        ),
        {"host": address[0], "port": address[1], "namespace": address[2], "cluster": cluster_id},
    ).scalar_one_or_none()
    return None if name is None else str(name)


def intend(connection: Connection, cluster_id: int, identity: str, epoch: int, version: int) -> datetime | None:
    """Write what is about to be written to the mark, so that the row is never behind it.

    Returns:
        The time; None where the cluster has another address or other credentials by now, of which nothing was asked.
    """
    at: datetime | None = connection.execute(
        text(
            "UPDATE argosy.cluster SET identity = :identity, epoch = :epoch, beat_at = clock_timestamp() "
            "WHERE id = :cluster AND credential_version = :version RETURNING beat_at"
        ),
        {"cluster": cluster_id, "identity": identity, "epoch": epoch, "version": version},
    ).scalar_one_or_none()
    return at


def now(connection: Connection) -> datetime:
    """The database's clock."""
    moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


def hold(connection: Connection, cluster_id: int | None, reason: str, epoch: int | None = None) -> Sequence[str]:
    """Hold a cluster, or all of them; one that is held keeps its reason, unless that was only a doubt.

    Args:
        connection: In a transaction.
        cluster_id: Which; None for all.
        reason: For people.
        epoch: The row's when that was found, if a later one disproves it: somebody has let the cluster go on since.

    Returns:
        The names of those that are held for this reason now, and were not.
    """
    rows = connection.execute(
        text(
            "UPDATE argosy.cluster SET held_at = coalesce(held_at, clock_timestamp()), held_reason = :reason "
            "WHERE (held_at IS NULL OR held_reason = :doubted AND :reason <> :doubted) AND removed_at IS NULL "
            "AND (CAST(:cluster AS int) IS NULL OR id = :cluster) AND (CAST(:epoch AS bigint) IS NULL OR epoch = :epoch) RETURNING name"
        ),
        {"cluster": cluster_id, "reason": reason, "doubted": DOUBTED, "epoch": epoch},
    )
    return [row.name for row in rows]


def doubt(connection: Connection) -> None:
    """Hold all clusters until each was looked at. The database has lost commits, perhaps, and who wrote them may still be creating: what
    was queued by now, and has a choice of clusters, waits until that is over (store/claims.py)."""
    connection.execute(text("UPDATE argosy.installation SET doubted_at = clock_timestamp()"))
    hold(connection, None, DOUBTED)


def check_server(connection: Connection) -> None:
    """Doubt everything if a server answers that has taken another one's place since somebody last asked. Each that does begins a new
    timeline, the first eight digits of its WAL file's name."""
    known, now = connection.execute(
        text("SELECT timeline, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM argosy.installation")
    ).one()
    if known == (timeline := int(now, 16)):
        return
    first = connection.execute(
        text("UPDATE argosy.installation SET timeline = :timeline WHERE timeline = :known RETURNING :known = 0"),
        {"timeline": timeline, "known": known},
    ).scalar_one_or_none()
    if first is False:
        doubt(connection)


def resume(connection: Connection, cluster_id: int, epoch: int) -> bool:
    """Let a cluster go on; whoever waits for its queue is told.

    Returns:
        False where its row does not know this epoch, as after one more restore.
    """
    resumed = connection.execute(
        text("UPDATE argosy.cluster SET held_at = NULL, held_reason = '' WHERE id = :cluster AND epoch >= :epoch"),
        {"cluster": cluster_id, "epoch": epoch},
    )
    notices.queue_grew(connection, cluster_id)
    return resumed.rowcount > 0


def held(connection: Connection) -> dict[str, str]:
    """Why clusters are held, by their names."""
    rows = connection.execute(text(f"SELECT name, held_reason FROM argosy.cluster WHERE {HELD} ORDER BY name"))
    return {row.name: row.held_reason for row in rows}
