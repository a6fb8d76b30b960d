"""Queries of the tracker: attempts by their workflow's k8s uid, node rows, a cluster's health.

They run in transactions that begin with the fence of the cluster's lease (`leases.fence`). A row that another transaction has locked is
skipped and tried again in the next round: a cancel of a large launch must not delay the status of other jobs. Locked rows are read by a
second statement, because the one that locks may still see their old values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.states import FINAL, ON_CLUSTER, TRANSITIONS, State
from argosy.store import notices, placements, retries, rows
from argosy.store.conditions import in_states, of_revision

_FOLLOWED = {State.ERROR, State.LOST}
"""Ends that an automatic retry may follow."""

_CLOSED = [state for state, after in TRANSITIONS.items() if not after]


@dataclass(frozen=True)
class Known:
    """An attempt as the database has it. `newest`: its job has no later attempt. `quiet`: no create of it can arrive any more. `began`: a
    pod of it has run. `overdue`: the reason, if it is being ended because a deadline has passed. `fits`: it may run on the cluster that
    sees it."""

    uid: UUID
    number: int
    cluster_id: int | None
    state: State
    k8s_uid: str | None
    message: str
    progress: str
    cancel_requested: bool
    newest: bool
    quiet: bool = True
    began: bool = False
    overdue: str = ""
    fits: bool = True


@dataclass(frozen=True)
class Change:
    """New values of an attempt, seen `ago` seconds ago."""

    uid: UUID
    number: int
    cluster_id: int
    name: str
    state: State
    k8s_uid: str
    message: str
    progress: str
    started_at: datetime | None
    finished_at: datetime | None
    began: bool = False
    ago: float = 0.0
    exit_code: int | None = None
    resources: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeRow:
    """New values of one node."""

    uid: UUID
    number: int
    node_id: str
    task: str
    type: str
    phase: str
    message: str
    children: tuple[str, ...]
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    pod: str
    host: str
    resources: dict[str, int]
    boundary: str


@dataclass(frozen=True)
class Expected:
    """A workflow that must be in a complete list, because its attempt was recorded and has not ended."""

    uid: UUID
    number: int
    k8s_uid: str
    gid: UUID | None


@dataclass(frozen=True)
class UnclearCreate:
    """A claim whose create, of this name, may or may not have happened."""

    uid: UUID
    number: int
    epoch: int
    name: str
    gid: UUID


@dataclass(frozen=True)
class Workflow:
    """A workflow that is to be read: its attempt's key, its name, its k8s uid and its launch where they are known."""

    uid: UUID
    number: int
    name: str
    k8s_uid: str | None
    gid: UUID | None = None


_MATCH = "a.uid = k.uid AND a.number = k.number"

AT_ONCE = 100
"""The most workflows that are read in one round."""


# Skip rows that another transaction has locked.
_LOCK = text(f"SELECT a.uid, a.number FROM argosy.attempt a JOIN {rows.KEYS} ON {_MATCH} FOR UPDATE OF a SKIP LOCKED")

# Runs after the lock, so that it sees what others have committed until then.
_KNOWN = text(
    "SELECT a.uid, a.number, a.cluster_id, a.state, a.k8s_uid, a.message, a.progress, j.cancel_requested, "
    "a.number = j.attempt AS newest, (a.quiet_at IS NULL OR a.quiet_at < clock_timestamp()) AS quiet, "
    "a.began_at IS NOT NULL AS began, a.overdue, coalesce(a.cluster_id = :cluster OR EXISTS (SELECT FROM argosy.placement p "
    f"JOIN argosy.cluster c ON {placements.FITS} WHERE p.id = a.placement_id AND c.id = :cluster), false) AS fits "
    f"FROM argosy.attempt a JOIN {rows.KEYS} ON {_MATCH} JOIN argosy.job j ON j.uid = a.uid"
)


