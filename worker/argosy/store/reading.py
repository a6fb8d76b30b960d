"""Queries of readers: jobs with their nodes, figures of the gauges. Nothing here asks a cluster.

Every read of a tenant is filtered by its project in SQL (T10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, TextClause, text

from argosy.batches import made, ordinal
from argosy.errors import NotFound
from argosy.shapes.shown import JobShape, NodeShape
from argosy.states import ACTIVE, ENDED_EARLY, FINAL, ON_CLUSTER, State, rest_status
from argosy.store import processes, rows
from argosy.store.conditions import DELAYED, READY, in_states
from argosy.store.placements import FITS


@dataclass(frozen=True)
class Filter:
    """Which jobs; None does not filter. `attempt` shows that attempt instead of the newest."""

    project: int | None = None
    gid: UUID | None = None
    uid: UUID | None = None
    media_id: int | None = None
    attempt: int | None = None
    hidden: bool = False


_PAGE = """
SELECT j.* FROM argosy.launch l CROSS JOIN LATERAL (
    SELECT * FROM argosy.job WHERE gid = l.gid AND (NOT hidden OR :hidden){jobs} ORDER BY ordinal LIMIT :limit + :offset
) j WHERE l.expanded_at IS NOT NULL{launches} ORDER BY l.expanded_at DESC, l.gid, j.ordinal LIMIT :limit OFFSET :offset
"""
# Read launch by launch, because launches are few: the order needs no index on jobs, and only the rows of this page and of the pages before
# it are read. All jobs of a launch were inserted when it was expanded.

_JOBS = """
SELECT j.uid, j.gid, j.ordinal, l.created_at, a.name, j.project, j.user_id, l.algorithm_name, a.algorithm_id, a.state, j.cancel_requested,
    {message} AS message, a.started_at, a.finished_at, j.media_ids, a.number, c.name AS cluster,
    {manifest} AS manifest_digest,
    CASE WHEN {here} THEN greatest(a.as_of, c.as_of) ELSE a.as_of END AS as_of
