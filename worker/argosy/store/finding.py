"""Jobs and launches that a filter chooses, page by page, and how many jobs there are in each state.

Every statement here is limited to projects, which the caller of this module may read (T10). A page begins after the last one of the page
before, so that later pages cost as little as the first one. The index `ix_attempt_found` has the jobs of a project and a state in the
order of pages, `ix_launch_found` the launches of a project; a page takes the first ones of each of these and merges them.

Some fields of a filter are about jobs, others about launches. With both, one side leads: either the jobs are read in their order and each
asks for its launch, or the launches are read in theirs and each asks for its jobs. For a page the jobs lead where they are few, for a count
whichever are fewer, of up to `MOST`. The planner is not asked which is better: it does not know before it has seen statistics, and is
wrong by a factor of a hundred. `OFFSET 0` keeps it from joining what is to be asked row by row.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.shapes.filters import JobFilter
from argosy.shapes.shown import FoundJob, JobCounts, JobPage, JobShape, LaunchList
from argosy.store import choosing, reading, summaries

MOST = 10_000
"""Jobs of one state that are counted."""

_FEW = 1_000
"""Jobs of a page's states that are each asked for their launch."""

_EACH_PROJECT = "unnest(CAST(:projects AS bigint[])) p (id)"
_EACH_STATE = "unnest(CAST(:states AS text[])) s (state)"

_JOBS = (
    "SELECT a.uid, a.gid, a.number, a.state, argosy.age(a.gid) AS age FROM argosy.attempt a "
    "WHERE a.project = p.id AND a.state = s.state AND a.listed{of_jobs}"
)
"""SQL: the newest attempts of the jobs of project `p` that are in state `s`."""

_LAUNCHES = "SELECT l.gid, argosy.age(l.gid) AS age{ordinal} FROM argosy.launch l WHERE l.project = p.id{of_launches}"
"""SQL: the launches of project `p` that are meant."""

_OF_LAUNCH = "a.gid = l.gid AND argosy.age(a.gid) = l.age"

_AT_ORDINAL = (
    "SELECT a.uid, a.gid, a.number, a.state FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
    "WHERE j.gid = l.gid AND j.ordinal = l.ordinal AND a.listed AND a.state = ANY (CAST(:states AS text[])){of_jobs}"
)
"""SQL: the job of launch `l` with the ordinal that is meant."""

# A page: the first ones of each project and state, and of these the first ones.
_PAGE = (
    f"SELECT f.uid FROM {_EACH_PROJECT} CROSS JOIN {_EACH_STATE} CROSS JOIN LATERAL "
    f"({_JOBS} ORDER BY argosy.age(a.gid) {{way}}, a.gid {{way}}, a.uid {{way}} LIMIT :most) f "
    "ORDER BY f.age {way}, f.gid {way}, f.uid {way} LIMIT :most"
)

# The same, launch by launch.
_PAGE_BY_LAUNCH = (
    f"SELECT f.uid FROM {_EACH_PROJECT} CROSS JOIN LATERAL (SELECT l.age, l.gid, c.uid FROM "
    f"({_LAUNCHES} ORDER BY argosy.age(l.gid) {{way}}, l.gid {{way}} OFFSET 0) l CROSS JOIN LATERAL ({{jobs}}) c "
    "ORDER BY l.age {way}, l.gid {way}, c.uid {way} LIMIT :most) f ORDER BY f.age {way}, f.gid {way}, f.uid {way} LIMIT :most"
)

_JOBS_OF_LAUNCH = (
    f"SELECT b.uid FROM {_EACH_STATE} CROSS JOIN LATERAL "
    f"({_JOBS} AND {_OF_LAUNCH} ORDER BY a.uid {{way}} LIMIT :most) b"
)

# How many jobs there are in each state.
_COUNTS = (
    f"SELECT s.state, (SELECT count(*) FROM (SELECT FROM {_EACH_PROJECT} CROSS JOIN LATERAL ({_JOBS}) c LIMIT :most) m) AS jobs "
    f"FROM {_EACH_STATE}"
)

# The same, launch by launch.
_COUNTS_BY_LAUNCH = (
    f"SELECT s.state, (SELECT count(*) FROM (SELECT FROM {_EACH_PROJECT} CROSS JOIN LATERAL ({_LAUNCHES} OFFSET 0) l "
    f"CROSS JOIN LATERAL ({{jobs}} OFFSET 0) c LIMIT :most) m) AS jobs FROM {_EACH_STATE}"
)

# The launches of jobs.
_GIDS = f"SELECT DISTINCT c.gid FROM {_EACH_PROJECT} CROSS JOIN {_EACH_STATE} CROSS JOIN LATERAL ({_JOBS}) c"

# The same of launches of which one job each is meant.
_COUNTS_AT_ORDINAL = (
    f"SELECT c.state, count(*) AS jobs FROM {_EACH_PROJECT} CROSS JOIN LATERAL ({_LAUNCHES} OFFSET 0) l "
    "CROSS JOIN LATERAL ({jobs} OFFSET 0) c GROUP BY c.state"
)

