"""Logs of containers that failed, kept when the tracker sees the failure, and what is needed to ask a cluster for those of others."""

from collections.abc import Sequence
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


MOST = 1000
"""Logs that are kept of one launch: one whose every job fails must not fill the database."""

# Older attempts make room for newer ones.
_ROOM = text(
    """
    DELETE FROM argosy.container_log WHERE (uid, attempt, node_id, container) IN (
        SELECT l.uid, l.attempt, l.node_id, l.container FROM argosy.container_log l
        WHERE l.gid = :gid AND l.attempt < :attempt ORDER BY l.attempt
        LIMIT greatest((SELECT count(*) FROM argosy.container_log n WHERE n.gid = :gid) + :new - :most, 0))
    """
)

# A log that is there stays: a later look may find less. Only where the attempt is not forgotten yet.
_KEEP = text(
    "INSERT INTO argosy.container_log (uid, attempt, node_id, gid, container, exit_code, cut, text) "
    "SELECT c.uid, c.attempt, c.node_id, a.gid, c.container, c.exit_code, c.cut, c.text FROM json_to_recordset(CAST(:logs AS json)) "
    "AS c (uid uuid, attempt int, node_id text, container text, exit_code int, cut boolean, text text) "
    "JOIN argosy.attempt a ON a.uid = c.uid AND a.number = c.attempt ORDER BY c.uid, c.attempt, c.node_id, c.container "
    "ON CONFLICT DO NOTHING"
)

_LAUNCH = text("SELECT gid FROM argosy.attempt WHERE uid = :uid AND number = :attempt")


def keep(connection: Connection, logs: Sequence[KeptLog]) -> None:
    """Keep logs of attempts of one launch, at the cost of older attempts' if it has too many. One that is kept already stays; nothing is
    kept of an attempt that is gone."""
    if not logs:
        return
    first = {"uid": logs[0].uid, "attempt": logs[0].attempt}
    gid = connection.execute(_LAUNCH, first).scalar_one_or_none()
    connection.execute(_ROOM, {"gid": gid, "attempt": logs[0].attempt, "new": len(logs), "most": MOST})
    connection.execute(_KEEP, {"logs": rows.recordset(logs)})


# Whether logs are wanted from a cluster.
_WANTED = text("SELECT logs FROM argosy.cluster WHERE id = :cluster")

# Whether a launch has as many logs as may be kept, without those of older attempts than this one.
_FULL = text(
    "SELECT count(*) >= :most FROM argosy.container_log WHERE attempt >= :attempt "
    "AND gid = (SELECT gid FROM argosy.attempt WHERE uid = :uid AND number = :attempt)"
)

# Of which nodes something is kept.
_KEPT = text("SELECT DISTINCT node_id FROM argosy.container_log WHERE uid = :uid AND attempt = :attempt")


def wanted(connection: Connection, cluster_id: int) -> bool:
    """Whether logs are wanted from a cluster."""
    return bool(connection.execute(_WANTED, {"cluster": cluster_id}).scalar_one())


def full(connection: Connection, uid: UUID, attempt: int) -> bool:
    """Whether nothing more is kept of an attempt, because its launch has enough."""
    return bool(connection.execute(_FULL, {"uid": uid, "attempt": attempt, "most": MOST}).scalar_one())


def kept(connection: Connection, uid: UUID, attempt: int) -> set[str]:
    """The nodes of an attempt of which a log is kept."""
    return set(connection.execute(_KEPT, {"uid": uid, "attempt": attempt}).scalars())


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