FROM ({page}) j JOIN argosy.launch l USING (gid) JOIN argosy.attempt a ON a.uid = j.uid AND a.number = {number}
LEFT JOIN argosy.cluster c ON c.id = a.cluster_id LEFT JOIN argosy.project p ON p.id = j.project
LEFT JOIN argosy.algorithm g ON g.id = a.algorithm_id
LEFT JOIN argosy.revision r ON a.revision > 0 AND r.gid = j.gid AND r.number = a.revision ORDER BY l.expanded_at DESC, j.gid, j.ordinal
"""

_HERE = in_states(ON_CLUSTER, "a")

_MESSAGE = """CASE
    WHEN a.state <> 'queued' THEN a.message
    WHEN c.held_at IS NOT NULL THEN concat_ws(': ', 'cluster ' || c.name || ' is held', nullif(c.held_reason, ''))
    WHEN EXISTS (SELECT FROM argosy.placement q JOIN argosy.cluster h ON h.id = ANY (q.cluster_ids) OR (q.cluster_ids = '{{}}'
        AND h.labels @> q.labels) WHERE q.id = a.placement_id AND h.held_at > a.queued_at AND h.removed_at IS NULL)
        THEN 'a cluster that may have run it is held: argosy db reconcile'
    WHEN p.paused_at IS NOT NULL THEN concat_ws(': ', 'project ' || p.id || ' is paused', nullif(p.paused_reason, ''))
    WHEN g.paused_at IS NOT NULL THEN concat_ws(': ', 'algorithm ' || g.name || ' is paused', nullif(g.paused_reason, ''))
    WHEN c.paused_at IS NOT NULL THEN concat_ws(': ', 'cluster ' || c.name || ' is paused', nullif(c.paused_reason, ''))
    WHEN a.message = '' AND a.cluster_id IS NULL AND a.queued_at < (SELECT doubted_at FROM argosy.installation
        WHERE doubted_at > clock_timestamp() - interval '90 seconds')
        THEN 'another database server answers: a create that was sent for it before that may still arrive on a cluster'
    WHEN a.message = '' AND c.open_until > clock_timestamp()
        THEN concat_ws(': ', 'cluster ' || c.name || ' is left alone for a while',
            CASE WHEN c.health NOT IN ('ok', 'unknown') THEN c.health END)
    WHEN a.message = '' THEN {nobody}
    ELSE a.message END""".replace("{nobody}", processes.NOBODY)
# Why a queued job waits depends on rows of others, so it is computed here and not stored in the job's own rows.

_MANIFEST = "coalesce(r.manifest_digest, l.manifest_digest, encode(sha256(convert_to(l.manifest, 'UTF8')), 'hex'), '')"
# Launches that were frozen before migration 0026 have no digest.

_OF_LAUNCHES = {
    "project": "l.project = :project",
    "gid": "l.gid = :gid",
    "uid": "l.gid = (SELECT gid FROM argosy.job WHERE uid = :uid)",
}

_OF_JOBS = {
    "uid": "uid = :uid",
    # The batch into which `batches` has put the medium. So no index on media is needed, and no media of other batches are searched.
    "media_id": "ordinal = (array_position(l.media_ids, CAST(:media_id AS bigint)) - 1) / l.files_per_job",
}


def statement(page: str, number: str = "j.attempt") -> TextClause:
    """The statement that reads jobs with an attempt of each.

    Args:
        page: SQL that selects the rows of `argosy.job`.
        number: SQL of the attempt's number.
    """
    return text(_JOBS.format(page=page, number=number, message=_MESSAGE, here=_HERE, manifest=_MANIFEST))


def jobs(connection: Connection, where: Filter, limit: int, offset: int = 0, nodes: bool = True) -> list[JobShape]:
    """Jobs, newest launch first, in the order of their batches.

    Args:
        connection: Where to ask.
        where: Which.
        limit: The most to return.
        offset: How many to leave out first.
        nodes: Whether to read the nodes too.
    """

    def chosen(conditions: dict[str, str]) -> str:
        return "".join(f" AND {sql}" for name, sql in conditions.items() if getattr(where, name) is not None)

    page = _PAGE.format(launches=chosen(_OF_LAUNCHES), jobs=chosen(_OF_JOBS))
    number = "j.attempt" if where.attempt is None else ":attempt"
    rows = connection.execute(statement(page, number), vars(where) | {"limit": limit, "offset": offset}).all()
    by_attempt = nodes_of(connection, [(row.uid, row.number) for row in rows]) if nodes else {}
    return [JobShape(**fields(row), nodes=by_attempt.get(row.uid, [])) for row in rows]


def fields(row: Row[Any]) -> dict[str, Any]:
    """The fields of `FoundJob`, from a row of `statement`."""
    return {
        "uid": row.uid,
        "gid": row.gid,
        "index": row.ordinal,
        "id": row.name,
        "project": row.project,
        "user": row.user_id,
        "algorithm": row.algorithm_name,
        "status": rest_status(State(row.state), row.cancel_requested),
        "message": row.message,
        "created_at": row.created_at,
        "start_time": row.started_at,
        "stop_time": row.finished_at,
        "media_ids": row.media_ids,
        "attempt": row.number,
        "cluster": row.cluster,
        "manifest_digest": row.manifest_digest,
        "as_of": row.as_of,
    }


# What somebody means who takes a launch for a job.
_LAUNCH = text(
    "SELECT state, reason FROM argosy.launch WHERE gid = :gid AND (project = :project OR CAST(:project AS bigint) IS NULL)"
)


def job(connection: Connection, where: Filter) -> JobShape:
    """One job, even if its launch is not expanded yet or was rejected.

    Raises:
        NotFound: There is no such job, or attempt.
    """
    if found := jobs(connection, where, limit=1):
        return found[0]
    if where.uid is not None and where.attempt is None:
        early = unexpanded(connection, where.uid)
        if early is not None and where.project in {None, early.project}:
            return early
        if found := jobs(connection, where, limit=1):  # cut between the two questions
            return found[0]
    if (launch := connection.execute(_LAUNCH, {"gid": where.uid, "project": where.project}).one_or_none()) is not None:
        why = f": {launch.reason}" if launch.reason else ""
        raise NotFound(f"{where.uid} is not a job but a launch, {launch.state}{why}; see: argosy get {where.uid}")
    which = f"job {where.uid}" + (f", attempt {where.attempt}" if where.attempt else "")
    raise NotFound(f"{which} does not exist; see: argosy list")


# All nodes of some attempts.
NODES = text(
    "SELECT n.uid, n.attempt, n.node_id, n.task, n.phase, n.started_at, n.finished_at, n.children, n.type, n.message, n.exit_code, n.pod, "
    f"n.host, n.resources, n.boundary FROM argosy.node n JOIN {rows.KEYS} "
    "ON n.uid = k.uid AND n.attempt = k.number ORDER BY n.started_at NULLS LAST, n.node_id"
)


def nodes_of(connection: Connection, keys: Sequence[tuple[UUID, int]]) -> dict[UUID, list[NodeShape]]:
    """The nodes of some attempts, by their jobs."""
    found: dict[UUID, list[NodeShape]] = {}
    for row in connection.execute(NODES, {"keys": rows.keys(keys)}):
        found.setdefault(row.uid, []).append(
            NodeShape(
                id=row.node_id,
                task=row.task,
                status=row.phase,
                start_time=row.started_at,
                stop_time=row.finished_at,
                children=row.children,
                type=row.type,
                message=row.message,
                exit_code=row.exit_code,
                pod=row.pod,
                host=row.host,
                resources=row.resources,
                boundary=row.boundary,
            )
        )
    return found


@dataclass(frozen=True)
class Early:
    """A job of a launch that has no job rows yet, or never will."""

    gid: UUID
    ordinal: int
    project: int
    user_id: int
    algorithm_name: str
    status: str
    reason: str
    created_at: datetime


# Launches that the job may belong to.
_EARLY_LAUNCHES = text(
    "SELECT gid, project, user_id, algorithm_name, state, "
    f"CASE WHEN reason = '' AND state IN ('accepted', 'resolved') THEN {processes.NOBODY} ELSE reason END AS reason, "
    "created_at FROM argosy.launch WHERE state <> 'expanded' AND created_at > CAST(:made AS timestamptz) - interval '2 hours'"
)

# A job that was cancelled before it was cut.
_EARLY_CANCEL = text("SELECT EXISTS (SELECT FROM argosy.early_cancel WHERE gid = :gid AND ordinal = :ordinal)")


def early(connection: Connection, uid: UUID) -> Early | None:
    """A job that has no row yet: its uid follows from a launch's gid.

    The uid of job number i has the time `gid.time + 1 + i`, and a gid's time is at most an hour later than its launch was written, so only
    few launches must be checked.
    """
    rows = connection.execute(_EARLY_LAUNCHES, {"made": made(uid)})
    for row in rows:
        number = ordinal(row.gid, uid)
        if number is None:
            continue
        cancelled = connection.execute(_EARLY_CANCEL, {"gid": row.gid, "ordinal": number}).scalar_one()
        final = row.state in ENDED_EARLY
        status = row.state.capitalize() if final else "Cancelled" if cancelled else "Queued"
        fields = {
            name: getattr(row, name) for name in ("gid", "project", "user_id", "algorithm_name", "reason", "created_at")
        }
        return Early(ordinal=number, status=status, **fields)
    return None


def unexpanded(connection: Connection, uid: UUID) -> JobShape | None:
    """A job of a launch that has no job rows: `Queued`, or `Rejected` or `Cancelled` with the reason."""
    found = early(connection, uid)
    if found is None:
        return None
    return JobShape(
        uid=uid,
        gid=found.gid,
        index=found.ordinal,
        id=None,
        project=found.project,
        user=found.user_id,
        algorithm=found.algorithm_name,
        status=found.status,
        message=found.reason,
        created_at=found.created_at,
        start_time=None,
        stop_time=None,
        media_ids=[],
        attempt=0,
        cluster=None,
        manifest_digest="",
        as_of=found.created_at,
        nodes=[],
    )


# Workflows whose end is recorded.
_RECORDED = text(
    "SELECT count(*) FROM argosy.attempt WHERE k8s_uid = ANY (:k8s_uids) AND finished_at IS NOT NULL "
    "AND as_of < clock_timestamp() - make_interval(secs => :seconds)"
)


def recorded(connection: Connection, k8s_uids: Sequence[str], seconds: float) -> int:
    """How many of these workflows' ends were recorded at least so many seconds ago."""
    count = connection.execute(_RECORDED, {"k8s_uids": list(k8s_uids), "seconds": seconds}).scalar_one()
    return int(count)


