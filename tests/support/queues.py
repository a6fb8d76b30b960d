"""Queues as rows, without a launch being resolved and cut for each: what a claim finds, by the thousand."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from argosy.client import Client
from argosy.store import claims
from tests.support.certificates import PEM
from tests.support.launching import HELLO

_FILL = """
WITH launch AS (
    INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest, state, algorithm_id, placement_id, jobs, expanded_at)
    SELECT gen_random_uuid(), project, :user, 'hello', 'digest', 'expanded', :algorithm, :placement, :jobs, now()
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS project RETURNING gid, project
), job AS (
    INSERT INTO argosy.job (uid, gid, ordinal, project, user_id, media_ids)
    SELECT gen_random_uuid(), gid, ordinal, project, :user, '{1}' FROM launch, generate_series(0, CAST(:jobs AS int) - 1) AS ordinal
    RETURNING uid, gid, ordinal, project
)
INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, not_before)
SELECT uid, 1, gid, project, :user, :algorithm, :priority, :placement,
       CASE WHEN :delay <> 0 THEN clock_timestamp() + make_interval(secs => :delay) END FROM job ORDER BY ordinal, project
"""


def fill(
    connection: Connection,
    project: int,
    jobs: int,
    *,
    until: int | None = None,
    user: int = 7,
    algorithm: int = 1,
    placement: int = 1,
    priority: int = 0,
    delay: float = 0.0,
) -> None:
    """Queue so many jobs of a project, or of each from `project` to `until`; round by round, so that no tenant's come in one piece."""
    connection.execute(
        text(_FILL),
        {
            "first": project, "last": until or project, "jobs": jobs, "user": user, "algorithm": algorithm,
            "placement": placement, "priority": priority, "delay": float(delay),
        },
    )  # fmt: skip


def placement(connection: Connection, *cluster_ids: int, labels: str = "{}") -> int:
    """A choice of clusters."""
    statement = "INSERT INTO argosy.placement (cluster_ids, labels) VALUES (:ids, CAST(:labels AS jsonb)) RETURNING id"
    return int(connection.execute(text(statement), {"ids": list(cluster_ids), "labels": labels}).scalar_one())


def sql(engine: Engine, statement: str, **parameters: Any) -> Any:
    """Run one statement in a transaction of its own; its rows, if it has some."""
    with engine.begin() as connection:
        result = connection.execute(text(statement), parameters)
        return result.all() if result.returns_rows else None


def clusters(client: Client, *names: str, **fields: Any) -> None:
    """Register healthy clusters that nobody asks, and for each, in their order, a placement that leaves no choice."""
    for name in names:
        port = len(client.clusters()) + 1  # one place each, at which nobody listens
        client.add_cluster(name=name, host="127.0.0.1", port=port, cert=PEM, token="t", **({"pace": False} | fields))
    with client.engine.begin() as connection:
        connection.execute(text("UPDATE argosy.cluster SET health = 'ok'"))
        for (cluster_id,) in connection.execute(text("SELECT id FROM argosy.cluster ORDER BY id")).all():
            placement(connection, cluster_id)
    client.register_algorithm(name="hello", project=1, user=7, cluster=1, manifest=HELLO, files_per_job=1)


def render(waiting: claims.Waiting) -> claims.Rendering | str:
    """Any name."""
    return claims.Rendering(f"job-{waiting.uid}-{waiting.number}", "d")


def claim(
    at: Engine | Connection,
    cluster: int = 1,
    limit: int = 10,
    rendering: Callable[[claims.Waiting], claims.Rendering | str] = render,
) -> claims.Claims:
    """Claim, and commit unless in the caller's transaction."""
    if isinstance(at, Engine):
        with at.begin() as connection:
            return claim(connection, cluster, limit, rendering)
    return claims.claim(at, cluster, "w", 20.0, limit, 60.0, rendering)


def finish(at: Engine | Connection, uids: list[UUID], state: str = "succeeded") -> None:
    """End these jobs."""
    if isinstance(at, Engine):
        with at.begin() as connection:
            return finish(connection, uids, state)
    statement = "UPDATE argosy.attempt SET state = :state, finished_at = clock_timestamp(), lease_until = NULL WHERE uid = ANY (:uids)"
    at.execute(text(statement), {"uids": uids, "state": state})
    return None


def manned(engine: Engine) -> None:
    """A worker and a tracker are alive, for as long as the test may take."""
    sql(
        engine,
        "INSERT INTO argosy.process (id, kind, host, pid, version, revision, seen_at) "
        "SELECT kind, kind, 'here', 1, '0', '9999', now() + interval '1 day' FROM unnest(ARRAY['worker', 'tracker']) kind "
        "ON CONFLICT DO NOTHING",
    )
