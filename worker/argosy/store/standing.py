"""Everything that says where one job stands, and what may keep it there: the rows that a claim looks at, read without a lock."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.states import ACTIVE, ON_CLUSTER, State
from argosy.store import pacing, placements
from argosy.store.conditions import READY, in_states

_FAR = 10_000
"""Jobs before one are counted only up to this."""

DOUBT = 75.0
"""Seconds for which a job that several clusters may take waits after another database server began to answer, with the usual lease and
time-out."""


@dataclass(frozen=True)
class JobStanding:
    """A job with its newest attempt. What ends in `_in` are seconds from now, in `_for` seconds until now; None where there is none."""

    uid: UUID
    gid: UUID
    project: int
    user_id: int
    algorithm: str
    number: int
    placement_id: int
    priority: int
    seq: int
    state: State
    message: str
    cancel_requested: bool
    cluster_id: int | None
    cluster: str | None
    name: str | None
    worker: str | None
    since: datetime
    as_of: datetime
    seen_for: float
    queued_at: datetime
    overdue: str
    began: bool
    retries_left: int
    starts_in: float | None
    claim_in: float | None
    stop_in: float | None
    doubt_in: float | None
    project_paused: str | None
    algorithm_paused: str | None


_PAUSED = "CASE WHEN {0}.paused_at IS NOT NULL THEN coalesce({0}.paused_reason, '') END"
_IN = "extract(epoch FROM {} - clock_timestamp())::float8"

# A job, its newest attempt, and what pauses it.
_JOB = text(
    "SELECT j.uid, j.gid, j.project, j.user_id, l.algorithm_name AS algorithm, a.number, a.placement_id, a.priority, a.seq, a.state, "
    "a.message, j.cancel_requested, a.cluster_id, c.name AS cluster, a.name, a.claim_worker AS worker, "
    f"CASE WHEN {in_states(ON_CLUSTER, 'a')} THEN greatest(a.as_of, c.as_of) ELSE a.as_of END AS as_of, "
    "coalesce(a.state_at, a.queued_at) AS since, "
    f"extract(epoch FROM clock_timestamp() - c.as_of)::float8 AS seen_for, "
    "a.queued_at, a.overdue, a.began_at IS NOT NULL AS began, a.retries_left, "
    f"{_IN.format('a.not_before')} AS starts_in, {_IN.format('a.lease_until')} AS claim_in, {_IN.format('a.stop_at')} AS stop_in, "
    f"(SELECT {_IN.format('i.doubted_at')} + {DOUBT} FROM argosy.installation i WHERE i.doubted_at > a.queued_at) AS doubt_in, "
    f"{_PAUSED.format('p')} AS project_paused, {_PAUSED.format('g')} AS algorithm_paused "
    "FROM argosy.job j JOIN argosy.launch l USING (gid) JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
    "LEFT JOIN argosy.cluster c ON c.id = a.cluster_id LEFT JOIN argosy.project p ON p.id = j.project "
    "LEFT JOIN argosy.algorithm g ON g.id = a.algorithm_id WHERE j.uid = :uid"
)


def job(connection: Connection, uid: UUID) -> JobStanding | None:
    """Where a job stands; None if it has no row."""
    row = connection.execute(_JOB, {"uid": uid}).one_or_none()
    if row is None:
        return None
    return JobStanding(**{**row._mapping, "state": State(row.state), "seen_for": row.seen_for or 0.0})


@dataclass(frozen=True)
class Choice:
    """A registered cluster that may take a job. `paused` and `held` are the reasons, None if it is not; `capacity` is how many unfinished
    workflows it may have now, `most` what its owner allows; `active` how many it has, `own_active` those of the job's project, which may
    have `own_most`."""

    id: int
    name: str
    paused: str | None
    held: str | None
    held_at: datetime | None
    health: str
    health_message: str
    open_in: float | None
    open_reason: str
    failing: bool
    capacity: int
    most: int
    active: int
    own_active: int
    own_most: int | None


# The clusters that may take the jobs of a placement.
_CHOICES = text(
    f"SELECT c.id, c.name, {_PAUSED.format('c')} AS paused, CASE WHEN c.held_at IS NOT NULL THEN c.held_reason END AS held, c.held_at, "
    f"c.health, c.health_message, {_IN.format('c.open_until')} AS open_in, c.open_reason, c.open_tries > 0 AS failing, "
    f"{pacing.CAPACITY} AS capacity, c.max_active AS most, coalesce(n.active, 0) AS active, coalesce(n.own, 0) AS own_active, "
    "coalesce((SELECT max_active FROM argosy.project_limit m WHERE m.project = :project AND m.cluster_id = c.id), "
    "c.project_max_active) AS own_most "
    f"FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} CROSS JOIN LATERAL (SELECT count(*) AS active, "
    f"count(*) FILTER (WHERE a.project = :project) AS own FROM argosy.attempt a WHERE a.cluster_id = c.id AND {in_states(ACTIVE, 'a')}) n "
    "WHERE p.id = :placement AND c.removed_at IS NULL ORDER BY c.name"
)


def choices(connection: Connection, standing: JobStanding, *, words: bool) -> Sequence[Choice]:
    """The registered clusters that may take a job.

    Args:
        connection: To the database.
        standing: The job.
        words: With what clusters said of how they are; else only in argosy's own words.
    """
    found = connection.execute(_CHOICES, {"placement": standing.placement_id, "project": standing.project})
    made = [Choice(**row._mapping) for row in found]
    return made if words else [replace(each, open_reason=_own(each), health_message="") for each in made]


def _own(at: Choice) -> str:
    return "" if at.health in ("ok", "unknown") else at.health


@dataclass(frozen=True)
class QueuePlace:
    """A queued job's place: how many jobs of its own user, and how many of the project's other users are queued before it (counted up to a
    bound); how many projects wait for the same clusters; and its project's share of them, 0 to 1."""

    own: int
    others: int
    projects: int
    share: float


