"""Logs of containers that failed, kept when the tracker sees the failure, and what is needed to ask a cluster for those of others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.states import ON_CLUSTER, State
from argosy.store import rows
from argosy.store.conditions import in_states

_FAILED = {State.FAILED, State.ERROR}


@dataclass(frozen=True)
class KeptLog:
    """The end of one container's log. `cut`: there was more before it."""

    uid: UUID
    attempt: int
    node_id: str
    container: str
    exit_code: int | None
    cut: bool
    text: str


class Place(NamedTuple):
    """Where an attempt's pods are, or were. All is None where it has no workflow."""

    cluster_id: int | None
    workflow: str | None
    k8s_uid: str | None


# A log that is there stays: a later look may find less. Only where the attempt is not forgotten yet.
_KEEP = text(
    "INSERT INTO argosy.container_log (uid, attempt, node_id, container, exit_code, cut, text) "
    "SELECT c.uid, c.attempt, c.node_id, c.container, c.exit_code, c.cut, c.text FROM json_to_recordset(CAST(:logs AS json)) "
    "AS c (uid uuid, attempt int, node_id text, container text, exit_code int, cut boolean, text text) "
    "JOIN argosy.attempt a ON a.uid = c.uid AND a.number = c.attempt ORDER BY c.uid, c.attempt, c.node_id, c.container "
    "ON CONFLICT DO NOTHING"
)


def keep(connection: Connection, logs: Sequence[KeptLog]) -> None:
    """Keep logs. One that is kept already, or whose attempt is gone, is left out."""
    if logs:
        connection.execute(_KEEP, {"logs": rows.recordset(logs)})


# Whether logs are wanted from a cluster.
_WANTED = text("SELECT logs FROM argosy.cluster WHERE id = :cluster")

# Of which nodes something is kept.
_KEPT = text(
    f"SELECT DISTINCT l.uid, l.attempt, l.node_id FROM argosy.container_log l JOIN {rows.KEYS} "
    "ON l.uid = k.uid AND l.attempt = k.number"
)


def kept(
    connection: Connection, cluster_id: int, attempts: Iterable[tuple[UUID, int]]
) -> set[tuple[UUID, int, str]] | None:
    """The nodes of these attempts, as (uid, attempt, node id), of which a log is kept; None if no logs are wanted from the cluster."""
    if not connection.execute(_WANTED, {"cluster": cluster_id}).scalar_one():
        return None
    found = connection.execute(_KEPT, {"keys": rows.keys(attempts)})
    return {(row.uid, row.attempt, row.node_id) for row in found}


# All that is kept of one attempt.
_OF = text(
    "SELECT uid, attempt, node_id, container, exit_code, cut, text FROM argosy.container_log WHERE uid = :uid AND attempt = :attempt "
    "ORDER BY node_id, container"
)


def of(connection: Connection, uid: UUID, attempt: int) -> list[KeptLog]:
    """What is kept of an attempt."""
    return [KeptLog(**row._mapping) for row in connection.execute(_OF, {"uid": uid, "attempt": attempt})]


# Where an attempt's pods are.
_PLACE = text(
    "SELECT cluster_id, name, k8s_uid FROM argosy.attempt WHERE uid = :uid AND number = :attempt AND k8s_uid IS NOT NULL"
)


def place(connection: Connection, uid: UUID, attempt: int) -> Place:
    """Where an attempt's pods are, or were; nowhere if it has no workflow."""
    found = connection.execute(_PLACE, {"uid": uid, "attempt": attempt}).one_or_none()
    return Place(None, None, None) if found is None else Place(found.cluster_id, found.name, found.k8s_uid)


# The jobs of a launch whose logs somebody may want, in the order of their batches.
_OF_LAUNCH = (
    "SELECT j.uid FROM argosy.attempt a JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
    "WHERE a.gid = :gid AND {states} ORDER BY j.ordinal LIMIT :limit"
)
_RUNNING_OF = text(_OF_LAUNCH.format(states=in_states(ON_CLUSTER, "a")))
_FAILED_OF = text(_OF_LAUNCH.format(states=in_states(_FAILED, "a")))


def jobs(connection: Connection, gid: UUID, failed: bool, limit: int) -> list[UUID]:
    """The first jobs of a launch that run, or that failed."""
    statement = _FAILED_OF if failed else _RUNNING_OF
    return list(connection.execute(statement, {"gid": gid, "limit": limit}).scalars())
