"""An installation on one screen: processes, queue, clusters with their leases, and what went wrong last. Read in one snapshot."""

from sqlalchemy import Engine, text

from argosy.shapes.status import ClusterStatusShape, ProcessShape, StatusShape, TroubleShape
from argosy.states import ACTIVE
from argosy.store import processes, reading, schema
from argosy.store.conditions import in_states
from argosy.store.pacing import CAPACITY
from argosy.store.processes import TRACKER, WORKER

_NEWEST_ERRORS = 10

# Each cluster, with its lease.
_CLUSTERS = text(
    f"SELECT c.name, c.health, c.health_message, c.as_of, {CAPACITY} AS capacity, "
    f"(SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id AND {in_states(ACTIVE, 'a')}) AS active, "
    "CASE WHEN c.held_at IS NOT NULL THEN concat_ws(': ', 'held', nullif(c.held_reason, '')) "
    "WHEN c.paused_at IS NOT NULL THEN concat_ws(': ', 'paused', nullif(c.paused_reason, '')) "
    "WHEN c.open_until > clock_timestamp() THEN concat_ws(': ', 'left alone', nullif(c.open_reason, '')) ELSE '' END AS closed, "
    "coalesce(CASE WHEN l.until > clock_timestamp() THEN l.holder END, '') AS tracker, "
    "greatest(coalesce(extract(epoch FROM l.until - clock_timestamp()), 0), 0)::float8 AS lease_seconds "
    "FROM argosy.cluster c LEFT JOIN argosy.lease l ON l.name = 'cluster/' || c.id WHERE c.removed_at IS NULL ORDER BY c.name"
)

# Launches that are not cut into jobs yet, and notifications that are not sent yet.
_WAITING = text(
    "SELECT clock_timestamp() AS now, count(*) AS launches, "
    "coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest, "
    "(SELECT count(*) FROM argosy.outbox WHERE open) AS notifications, "
    "(SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) FROM argosy.outbox WHERE open)::float8 AS unsent "
    "FROM argosy.launch WHERE state IN ('accepted', 'resolved')"
)

# What went wrong within a day: what processes logged, clusters that do not work, launches and notifications that are tried again.
_ERRORS = text(
    """
    SELECT error_at AS at, kind || ' ' || host || '/' || pid AS "where", error AS text FROM argosy.process
        WHERE error <> '' AND error_at > clock_timestamp() - interval '1 day'
    UNION ALL SELECT health_since, 'cluster ' || name, concat_ws(': ', health, nullif(health_message, '')) FROM argosy.cluster
        WHERE health NOT IN ('ok', 'unknown') AND removed_at IS NULL
    UNION ALL (SELECT created_at, 'launch ' || gid, reason FROM argosy.launch
        WHERE state IN ('accepted', 'resolved') AND reason <> '' ORDER BY created_at DESC LIMIT :most)
    UNION ALL (SELECT created_at, kind || ' of launch ' || gid, reason FROM argosy.outbox WHERE open AND reason <> ''
        ORDER BY next_try_at DESC LIMIT :most)
    ORDER BY at DESC LIMIT :most
    """
)


def status(engine: Engine) -> StatusShape:
    """How an installation is."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        alive = processes.alive(connection)
        queues = reading.queues(connection)
        waiting = connection.execute(_WAITING).one()
        clusters = []
        for row in connection.execute(_CLUSTERS):
            queued, oldest = queues.get(row.name, (0, 0.0))
            clusters.append(ClusterStatusShape(**row._mapping, queued=queued, oldest_seconds=oldest))
        return StatusShape(
            schema_revision=schema.revision(connection),
            newest_revision=schema.NEWEST,
            now=waiting.now,
            processes=[ProcessShape.model_validate(process) for process in alive],
            missing=[kind for kind in (WORKER, TRACKER) if not any(process.kind == kind for process in alive)],
            jobs={state: count for state, count in sorted(reading.jobs_by_state(connection).items()) if count},
            waiting_launches=waiting.launches,
            oldest_launch_seconds=waiting.oldest,
            notifications=waiting.notifications,
            oldest_notification_seconds=waiting.unsent,
            clusters=clusters,
            errors=[TroubleShape(**row._mapping) for row in connection.execute(_ERRORS, {"most": _NEWEST_ERRORS})],
        )
