"""The jobs that the platform's pages show: unfinished ones, and those that ended lately.

The REST reference's list has no pages, and the platform itself only ever had what was still on the cluster (P10). So the list is bounded
here, by time and by number, and its nodes are read apart, a few jobs at a time: ten thousand jobs with their nodes do not fit into the
memory of an API process that answers several callers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from argosy.batches import JobUids
from argosy.states import ENDED_EARLY
from argosy.store import reading, rows
from argosy.store.reading import NODES

_OF_MEDIA = (
    "SELECT DISTINCT ((n - 1) / l.files_per_job)::int AS ordinal FROM unnest(l.media_ids) WITH ORDINALITY x (m, n) "
    "WHERE m = ANY (CAST(:media AS bigint[])) AND l.files_per_job IS NOT NULL"
)
"""SQL: the batches of launch `l` that have any of these media; each medium of the launch is looked at once."""

_ALIVE = (
    "(EXISTS (SELECT FROM argosy.attempt t WHERE t.gid = l.gid AND t.finished_at IS NULL) OR EXISTS (SELECT FROM argosy.attempt t "
    "WHERE t.gid = l.gid AND t.finished_at > clock_timestamp() - make_interval(days => :days)))"
)

_KEYS = (
    "SELECT j.uid FROM argosy.launch l CROSS JOIN LATERAL (SELECT i.uid, i.ordinal FROM {jobs} "
    "JOIN argosy.attempt t ON t.uid = i.uid AND t.number = i.attempt WHERE NOT i.hidden "
    "AND (t.finished_at IS NULL OR t.finished_at > clock_timestamp() - make_interval(days => :days)) ORDER BY i.ordinal LIMIT :limit) j "
    f"WHERE l.project = :project AND l.expanded_at IS NOT NULL{{gid}} AND {_ALIVE} "
    "ORDER BY l.expanded_at DESC, l.gid, j.ordinal LIMIT :limit"
)

_ALL_JOBS = "(SELECT * FROM argosy.job WHERE gid = l.gid) i"
_JOBS_OF_MEDIA = f"({_OF_MEDIA}) o JOIN argosy.job i ON i.gid = l.gid AND i.ordinal = o.ordinal"
"""SQL: the jobs of launch `l`."""

_JOBS = reading.statement("SELECT * FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[]))")


@dataclass(frozen=True)
class LiveFilter:
    """Which jobs of a project; None does not filter. `media` means jobs with any of these."""

    project: int
    gid: UUID | None = None
    media: Sequence[int] | None = None


def keys(connection: Connection, which: LiveFilter, days: int, limit: int) -> list[UUID]:
    """Unfinished jobs and those that ended within some days, newest launch first, in the order of their batches."""
    statement = _KEYS.format(
        gid="" if which.gid is None else " AND l.gid = :gid",
        jobs=_ALL_JOBS if which.media is None else _JOBS_OF_MEDIA,
    )
    parameters = {"project": which.project, "gid": which.gid, "media": list(which.media or ()), "days": days}
    return list(connection.execute(text(statement), parameters | {"limit": limit}).scalars())


def jobs(connection: Connection, uids: Sequence[UUID]) -> list[Row[Any]]:
    """These jobs, in this order; those that were forgotten meanwhile are left out."""
    found = {row.uid: row for row in connection.execute(_JOBS, {"uids": list(uids)})}
    return [found[uid] for uid in uids if uid in found]


# Of some jobs.
_LAUNCHES = text("SELECT DISTINCT gid FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[]))")


def launches(connection: Connection, uids: Sequence[UUID]) -> list[UUID]:
    """The launches of these jobs."""
    return list(connection.execute(_LAUNCHES, {"uids": list(uids)}).scalars())


def nodes(connection: Connection, keys: Sequence[tuple[UUID, int]]) -> dict[UUID, list[Row[Any]]]:
    """The nodes of some attempts, by their jobs."""
    found: dict[UUID, list[Row[Any]]] = {}
    for row in connection.execute(NODES, {"keys": rows.keys(keys)}):
        found.setdefault(row.uid, []).append(row)
    return found


# Launches that are not cut yet, or not to the end, or never will be.
_EARLY = (
    "SELECT gid, project, user_id, state, reason, jobs, expanded_jobs, created_at{ordinals}, "
    "(SELECT json_object_agg(ordinal, hidden) FROM argosy.early_cancel e WHERE e.gid = l.gid) AS cancels FROM argosy.launch l "
    "WHERE project = :project AND (state IN ('accepted', 'resolved') OR expanded_at IS NULL) AND state <> 'expanded' AND NOT hidden "
    "AND created_at > clock_timestamp() - make_interval(days => :days){gid} ORDER BY created_at DESC"
)


@dataclass(frozen=True)
class EarlyJob:
    """A job of a launch that is not cut into jobs yet, or never will be; its uid is known already. `status` is the true one."""

    uid: UUID
    gid: UUID
    project: int
    user: int
    status: str
    reason: str
    created_at: datetime


def early(connection: Connection, which: LiveFilter, days: int, limit: int) -> Iterator[EarlyJob]:
    """Jobs whose launch is not cut yet, or was rejected or cancelled before, where their number is known."""
    statement = _EARLY.format(
        gid="" if which.gid is None else " AND gid = :gid",
        ordinals="" if which.media is None else f", ARRAY(SELECT ordinal FROM ({_OF_MEDIA}) o ORDER BY 1) AS ordinals",
    )
    parameters = {"project": which.project, "gid": which.gid, "media": list(which.media or ()), "days": days}
    for launch in connection.execute(text(statement), parameters):
        uids, cancels = JobUids(launch.gid, 1 << 31), launch.cancels or {}
        ended = launch.state in ENDED_EARLY
        # One that was rejected has no number of jobs any more: the first stands for all.
        ordinals = range(max(launch.jobs, int(ended))) if which.media is None else launch.ordinals
        if which.media is not None and not (launch.jobs or ended):
            continue  # which jobs have these media is not known yet
        for ordinal in ordinals[launch.expanded_jobs :] if which.media is None else ordinals:
            cancel = cancels.get(str(ordinal))
            if cancel or ordinal < launch.expanded_jobs:
                continue  # hidden, or it has a row
            if limit <= 0:
                return
            limit -= 1
            status = launch.state.capitalize() if ended else "Queued" if cancel is None else "Cancelled"
            yield EarlyJob(
                uids[ordinal], launch.gid, launch.project, launch.user_id, status, launch.reason, launch.created_at
            )


def early_job(connection: Connection, uid: UUID) -> EarlyJob | None:
    """The job with this uid, if it has no row yet, or never will."""
    found = reading.early(connection, uid)
    if found is None:
        return None
    return EarlyJob(uid, found.gid, found.project, found.user_id, found.status, found.reason, found.created_at)
