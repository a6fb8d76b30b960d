"""How projects, the tenants, are treated: weight, caps, pauses."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from argosy.shapes.projects import ProjectSpec
from argosy.shapes.shown import ProjectShape
from argosy.states import ACTIVE
from argosy.store.conditions import DELAYED, READY, in_states

_COUNTED = " UNION ALL ".join(
    f"SELECT project, {active} AS active, {queued} AS queued FROM argosy.attempt WHERE {where} AND {{which}} GROUP BY project"
    for where, active, queued in (
        (f"{in_states(ACTIVE)}", "count(*)", "0"),
        (READY, "0", "count(*)"),
        (DELAYED, "0", "count(*)"),
    )
)
"""SQL: unfinished workflows and queued jobs of projects. Each part uses its own partial index, which has no ended rows."""


# Its weight, and how many jobs it may have in the queue.
_PUT = text("UPDATE argosy.project SET weight = :weight, max_queued = :max_queued WHERE id = :id")


def put(connection: Connection, project: int, spec: ProjectSpec) -> None:
    """Write a project's weight and cap."""
    connection.execute(
        _PUT,
        spec.model_dump() | {"id": project},
    )


# Remove its own limit, so that the cluster's `project_max_active` applies.
_NO_LIMIT = text("DELETE FROM argosy.project_limit WHERE project = :project AND cluster_id = :cluster")

# Its own limit on one cluster.
_LIMIT = text(
    "INSERT INTO argosy.project_limit (project, cluster_id, max_active) VALUES (:project, :cluster, :max_active) "
    "ON CONFLICT (project, cluster_id) DO UPDATE SET max_active = excluded.max_active"
)


def limit(connection: Connection, project: int, cluster_id: int, max_active: int | None) -> None:
    """Write a project's own limit on one cluster; None removes it."""
    parameters = {"project": project, "cluster": cluster_id, "max_active": max_active}
    if max_active is None:
        connection.execute(_NO_LIMIT, parameters)
    else:
        connection.execute(_LIMIT, parameters)


# Insert the row if there is none, and lock it until the transaction ends.
_LOCK = text("INSERT INTO argosy.project (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET id = excluded.id")


def locked(connection: Connection, project: int) -> ProjectShape:
    """A project with its row locked until the transaction ends, so that two callers that each change one field do not undo each other's
    change."""
    connection.execute(_LOCK, {"id": project})
    return get(connection, project)


def get(connection: Connection, project: int) -> ProjectShape:
    """A project, whether anything was set for it or not."""
    return _read(connection, [project])[0]


# Every project that ever had a setting or a job.
_ALL = text(
    "SELECT id FROM argosy.project UNION SELECT project FROM argosy.project_limit UNION "
    f"SELECT project FROM ({_COUNTED.format(which='true')}) n ORDER BY 1"
)


def all_(connection: Connection) -> Sequence[ProjectShape]:
    """Those that something was set for or that have unfinished or queued jobs, by id."""
    rows = connection.execute(_ALL)
    return _read(connection, [row.id for row in rows])


# The settings of projects, or the defaults.
_READ = text(
    "SELECT i.id, coalesce(p.weight, 1) AS weight, p.max_queued, p.paused_at, coalesce(p.paused_reason, '') AS paused_reason, "
    "(SELECT coalesce(jsonb_object_agg(c.name, m.max_active), '{}') FROM argosy.project_limit m "
    "JOIN argosy.cluster c ON c.id = m.cluster_id WHERE m.project = i.id) AS max_active, "
    "coalesce(n.active, 0) AS active, coalesce(n.queued, 0) AS queued "
    "FROM unnest(CAST(:ids AS bigint[])) AS i (id) LEFT JOIN argosy.project p ON p.id = i.id "
    "LEFT JOIN (SELECT project, sum(active)::bigint AS active, sum(queued)::bigint AS queued "
    f"FROM ({_COUNTED.format(which='project = ANY (CAST(:ids AS bigint[]))')}) c GROUP BY project) n "
    "ON n.project = i.id ORDER BY i.id"
)


def _read(connection: Connection, ids: list[int]) -> list[ProjectShape]:
    rows = connection.execute(_READ, {"ids": ids})
    return [ProjectShape(**row._mapping) for row in rows]