def jobs_by_state(connection: Connection) -> dict[str, int]:
    """Number of attempts by state: unfinished ones, and those that finished within a day."""
    active, final = (", ".join(f"'{state}'" for state in sorted(states)) for states in (ACTIVE, FINAL))
    # Each part uses its own index. `now()` and not `clock_timestamp()`: the planner uses no index for a time that changes while the
    # statement runs.
    rows = connection.execute(
        text(
            f"SELECT state, count(*) AS jobs FROM argosy.attempt WHERE state IN ({active}) GROUP BY state "
            f"UNION ALL SELECT state, count(*) FROM argosy.attempt WHERE state IN ({final}) "
            "AND finished_at > now() - interval '1 day' GROUP BY state "
            f"UNION ALL SELECT 'queued', (SELECT count(*) FROM argosy.attempt WHERE {READY}) "
            f"+ (SELECT count(*) FROM argosy.attempt WHERE {DELAYED})"
        )
    )
    return {row.state: row.jobs for row in rows}


def queues(connection: Connection) -> dict[str, tuple[int, float]]:
    """Per cluster: number of queued jobs that it may take, and the age of the oldest in seconds."""
    waiting = " UNION ALL ".join(
        "SELECT placement_id, count(*) AS depth, min(queued_at) AS oldest FROM argosy.attempt "
        f"WHERE {queued} GROUP BY placement_id"
        for queued in (READY, DELAYED)
    )
    rows = connection.execute(
        text(
            "SELECT c.name, coalesce(sum(q.depth), 0)::bigint AS depth, "
            "coalesce(extract(epoch FROM clock_timestamp() - min(q.oldest)), 0)::float8 AS oldest FROM argosy.cluster c "
            f"LEFT JOIN (argosy.placement p JOIN ({waiting}) q ON q.placement_id = p.id) ON {FITS} "
            "WHERE c.removed_at IS NULL GROUP BY c.name"
        )
    )
    return {row.name: (row.depth, row.oldest) for row in rows}