def known(
    connection: Connection, keys: Sequence[tuple[UUID, int]], cluster_id: int
) -> tuple[dict[tuple[UUID, int], Known], set[tuple[UUID, int]]]:
    """The attempts of these keys, as a cluster sees them.

    Returns:
        The attempts that this transaction has locked, and the keys of those that another transaction has locked.
    """
    parameters = {"keys": rows.keys(keys)}
    locked = connection.execute(_LOCK, parameters)
    ours = {(row.uid, row.number) for row in locked}
    found = {(row.uid, row.number): row for row in connection.execute(_KNOWN, parameters | {"cluster": cluster_id})}
    return (
        {key: Known(**{**row._mapping, "state": State(row.state)}) for key, row in found.items() if key in ours},
        found.keys() - ours,
    )


# A start or end that is known is kept if the workflow has none. The first `began_at` and `submitted_at` are kept.
_CHANGE = text(
    "UPDATE argosy.attempt a SET state = c.state, k8s_uid = c.k8s_uid, message = c.message, progress = c.progress, "
    "cluster_id = c.cluster_id, name = c.name, not_before = NULL, "
    "started_at = coalesce(c.started_at, a.started_at), exit_code = c.exit_code, resources = c.resources, "
    f"finished_at = CASE WHEN {in_states(FINAL, 'c')} THEN coalesce(c.finished_at, a.finished_at, clock_timestamp()) END, "
    "stop_at = CASE WHEN c.began AND a.began_at IS NULL "
    "THEN clock_timestamp() + make_interval(secs => a.run_deadline) ELSE a.stop_at END, "
    "began_at = CASE WHEN c.began THEN coalesce(a.began_at, clock_timestamp()) ELSE a.began_at END, "
    "submitted_at = coalesce(a.submitted_at, clock_timestamp()), lease_until = NULL, "
    "as_of = clock_timestamp() - make_interval(secs => c.ago) "
    "FROM json_to_recordset(CAST(:changes AS json)) AS c (uid uuid, number int, state text, k8s_uid text, message text, progress text, "
    "started_at timestamptz, finished_at timestamptz, began boolean, cluster_id int, name text, ago float8, "
    "exit_code int, resources jsonb) "
    "WHERE a.uid = c.uid AND a.number = c.number"
)


def change(connection: Connection, changes: Sequence[Change]) -> None:
    """Write attempts that `known` has locked in this transaction."""
    if not changes:
        return
    connection.execute(_CHANGE, {"changes": rows.recordset(changes)})
    retries.follow(connection, [row.uid for row in changes if row.state in _FOLLOWED])
    notices.jobs_ended(connection, [row.uid for row in changes if row.state in FINAL])


_NODE_VALUES = (
    "task", "type", "phase", "message", "children", "exit_code", "started_at", "finished_at", "pod", "host", "resources",
    "boundary"
)  # fmt: skip

# A node that has not changed is not written. One JSON text, because psycopg takes six times as long for one array for each column.
_WRITE_NODES = text(
    f"INSERT INTO argosy.node AS n (uid, attempt, node_id, {', '.join(_NODE_VALUES)}) "
    "SELECT * FROM json_to_recordset(CAST(:nodes AS json)) AS c (uid uuid, number int, node_id text, task text, type text, phase text, "
    "message text, children text[], exit_code int, started_at timestamptz, finished_at timestamptz, pod text, host text, resources jsonb, "
    "boundary text) "
    f"ON CONFLICT (uid, attempt, node_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _NODE_VALUES)} "
    f"WHERE ({', '.join(f'n.{name}' for name in _NODE_VALUES)}) IS DISTINCT FROM "
    f"({', '.join(f'excluded.{name}' for name in _NODE_VALUES)})"
)


def write_nodes(connection: Connection, nodes: Sequence[NodeRow]) -> None:
    """Insert or update nodes, in the order of their keys. Rows that have not changed are not written."""
    if not nodes:
        return
    ordered = sorted(nodes, key=lambda node: (node.uid.int, node.number, node.node_id))
    connection.execute(_WRITE_NODES, {"nodes": rows.recordset(ordered)})


