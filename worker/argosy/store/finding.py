"""Jobs that a filter chooses, page by page, and how many there are in each state.

Every statement here is limited to projects, which the caller of this module may read (T10). A page begins after the last job of the page
before, so that later pages cost as little as the first one. The index `ix_attempt_listed` has the jobs of a project and a state in the
order of pages; a page takes the first ones of each of these and merges them. Jobs are counted in that index, up to 100,000 of a state.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.batches import JobUids, ticks
from argosy.shapes.filters import JobFilter
from argosy.shapes.shown import FoundJob, JobCounts, JobPage, JobShape, LaunchList, LaunchShape
from argosy.states import ACTIVE, FINAL, UNFINISHED, State
from argosy.store import reading, summaries
from argosy.store.conditions import in_states
from argosy.store.summaries import ALIKE, FAILED

MOST = 100_000
"""Jobs of one state that are counted."""

# Projects that have launches, each by one look into the index.
_PROJECTS = text(
    "WITH RECURSIVE p (id) AS (SELECT min(project) FROM argosy.launch "
    "UNION ALL SELECT (SELECT min(project) FROM argosy.launch WHERE project > p.id) FROM p WHERE p.id IS NOT NULL) "
    "SELECT id FROM p WHERE id IS NOT NULL"
)

_CHOSEN = (
    "SELECT a.uid, a.gid, a.number, a.state, argosy.age(a.gid) AS age FROM argosy.attempt a {joins} "
    "WHERE a.project = p.id AND a.state = s.state AND a.listed{conditions}"
)
"""SQL: the newest attempts of the chosen jobs of project `p` that are in state `s`."""

_STREAMS = "unnest(CAST(:projects AS bigint[])) p (id) CROSS JOIN unnest(CAST(:states AS text[])) s (state)"

# A page: the first ones of each project and state, and of these the first ones.
_PAGE = (
    f"SELECT f.uid FROM {_STREAMS} CROSS JOIN LATERAL ({_CHOSEN} ORDER BY {{order}} LIMIT :most) f "
    "ORDER BY f.age {way}, f.gid {way}, f.uid {way} LIMIT :most"
)

_JOB = "JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number AND NOT j.hidden"
_LAUNCH = "JOIN argosy.launch l ON l.gid = a.gid"

_STATUS = f"CASE WHEN j.cancel_requested AND {in_states(UNFINISHED, 'a')} THEN 'cancelling' ELSE a.state END"

# How many jobs there are in each state.
_COUNTS = (
    "SELECT s.state, (SELECT count(*) FROM (SELECT FROM unnest(CAST(:projects AS bigint[])) p (id) CROSS JOIN LATERAL ({chosen}) c "
    "LIMIT :most) m) AS jobs FROM unnest(CAST(:states AS text[])) s (state)"
)

# Whether a cluster is held: only then are there queued jobs that are being cancelled.
_HELD = text("SELECT EXISTS (SELECT FROM argosy.cluster WHERE held_at IS NOT NULL)")

# The jobs that hold a medium, one of each launch.
_OF_MEDIUM = text(
    "SELECT j.uid FROM (SELECT gid, (array_position(media_ids, CAST(:media AS bigint)) - 1) / files_per_job AS ordinal "
    "FROM argosy.launch WHERE project = ANY (CAST(:projects AS bigint[]))) l JOIN argosy.job j ON j.gid = l.gid AND j.ordinal = l.ordinal "
    "WHERE l.ordinal IS NOT NULL"
)

_ROWS = reading.statement("SELECT * FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[]))")

_ATTEMPT: dict[str, str] = {
    "gid": "a.gid = :gid AND argosy.age(a.gid) = argosy.age(CAST(:gid AS uuid))",
    "user": "a.user_id = :user",
    "cluster": "a.cluster_id = ANY (ARRAY(SELECT id FROM argosy.cluster WHERE name = :cluster))",
    "error": f"{ALIKE} = :error",
    "since": "argosy.age(a.gid) <= -CAST(:since AS bigint)",
    "until": "argosy.age(a.gid) > -CAST(:until AS bigint)",
}
"""Conditions on attempt `a`, by the field of the filter."""

_AFTER = "(argosy.age(a.gid), a.gid, a.uid) {} (argosy.age(CAST(:last_gid AS uuid)), CAST(:last_gid AS uuid), CAST(:last_uid AS uuid))"

_PARAMETER = "EXISTS (SELECT FROM jsonb_array_elements(l.parameters) e WHERE e ->> 0 = :name{number} AND e ->> 1 = :value{number})"


_LAUNCH_OF_JOBS = (
    "(l.state = ANY (CAST(:early AS text[])) OR l.gid IN (SELECT a.gid FROM argosy.attempt a {joins} "
    "WHERE a.project = p.id AND a.state = ANY (CAST(:states AS text[])) AND a.listed{conditions}))"
)

# A page of launches: the first ones of each project, and of these the first ones.
_LAUNCHES = (
    "SELECT f.gid FROM unnest(CAST(:projects AS bigint[])) p (id) CROSS JOIN LATERAL (SELECT l.gid, l.created_at FROM argosy.launch l "
    "WHERE l.project = p.id AND NOT l.hidden{conditions} ORDER BY l.created_at {way}, l.gid {way} LIMIT :most) f "
    "ORDER BY f.created_at {way}, f.gid {way} LIMIT :most"
)

_OF_LAUNCH: dict[str, str] = {
    "gid": "l.gid = :gid",
    "user": "l.user_id = :user",
    "algorithm": "l.algorithm_name = :algorithm",
    "since": "l.created_at >= :since",
    "until": "l.created_at < :until",
    "media": "CAST(:media AS bigint) = ANY (l.media_ids)",
}
"""Conditions on launch `l`, by the field of the filter."""

_EARLY: dict[str, tuple[str, ...]] = {
    "Queued": ("accepted", "resolved"), "Rejected": ("rejected",), "Cancelled": ("cancelled",),
}  # fmt: skip
"""States of launches without jobs that are meant by a status."""


def launches(connection: Connection, where: JobFilter, allowed: Collection[int] | None = None) -> LaunchList:
    """A page of launches. What the filter says of jobs (`status`, `failed`, `error`, `cluster`, `index`) must be true of one of a launch's
    jobs; or, of a status, of the launch itself where it has no jobs. Arguments are those of `find`."""
    values: dict[str, Any] = {"projects": projects(connection, where, allowed), "most": where.limit + 1}
    conditions = _launch_conditions(where, values)
    if where.statuses or where.error is not None or where.cluster is not None or where.index is not None:
        conditions.append(_with_such_jobs(where, values))
    way, beyond = ("DESC", "<") if where.sort == "newest" else ("ASC", ">")
    if where.cursor is not None:
        conditions.append(f"(l.created_at, l.gid) {beyond} (to_timestamp(0) + :at * interval '1 microsecond', :last)")
        values |= {"last": UUID(where.cursor[:32]), "at": int(where.cursor[32:], 16) & _LATEST}
    statement = text(_LAUNCHES.format(conditions=_all(conditions), way=way))
    gids = list(connection.execute(statement, values).scalars())
    found = summaries.some(connection, gids[: where.limit])
    more = found and len(gids) > where.limit
    return LaunchList(items=found, cursor=_launch_cursor(found[-1]) if more else None)


def _launch_conditions(where: JobFilter, values: dict[str, Any]) -> list[str]:
    """What the filter says of launches, as SQL on launch `l`; its values are added."""
    conditions = []
    for name, sql in _OF_LAUNCH.items():
        if (value := getattr(where, name)) is not None:
            conditions.append(sql)
            values[name] = value
    for number, pair in enumerate(where.param):
        conditions.append(_PARAMETER.format(number=number))
        values[f"name{number}"], _, values[f"value{number}"] = pair.partition("=")
    return conditions


_LATEST = (1 << 53) - 1
"""Microseconds of the last time in a cursor."""


def _launch_cursor(launch: LaunchShape) -> str:
    since = launch.created_at - datetime(1970, 1, 1, tzinfo=UTC)
    return f"{launch.gid.hex}{since // timedelta(microseconds=1):032x}"


def _with_such_jobs(where: JobFilter, values: dict[str, Any]) -> str:
    """SQL: whether launch `l` has a job as the filter says; its values are added."""
    conditions = [_ATTEMPT[name] for name in ("cluster", "error") if getattr(where, name) is not None]
    values |= {"cluster": where.cluster, "error": where.error, "index": where.index, "states": _states(where)}
    if where.index is not None:
        conditions.append("j.ordinal = :index")
    if where.statuses:
        conditions.append(f"{_STATUS} = ANY (CAST(:statuses AS text[]))")
        values["statuses"] = [status.lower() for status in where.statuses]
    jobs_only = where.error is not None or where.cluster is not None or where.index is not None
    values["early"] = [] if jobs_only else [state for status in where.statuses for state in _EARLY.get(status, ())]
    return _LAUNCH_OF_JOBS.format(joins=_JOB, conditions=_all(conditions))


def find(
    connection: Connection, where: JobFilter, allowed: Collection[int] | None = None, nodes: bool = False
) -> JobPage:
    """A page of jobs.

    Args:
        connection: Where to ask.
        where: Which jobs, and which page.
        allowed: The projects that the caller may read; None means all.
        nodes: Whether to read the nodes too.
    """
    conditions, values = _chosen(connection, where, allowed)
    way, beyond = ("ASC", ">") if where.sort == "newest" else ("DESC", "<")
    if where.cursor is not None:
        conditions.append(_AFTER.format(beyond))
        values |= {"last_gid": UUID(where.cursor[:32]), "last_uid": UUID(where.cursor[32:])}
    order = f"argosy.age(a.gid) {way}, a.gid {way}, a.uid {way}"
    statement = _PAGE.format(joins=f"{_JOB} {_joined(where)}", conditions=_all(conditions), order=order, way=way)
    values |= {"most": where.limit + 1}
    uids = list(connection.execute(text(statement), values).scalars())
    found = jobs(connection, uids[: where.limit], nodes)
    return JobPage(items=found, cursor=cursor(found[-1]) if found and len(uids) > where.limit else None)


def _chosen(
    connection: Connection, where: JobFilter, allowed: Collection[int] | None
) -> tuple[list[str], dict[str, Any]]:
    """All conditions but the states, with all values."""
    conditions, values = _conditions(connection, where, allowed)
    values["states"] = _states(where)
    if where.statuses:
        # Plain conditions where they say the same: the planner cannot judge the other one, and would sort all jobs.
        if "Cancelling" in where.statuses:
            conditions.append(f"{_STATUS} = ANY (CAST(:statuses AS text[]))")
            values["statuses"] = [status.lower() for status in where.statuses]
        elif any(status.lower() in UNFINISHED for status in where.statuses):
            conditions.append(f"({in_states(FINAL, 'a')} OR NOT j.cancel_requested)")
    return conditions, values


def choice(
    connection: Connection, where: JobFilter, allowed: Collection[int] | None, also: str, most: int
) -> tuple[str, dict[str, Any]]:
    """The chosen jobs, whatever page the filter names, as SQL with columns gid, uid, number and state, and its values.

    Args:
        connection: Where to ask.
        where: Which jobs.
        allowed: The projects that the caller may see; None means all.
        also: SQL that must be true of attempt `a`, too.
        most: Jobs at most.
    """
    conditions, values = _chosen(connection, where, allowed)
    chosen = _CHOSEN.format(joins=f"{_JOB} {_joined(where)}", conditions=_all([*conditions, also]))
    return f"SELECT c.* FROM {_STREAMS} CROSS JOIN LATERAL ({chosen}) c LIMIT :most", values | {"most": most}


def uncut(connection: Connection, where: JobFilter, allowed: Collection[int] | None) -> list[UUID]:
    """The chosen launches that are not cut into jobs yet; none where the filter says something of jobs."""
    of_jobs = where.error is not None or where.cluster is not None or where.index is not None or where.media is not None
    if of_jobs or (where.statuses and "Queued" not in where.statuses):
        return []
    values: dict[str, Any] = {"projects": projects(connection, where, allowed), "most": MOST}
    conditions = [*_launch_conditions(where, values), "l.state IN ('accepted', 'resolved')"]
    return list(connection.execute(text(_LAUNCHES.format(conditions=_all(conditions), way="ASC")), values).scalars())


def count(connection: Connection, where: JobFilter, allowed: Collection[int] | None = None) -> JobCounts:
    """The chosen jobs by status, whichever statuses the filter names. Arguments are those of `find`."""
    conditions, values = _conditions(connection, where, allowed)
    states = _states(where.but(status=(), failed=False))
    held = connection.execute(_HELD).scalar_one()
    ending = [state for state in states if state in (UNFINISHED if held else ACTIVE)]
    joined = f"{_JOB} {_joined(where)}"
    counted = _counted(connection, _joined(where) if where.index is None else joined, conditions, values, states)
    cancelling = _counted(connection, joined, [*conditions, "j.cancel_requested"], values, ending)
    counts = {state.capitalize(): min(jobs, MOST) - cancelling.get(state, 0) for state, jobs in counted.items()}
    counts["Cancelling"] = sum(cancelling.values())
    more = any(jobs > MOST for jobs in counted.values())
    return JobCounts(counts={status: jobs for status, jobs in sorted(counts.items()) if jobs > 0}, more=more)


def _counted(
    connection: Connection, joins: str, conditions: Sequence[str], values: dict[str, Any], states: Sequence[str]
) -> dict[str, int]:
    statement = _COUNTS.format(chosen=_CHOSEN.format(joins=joins, conditions=_all(conditions)))
    rows = connection.execute(text(statement), values | {"states": states, "most": MOST + 1})
    return {row.state: row.jobs for row in rows}


def jobs(connection: Connection, uids: Sequence[UUID], nodes: bool = False) -> list[FoundJob]:
    """These jobs, in this order, without those that were forgotten meanwhile; with `nodes` as `JobShape`."""
    if not uids:
        return []
    rows = {row.uid: row for row in connection.execute(_ROWS, {"uids": list(uids)})}
    found = [rows[uid] for uid in uids if uid in rows]
    if not nodes:
        return [FoundJob(**reading.fields(row)) for row in found]
    by_uid = reading.nodes_of(connection, [(row.uid, row.number) for row in found])
    return [JobShape(**reading.fields(row), nodes=by_uid.get(row.uid, [])) for row in found]


def cursor(job: FoundJob) -> str:
    """The cursor that asks for the jobs after this one."""
    return job.gid.hex + job.uid.hex


def projects(connection: Connection, where: JobFilter, allowed: Collection[int] | None) -> list[int]:
    """The projects that are looked through: those of the filter, or else all that have launches, as far as they are allowed."""
    chosen = where.project or connection.execute(_PROJECTS).scalars()
    return [project for project in chosen if allowed is None or project in allowed]


def _states(where: JobFilter) -> list[str]:
    """The states that the chosen jobs may be in."""
    states = {str(state) for state in State}
    if where.statuses:
        states &= {status.lower() for status in where.statuses} | (
            {str(state) for state in UNFINISHED} if "Cancelling" in where.statuses else set()
        )
    return sorted(states & {str(state) for state in FAILED} if where.error is not None else states)


def _conditions(
    connection: Connection, where: JobFilter, allowed: Collection[int] | None
) -> tuple[list[str], dict[str, Any]]:
    """All conditions but that on the status, as SQL on attempt `a`, job `j` and launch `l`, with their values."""
    values: dict[str, Any] = {"projects": projects(connection, where, allowed)}
    conditions = []
    for name, sql in _ATTEMPT.items():
        if (value := getattr(where, name)) is not None:
            conditions.append(sql)
            values[name] = ticks(value) if name in {"since", "until"} else value
    if where.algorithm is not None:
        conditions.append("l.algorithm_name = :algorithm")
        values["algorithm"] = where.algorithm
    for number, pair in enumerate(where.param):
        conditions.append(_PARAMETER.format(number=number))
        values[f"name{number}"], _, values[f"value{number}"] = pair.partition("=")
    if where.index is not None:
        conditions.append("j.ordinal = :index")
        values["index"] = where.index
    uids = None
    if where.media is not None:
        uids = set(connection.execute(_OF_MEDIUM, values | {"media": where.media}).scalars())
    if where.gid is not None and where.index is not None:
        uid = JobUids(where.gid, where.index + 1)[where.index]
        uids = {uid} if uids is None else uids & {uid}
    if uids is not None:
        conditions.append("a.uid = ANY (CAST(:uids AS uuid[]))")
        values["uids"] = list(uids)
    return conditions, values


def _joined(where: JobFilter) -> str:
    return _LAUNCH if where.algorithm is not None or where.param else ""


def _all(conditions: Sequence[str]) -> str:
    return "".join(f" AND {condition}" for condition in conditions)