# How many launches are meant.
_SIZE = f"SELECT count(*) FROM (SELECT FROM {_EACH_PROJECT} CROSS JOIN LATERAL ({_LAUNCHES}) l LIMIT :most) m"

# A page of launches: the first ones of each project, and of these the first ones.
_LAUNCH_PAGE = (
    f"SELECT f.gid FROM {_EACH_PROJECT} CROSS JOIN LATERAL ({_LAUNCHES} AND NOT l.hidden "
    "ORDER BY argosy.age(l.gid) {way}, l.gid {way} LIMIT :most) f ORDER BY f.age {way}, f.gid {way} LIMIT :most"
)

_HAS_JOBS = (
    "EXISTS (SELECT FROM (SELECT l.gid, argosy.age(l.gid) AS age{ordinal} OFFSET 0) l "
    "CROSS JOIN LATERAL ({jobs} OFFSET 0) c OFFSET 0)"
)
"""SQL: whether launch `l` has a job that is meant."""

_ROWS = reading.statement("SELECT * FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[]))")

_AFTER = "(argosy.age(a.gid), a.gid, a.uid) {} (argosy.age(CAST(:last_gid AS uuid)), CAST(:last_gid AS uuid), CAST(:last_uid AS uuid))"
_LAUNCH_AFTER = "(argosy.age(l.gid), l.gid) {} (argosy.age(CAST(:last_gid AS uuid)), CAST(:last_gid AS uuid))"

_EARLY: dict[str, tuple[str, ...]] = {
    "Queued": ("accepted", "resolved"), "Rejected": ("rejected",), "Cancelled": ("cancelled",),
}  # fmt: skip
"""States of launches without jobs that are meant by a status."""


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
    chosen = choosing.read(connection, where, allowed)
    of_jobs, of_launches = [choosing.status(where)], list[str]()
    way, beyond = ("ASC", ">") if where.sort == "newest" else ("DESC", "<")
    if where.cursor is not None:
        of_jobs.append(_AFTER.format(beyond))
        of_launches.append(_LAUNCH_AFTER.format(f"{beyond}="))
        chosen.values |= {"last_gid": UUID(where.cursor[:32]), "last_uid": UUID(where.cursor[32:])}
    if _launches_lead(connection, chosen):
        inner = _JOBS_OF_LAUNCH if chosen.ordinal is None else _AT_ORDINAL
        inner = inner.format(of_jobs=chosen.jobs(*of_jobs), way=way)
        conditions = chosen.launches(*of_launches)
        statement = _PAGE_BY_LAUNCH.format(of_launches=conditions, ordinal=chosen.column, jobs=inner, way=way)
    else:
        statement = _PAGE.format(of_jobs=chosen.asked(*of_jobs), way=way)
    values = chosen.values | {"states": chosen.states, "most": where.limit + 1}
    uids = list(connection.execute(text(statement), values).scalars())
    found = jobs(connection, uids[: where.limit], nodes)
    return JobPage(items=found, cursor=cursor(found[-1]) if found and len(uids) > where.limit else None)


def _launches_lead(connection: Connection, chosen: choosing.Conditions) -> bool:
    """Whether launches are asked for their jobs, because the jobs are too many to ask each for its launch. States without jobs are left
    out."""
    if not chosen.of_launches:
        return False
    sizes = _counted(connection, chosen, chosen.jobs(), chosen.states, _FEW)
    chosen.states = sorted(sizes)
    return sum(sizes.values()) > _FEW


def count(connection: Connection, where: JobFilter, allowed: Collection[int] | None = None) -> JobCounts:
    """The chosen jobs by status, whichever statuses the filter names. Arguments are those of `find`."""
    chosen = choosing.read(connection, where.but(status=(), failed=False), allowed)
    counted = _sizes(connection, chosen)
    if chosen.of_launches:
        size = _size(connection, chosen)
        few = {state for state, jobs in counted.items() if jobs <= size}
        if chosen.ordinal is not None and few != counted.keys():
            few.clear()  # one look at each launch tells all states
        counted = _counted(connection, chosen, chosen.asked(), few) | _by_launch(
            connection, chosen, counted.keys() - few
        )
    ending = counted.keys() & choosing.ending(connection)
    cancelling = _counted(connection, chosen, chosen.asked(choosing.CANCELLING), ending)
    counts = {state.capitalize(): min(jobs, MOST) - cancelling.get(state, 0) for state, jobs in counted.items()}
    counts["Cancelling"] = sum(cancelling.values())
    more = any(jobs > MOST for jobs in counted.values())
    return JobCounts(counts={status: jobs for status, jobs in sorted(counts.items()) if jobs > 0}, more=more)


def _sizes(connection: Connection, chosen: choosing.Conditions) -> dict[str, int]:
    """Jobs of each state that has some, whatever the filter says of launches; up to `MOST` and one more."""
    return _counted(connection, chosen, chosen.jobs(), chosen.states)