# Workflows that must be on the cluster.
_EXPECTED = text(
    "SELECT uid, number, k8s_uid, gid FROM argosy.attempt WHERE cluster_id = :cluster "
    f"AND {in_states(ON_CLUSTER)} AND k8s_uid IS NOT NULL"
)


def expected(connection: Connection, cluster_id: int) -> list[Expected]:
    """The workflows that must be in a list that is begun after this call; those that are not in it are gone."""
    rows = connection.execute(_EXPECTED, {"cluster": cluster_id})
    return [Expected(**row._mapping) for row in rows]


# The same deadlines as a claim sets.
_DEADLINES = text(
    f"UPDATE argosy.attempt a SET run_deadline = least({of_revision('run_deadline')}, c.run_deadline), "
    f"stop_at = clock_timestamp() + make_interval(secs => least({of_revision('pending_deadline')}, c.pending_deadline)) "
    f"FROM {rows.KEYS}, argosy.launch l, argosy.cluster c WHERE {_MATCH} AND l.gid = a.gid AND c.id = :cluster"
)


def deadlines(connection: Connection, keys: Sequence[tuple[UUID, int]], cluster_id: int) -> None:
    """Give attempts that were adopted without a claim the deadlines that a claim would have."""
    if not keys:
        return
    connection.execute(_DEADLINES, {"keys": rows.keys(keys), "cluster": cluster_id})


# Only where the same workflow is still recorded.
_MISSING = (
    "json_to_recordset(CAST(:missing AS json)) AS c (uid uuid, number int, k8s_uid text), argosy.job j "
    "WHERE a.uid = c.uid AND a.number = c.number AND a.k8s_uid = c.k8s_uid AND j.uid = a.uid "
    f"AND {in_states(ON_CLUSTER, 'a')}"
)
_ABSENT = text(
    "UPDATE argosy.attempt a SET state = 'lost', message = 'its workflow is not on the cluster any more and nobody saw how it ended', "
    "finished_at = clock_timestamp(), as_of = clock_timestamp() "
    f"FROM {_MISSING} AND NOT j.cancel_requested"
)

# Runs after `_ABSENT`, in the same transaction, because the rows are locked then.
_ABSENT_CANCELLED = text(
    f"SELECT a.uid, a.number, a.k8s_uid, a.gid FROM argosy.attempt a, {_MISSING} AND j.cancel_requested"
)


def absent(connection: Connection, missing: Iterable[Expected]) -> list[Expected]:
    """Write attempts as `lost` whose workflow was not in a complete list.

    Returns:
        Those with a cancel request. They are not written: they end only after their pods have ended (P5).
    """
    gone = list(missing)
    if not gone:
        return []
    parameters = {"missing": rows.recordset(gone)}
    retries.lock_attempts(connection, parameters["missing"])
    connection.execute(_ABSENT, parameters)
    retries.follow(connection, [each.uid for each in gone])
    notices.jobs_ended(connection, [each.uid for each in gone])
    return [Expected(**row._mapping) for row in connection.execute(_ABSENT_CANCELLED, parameters)]


# An end that a later sighting may not change.
_RECORDED = text(
    f"SELECT EXISTS (SELECT FROM argosy.attempt a WHERE a.uid = :uid AND a.number = :number AND {in_states(_CLOSED, 'a')})"
)


def recorded(connection: Connection, uid: UUID, number: int) -> bool:
    """Whether an attempt has ended for good; nothing more that is seen of its workflow changes it."""
    return bool(connection.execute(_RECORDED, {"uid": uid, "number": number}).scalar_one())


