"""Launches as wholes: how far each is, what failed in it and how often, what it used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from argosy.errors import InvalidRequest
from argosy.shapes.history import FailureShape, NotificationShape
from argosy.shapes.shown import LaunchShape
from argosy.states import FINAL, State, rest_status
from argosy.store import processes
from argosy.store.conditions import FAILED, in_states

_LATELY = 600
"""Seconds over which the rate is taken, at most."""

ALIKE = "argosy.failure(a.state, a.exit_code, a.message)"
"""SQL: the key of the group to which the failure of attempt `a` belongs."""

# Launches, the newest first.
_LAUNCHES = (
    "SELECT gid, project, user_id, algorithm_name, state, "
    f"CASE WHEN reason = '' AND state IN ('accepted', 'resolved') THEN {processes.NOBODY} ELSE reason END AS reason, "
    "jobs, skipped, parent_gid, after_gid, waiting, webhook, created_at FROM argosy.launch "
    "WHERE {} ORDER BY created_at DESC, gid DESC LIMIT :limit"
)

_SOME = text(_LAUNCHES.format("gid = ANY (CAST(:gids AS uuid[]))"))


def cursor_of(launch: LaunchShape) -> str:
    """The cursor that asks for the launches after this one."""
    return f"{launch.created_at.isoformat()}@{launch.gid}"


def _cursor(text: str) -> tuple[datetime, UUID]:
    when, _, gid = text.partition("@")
    try:
        time = datetime.fromisoformat(when)
        if time.tzinfo is None:
            raise ValueError
        return time, UUID(gid)
    except ValueError:
        raise InvalidRequest("after: not the cursor of a page of launches") from None


def launches(
    connection: Connection,
    project: int | None = None,
    gid: UUID | None = None,
    limit: int = 100,
    hidden: bool = False,
    after: str | None = None,
) -> list[LaunchShape]:
    """Launches, newest first, each with its jobs counted by status, and how fast they end. A hidden one is returned only by its gid or with
    `hidden`; one that is asked for by its gid says what it used. With a cursor (`cursor_of`), those that come after it.

    Raises:
        InvalidRequest: It is no cursor.
    """
    conditions = ["(:hidden OR NOT hidden)" if gid is None else "gid = :gid"]
    if project is not None:
        conditions.append("project = :project")
    parameters: dict[str, Any] = {"project": project, "gid": gid, "limit": limit, "hidden": hidden}
    if after is not None:
        conditions.append("(created_at, gid) < (CAST(:at AS timestamptz), :last)")
        parameters["at"], parameters["last"] = _cursor(after)
    rows = connection.execute(text(_LAUNCHES.format(" AND ".join(conditions))), parameters).all()
    return _shapes(connection, rows, gid)


def some(connection: Connection, gids: Sequence[UUID]) -> list[LaunchShape]:
    """These launches, in this order, without those that were forgotten meanwhile."""
    rows = connection.execute(_SOME, {"gids": list(gids), "limit": len(gids)}).all()
    found = {launch.gid: launch for launch in _shapes(connection, rows, None)}
    return [found[gid] for gid in gids if gid in found]


def _shapes(connection: Connection, rows: Sequence[Row[Any]], gid: UUID | None) -> list[LaunchShape]:
    """Launches from their rows; of one that is asked for by its gid, all that is known."""
    progress = _progress(connection, [row.gid for row in rows])
    return [
        LaunchShape(
            gid=row.gid,
            project=row.project,
            user=row.user_id,
            algorithm=row.algorithm_name,
            state=row.state,
            reason=row.reason,
            jobs=row.jobs,
            skipped=row.skipped,
            parent_gid=row.parent_gid,
            after=row.after_gid,
            waiting=row.waiting,
            created_at=row.created_at,
            counts=(found := progress.get(row.gid, _Progress())).counts,
            done=found.done,
            rate=found.rate if row.jobs > found.done else None,
            seconds_left=(row.jobs - found.done) / found.rate if found.rate and row.jobs > found.done else None,
            resources=None if gid is None else _resources(connection, gid),
            webhook=row.webhook,
            notifications=None if gid is None else _notifications(connection, gid),
            splits=None if gid is None else list(connection.execute(_SPLITS, {"gid": gid}).scalars()),
        )
        for row in rows
    ]


@dataclass
class _Progress:
    """Of a launch: jobs by status, jobs that have ended, and how many ended in a second lately."""

    counts: dict[str, int] = field(default_factory=dict)
    done: int = 0
    rate: float | None = None


# How many jobs of each launch are in each state, how many ended lately, and since when they could.
_COUNTS = text(
    # LATERAL forces one index lookup per launch, or the planner would read the whole table of jobs. Most attempts are their jobs' newest
    # and have ended: these need not ask their jobs.
    "SELECT l.gid, "
    "extract(epoch FROM clock_timestamp() - greatest(n.expanded_at, now() - make_interval(secs => :lately)))::float8 AS seconds, "
    "c.* FROM unnest(CAST(:gids AS uuid[])) AS l (gid) JOIN argosy.launch n ON n.gid = l.gid CROSS JOIN LATERAL ("
    "SELECT a.state, a.cancel_requested, count(*) AS jobs, "
    "count(*) FILTER (WHERE a.finished_at > (SELECT now() - make_interval(secs => :lately))) AS lately FROM ("
    "SELECT t.state, t.finished_at, CASE WHEN t.listed AND t.finished_at IS NOT NULL THEN false ELSE "
    "(SELECT cancel_requested FROM argosy.job WHERE uid = t.uid AND attempt = t.number) END AS cancel_requested "
    "FROM argosy.attempt t WHERE t.gid = l.gid OFFSET 0) a WHERE a.cancel_requested IS NOT NULL "
    "GROUP BY a.state, a.cancel_requested) c"
)


def _progress(connection: Connection, gids: Iterable[UUID]) -> dict[UUID, _Progress]:
    found: dict[UUID, _Progress] = {}
    for row in connection.execute(_COUNTS, {"gids": list(gids), "lately": _LATELY}):
        status = rest_status(State(row.state), row.cancel_requested)
        progress = found.setdefault(row.gid, _Progress())
        progress.counts[status] = progress.counts.get(status, 0) + row.jobs
        if row.state in FINAL:
            progress.done += row.jobs
            if row.lately and row.seconds:
                progress.rate = (progress.rate or 0.0) + row.lately / row.seconds
    return found


_SUM = (
    "(SELECT coalesce(jsonb_object_agg(key, seconds), '{{}}') FROM (SELECT r.key, sum(r.value::bigint)::bigint AS seconds "
    "FROM argosy.attempt a CROSS JOIN LATERAL jsonb_each_text(a.resources) r WHERE {} GROUP BY r.key) s)"
)
"""SQL: what some attempts used, by resource."""

# By all attempts of a launch.
_OF_LAUNCH = text(f"SELECT {_SUM.format('a.gid = :gid')}")

# By the attempts of a project that ended lately.
_LATE = "a.project = :project AND a.finished_at > now() - make_interval(days => :days)"
_OF_PROJECT = text(
    f"SELECT {_SUM.format(_LATE)} AS resources, (SELECT count(*) FROM argosy.attempt a WHERE {_LATE}) AS attempts"
)


def _resources(connection: Connection, gid: UUID) -> dict[str, int]:
    found: dict[str, int] = connection.execute(_OF_LAUNCH, {"gid": gid}).scalar_one()
    return found


# Who is to be told how it ended, and whether that was done.
_NOTIFICATIONS = text(
    "SELECT kind, recipient, split_part(key, '.', 2) AS ended, CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN open THEN 'waiting' "
    "ELSE 'given up' END AS state, tries, reason, coalesce(sent_at, created_at) AS at FROM argosy.outbox WHERE gid = :gid ORDER BY id"
)

# Launches that have the media of its failed batches.
_SPLITS = text("SELECT gid FROM argosy.launch WHERE parent_gid = :gid ORDER BY created_at")


def _notifications(connection: Connection, gid: UUID) -> list[NotificationShape]:
    return [NotificationShape(**row._mapping) for row in connection.execute(_NOTIFICATIONS, {"gid": gid})]


def usage(connection: Connection, project: int, days: int) -> tuple[int, dict[str, int]]:
    """How many attempts of a project ended within some days, and what they used."""
    row = connection.execute(_OF_PROJECT, {"project": project, "days": days}).one()
    return row.attempts, row.resources


# Failures of the newest attempts, in groups.
_FAILURES = text(
    "SELECT g.key, g.state, g.exit_code, g.count, g.jobs, a.message FROM ("
    f"SELECT {ALIKE} AS key, a.state, a.exit_code, count(*) AS count, (array_agg(a.uid ORDER BY j.ordinal))[1:5] AS jobs "
    "FROM argosy.job j JOIN argosy.attempt a ON a.gid = :gid AND a.uid = j.uid AND a.number = j.attempt "
    f"WHERE j.gid = :gid AND {in_states(FAILED, 'a')} GROUP BY 1, a.state, a.exit_code ORDER BY count(*) DESC, 1 LIMIT 100) g "
    "JOIN argosy.job j ON j.uid = g.jobs[1] JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt ORDER BY g.count DESC, g.key"
)


def failures(connection: Connection, gid: UUID) -> Sequence[FailureShape]:
    """The failed jobs of a launch, those that failed alike together, the most frequent first; a hundred groups at most."""
    found = connection.execute(_FAILURES, {"gid": gid})
    return [FailureShape(**{**row._mapping, "status": row.state.capitalize()}) for row in found]