def _counted(
    connection: Connection,
    chosen: choosing.Conditions,
    conditions: str,
    states: Collection[str],
    most: int | None = None,
) -> dict[str, int]:
    """Jobs of each of these states that has some, up to a most (`MOST`) and one more."""
    if not states:
        return {}
    values = chosen.values | {"states": sorted(states), "most": (most or MOST) + 1}
    rows = connection.execute(text(_COUNTS.format(of_jobs=conditions)), values)
    return {row.state: row.jobs for row in rows if row.jobs}


def _by_launch(connection: Connection, chosen: choosing.Conditions, states: Collection[str]) -> dict[str, int]:
    if not states:
        return {}
    if chosen.ordinal is None:
        statement, jobs = _COUNTS_BY_LAUNCH, f"{_JOBS} AND {_OF_LAUNCH}".format(of_jobs=chosen.jobs())
    else:
        statement, jobs = _COUNTS_AT_ORDINAL, _AT_ORDINAL.format(of_jobs=chosen.jobs())
    statement = statement.format(of_launches=chosen.launches(), ordinal=chosen.column, jobs=jobs)
    values = chosen.values | {"states": sorted(states), "most": MOST + 1}
    return {row.state: row.jobs for row in connection.execute(text(statement), values) if row.jobs}


def _size(connection: Connection, chosen: choosing.Conditions) -> int:
    """Launches that are meant, whatever the filter says of jobs; up to `MOST` and one more."""
    statement = _SIZE.format(of_launches=chosen.launches(), ordinal="")
    return int(connection.execute(text(statement), chosen.values | {"most": MOST + 1}).scalar_one())


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
    chosen = choosing.read(connection, where, allowed)
    inner = _JOBS.format(of_jobs=chosen.asked(choosing.status(where), also))
    statement = f"SELECT c.* FROM {_EACH_PROJECT} CROSS JOIN {_EACH_STATE} CROSS JOIN LATERAL ({inner}) c LIMIT :most"
    return statement, chosen.values | {"states": chosen.states, "most": most}


def launches(connection: Connection, where: JobFilter, allowed: Collection[int] | None = None) -> LaunchList:
    """A page of launches. What the filter says of jobs (`status`, `failed`, `error`, `cluster`, `index`) must be true of one of a launch's
    jobs; or, of a status, of the launch itself where it has no jobs. Arguments are those of `find`."""
    chosen = choosing.read(connection, where, allowed)
    conditions = [_with_such_jobs(connection, chosen, where)]
    way, beyond = ("ASC", ">") if where.sort == "newest" else ("DESC", "<")
    if where.cursor is not None:
        conditions.append(_LAUNCH_AFTER.format(beyond))
        chosen.values["last_gid"] = UUID(where.cursor[:32])
    statement = _LAUNCH_PAGE.format(of_launches=chosen.launches(*conditions), ordinal="", way=way)
    values = chosen.values | {"states": chosen.states, "most": where.limit + 1}
    gids = list(connection.execute(text(statement), values).scalars())
    found = summaries.some(connection, gids[: where.limit])
    more = found and len(gids) > where.limit
    return LaunchList(items=found, cursor=f"{found[-1].gid.hex:0<64}" if more else None)


def _with_such_jobs(connection: Connection, chosen: choosing.Conditions, where: JobFilter) -> str:
    """SQL: whether launch `l` has a job as the filter says; its values are added. Empty if it says nothing of jobs."""
    jobs_only = where.error is not None or where.cluster is not None or where.index is not None
    if not jobs_only and not where.statuses:
        return ""
    sizes = _sizes(connection, chosen)
    chosen.states = sorted(sizes)
    if sum(sizes.values()) <= MOST:
        values = chosen.values | {"states": chosen.states}
        found = connection.execute(text(_GIDS.format(of_jobs=chosen.asked(choosing.status(where)))), values).scalars()
        chosen.values["such"], such = list(found), "l.gid = ANY (CAST(:such AS uuid[]))"
    else:
        jobs = f"SELECT b.uid FROM {_EACH_STATE} CROSS JOIN LATERAL ({_JOBS} AND {_OF_LAUNCH} LIMIT 1) b"
        jobs = jobs if chosen.ordinal is None else _AT_ORDINAL
        jobs = jobs.format(of_jobs=chosen.jobs(choosing.status(where)))
        such = _HAS_JOBS.format(jobs=jobs, ordinal=chosen.column)
    early = [] if jobs_only else [state for status in where.statuses for state in _EARLY.get(status, ())]
    if early:
        chosen.values["early"] = early
        return f"(l.state = ANY (CAST(:early AS text[])) OR {such})"
    return such


def uncut(connection: Connection, where: JobFilter, allowed: Collection[int] | None, most: int) -> list[UUID]:
    """The chosen launches that are not cut into jobs yet, so many at most; none where the filter says something of jobs."""
    of_jobs = where.error is not None or where.cluster is not None or where.index is not None or where.media is not None
    if of_jobs or (where.statuses and "Queued" not in where.statuses):
        return []
    chosen = choosing.read(connection, where, allowed)
    conditions = chosen.launches("l.state IN ('accepted', 'resolved')")
    statement = _LAUNCH_PAGE.format(of_launches=conditions, ordinal="", way="ASC")
    return list(connection.execute(text(statement), chosen.values | {"most": most}).scalars())


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