# In random order, so that one that cannot be read does not block the others.
_UNREAD = text(
    "SELECT uid, number, name, k8s_uid, gid FROM argosy.attempt WHERE cluster_id = :cluster AND unread ORDER BY random() LIMIT :most"
)


def unread(connection: Connection, cluster_id: int) -> list[Workflow]:
    """Some of the workflows on a cluster that are to be read once, because their row may have missed what happened to them: they were
    adopted, or their attempt ended although an earlier create of it may have arrived."""
    rows = connection.execute(_UNREAD, {"cluster": cluster_id, "most": AT_ONCE})
    return [Workflow(**row._mapping) for row in rows]


# They need not be read again.
_READ = text(f"UPDATE argosy.attempt a SET unread = false FROM {rows.KEYS} WHERE {_MATCH}")


def read(connection: Connection, workflows: Sequence[Workflow]) -> None:
    """Record that these workflows were read; what was read is written already."""
    connection.execute(_READ, {"keys": rows.recordset(workflows)})


# Claims that ran out and that no worker may take over because of a pause.
_UNCLEAR = text(
    "SELECT a.uid, a.number, a.claim_epoch AS epoch, a.name, a.gid FROM argosy.attempt a JOIN argosy.job j USING (uid) "
    "JOIN argosy.cluster c ON c.id = a.cluster_id LEFT JOIN argosy.project p ON p.id = a.project "
    "LEFT JOIN argosy.algorithm g ON g.id = a.algorithm_id WHERE a.cluster_id = :cluster AND a.state = 'submitting' "
    "AND a.k8s_uid IS NULL AND a.lease_until < clock_timestamp() AND a.quiet_at < clock_timestamp() AND c.finalizer "
    "AND (c.paused_at IS NOT NULL OR (p.paused_at IS NOT NULL OR g.paused_at IS NOT NULL) AND NOT j.cancel_requested) "
    "ORDER BY a.seq LIMIT 100"
)


def unclear(connection: Connection, cluster_id: int) -> list[UnclearCreate]:
    """Unclear creates on a cluster that workers may not resolve because of a pause, and that cannot arrive any more.

    Only where workflows carry the finalizer: without it a missing workflow may have existed and been deleted.
    """
    rows = connection.execute(_UNCLEAR, {"cluster": cluster_id})
    return [UnclearCreate(**row._mapping) for row in rows]


# No create of them is under way.
_QUIET = text(
    f"SELECT a.uid, a.number FROM argosy.attempt a JOIN {rows.KEYS} "
    "ON a.uid = k.uid AND a.number = k.number WHERE a.quiet_at IS NULL OR a.quiet_at < clock_timestamp()"
)


def quiet(connection: Connection, keys: Sequence[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """The attempts among these whose creates cannot arrive any more."""
    found = connection.execute(_QUIET, {"keys": rows.keys(keys)})
    return {(row.uid, row.number) for row in found}


# `health_since` changes only when the health does.
_HEALTH = text(
    "UPDATE argosy.cluster SET health_since = CASE WHEN health = :health THEN health_since ELSE clock_timestamp() END, "
    "health = :health, health_message = :message WHERE id = :cluster"
)


def health(connection: Connection, cluster_id: int, state: str, message: str) -> None:
    """Write a cluster's health. `health_since` changes only when the health does."""
    connection.execute(_HEALTH, {"cluster": cluster_id, "health": state, "message": message[:2000]})


# The cluster has answered.
_CONTACT = text(
    "UPDATE argosy.cluster SET as_of = clock_timestamp() - make_interval(secs => :ago), "
    "health_since = CASE WHEN health = 'ok' THEN health_since ELSE clock_timestamp() END, health = 'ok', "
    "health_message = '' WHERE id = :cluster"
)


def contact(connection: Connection, cluster_id: int, seconds_ago: float) -> None:
    """Write until when the cluster's jobs are known to be as they are recorded."""
    connection.execute(_CONTACT, {"cluster": cluster_id, "ago": seconds_ago})