_BEFORE = (
    "SELECT count(*) FROM (SELECT FROM argosy.attempt WHERE placement_id = :placement AND project = :project AND {of} "
    f"AND {READY} AND (priority > :priority OR priority = :priority AND seq < :seq) LIMIT :far) q"
)

# The jobs before this one, and the projects that wait with it.
_PLACE = text(
    f"""
    WITH RECURSIVE lane AS (
        (SELECT project FROM argosy.attempt WHERE placement_id = :placement AND {READY} ORDER BY project LIMIT 1)
        UNION ALL
        SELECT (SELECT project FROM argosy.attempt WHERE placement_id = :placement AND {READY} AND project > lane.project
            ORDER BY project LIMIT 1) FROM lane WHERE lane.project IS NOT NULL
    ), waiting AS (
        SELECT l.project, coalesce(p.weight, 1) AS weight FROM lane l LEFT JOIN argosy.project p ON p.id = l.project
        WHERE l.project IS NOT NULL AND p.paused_at IS NULL
    )
    SELECT ({_BEFORE.format(of="user_id = :user")}) AS own, ({_BEFORE.format(of="user_id <> :user")}) AS others,
        (SELECT count(*) FROM waiting) AS projects,
        coalesce((SELECT weight FROM waiting WHERE project = :project) / (SELECT sum(weight) FROM waiting), 1)::float8 AS share
    """
)


def place(connection: Connection, standing: JobStanding) -> QueuePlace:
    """A queued job's place in the queue."""
    parameters = {
        "placement": standing.placement_id,
        "project": standing.project,
        "user": standing.user_id,
        "priority": standing.priority,
        "seq": standing.seq,
        "far": _FAR,
    }
    return QueuePlace(**connection.execute(_PLACE, parameters).one()._mapping)


# Steps that wait or run, the longest first.
_STEPS = text(
    "SELECT task, phase, message, pod, extract(epoch FROM clock_timestamp() - started_at)::float8 AS seconds FROM argosy.node "
    "WHERE uid = :uid AND attempt = :number AND type IN ('Pod', 'Container', 'HTTP', 'Plugin', 'Suspend') "
    "AND phase IN ('Pending', 'Running') ORDER BY phase, started_at, node_id LIMIT 20"
)


@dataclass(frozen=True)
class RunningStep:
    """A step of a workflow that has not ended, for so many seconds."""

    task: str
    phase: str
    message: str
    pod: str
    seconds: float | None


def steps(connection: Connection, standing: JobStanding) -> Sequence[RunningStep]:
    """The steps of a job's workflow that wait or run; a few."""
    found = connection.execute(_STEPS, {"uid": standing.uid, "number": standing.number})
    return [RunningStep(**row._mapping) for row in found]


@dataclass(frozen=True)
class Uncut:
    """A launch that is not cut into jobs yet: who works on it, why it made no progress, when it is tried again, and after which launch it
    runs, if it waits for one."""

    state: str
    reason: str
    worker: str | None
    tries: int
    next_in: float
    after: UUID | None
    created_at: datetime


# How far a launch is.
_UNCUT = text(
    f"SELECT state, reason, claim_worker AS worker, tries, {_IN.format('next_try_at')} AS next_in, "
    "CASE WHEN waiting THEN after_gid END AS after, created_at FROM argosy.launch WHERE gid = :gid"
)


def uncut(connection: Connection, gid: UUID) -> Uncut:
    """How far a launch is that has no jobs yet."""
    return Uncut(**connection.execute(_UNCUT, {"gid": gid}).one()._mapping)
