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

_ORDINALS = (
    "ordinal IN (SELECT (array_position(l.media_ids, m) - 1) / l.files_per_job FROM unnest(CAST(:media AS bigint[])) m "
    "WHERE array_position(l.media_ids, m) IS NOT NULL)"
)
"""SQL: whether a job of launch `l` has one of these media."""

_ALIVE = (
    "(EXISTS (SELECT FROM argosy.attempt t WHERE t.gid = l.gid AND t.finished_at IS NULL) OR EXISTS (SELECT FROM argosy.attempt t "
    "WHERE t.gid = l.gid AND t.finished_at > clock_timestamp() - make_interval(days => :days)))"
)

_PAGE = (
    "SELECT j.* FROM argosy.launch l CROSS JOIN LATERAL (SELECT i.* FROM argosy.job i JOIN argosy.attempt t ON t.uid = i.uid "
    "AND t.number = i.attempt WHERE i.gid = l.gid AND NOT i.hidden AND (t.finished_at IS NULL "
    "OR t.finished_at > clock_timestamp() - make_interval(days => :days)){media} ORDER BY i.ordinal LIMIT :limit) j "
    f"WHERE l.project = :project AND l.expanded_at IS NOT NULL{{gid}} AND {_ALIVE} "
    "ORDER BY l.expanded_at DESC, l.gid, j.ordinal LIMIT :limit"
)


@dataclass(frozen=True)
class Which:
    """Which jobs of a project; None does not filter. `media` means jobs with any of these."""

    project: int
    gid: UUID | None = None
    media: Sequence[int] | None = None


def jobs(connection: Connection, which: Which, days: int, limit: int) -> Sequence[Row[Any]]:
    """Unfinished jobs and those that ended within some days, newest launch first, in the order of their batches."""
    page = _PAGE.format(
        gid="" if which.gid is None else " AND l.gid = :gid", media="" if which.media is None else f" AND i.{_ORDINALS}"
    )
    parameters = {"project": which.project, "gid": which.gid, "media": list(which.media or ()), "days": days}
    return connection.execute(reading.statement(page), parameters | {"limit": limit}).all()


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


def early(connection: Connection, which: Which, days: int, limit: int) -> Iterator[EarlyJob]:
    """Jobs whose launch is not cut yet, or was rejected or cancelled before, where their number is known."""
    statement = _EARLY.format(
        gid="" if which.gid is None else " AND gid = :gid",
        ordinals=""
        if which.media is None
        else ", ARRAY(SELECT DISTINCT (array_position(l.media_ids, m) - 1) / l.files_per_job FROM unnest(CAST(:media AS bigint[])) m "
        "WHERE array_position(l.media_ids, m) IS NOT NULL ORDER BY 1) AS ordinals",
    )
    parameters = {"project": which.project, "gid": which.gid, "media": list(which.media or ()), "days": days}
    for launch in connection.execute(text(statement), parameters):
        uids, cancels = JobUids(launch.gid, 1 << 31), launch.cancels or {}
        ended = launch.state in ENDED_EARLY
        # One that was rejected has no number of jobs any more: the first stands for all.
        ordinals = range(max(launch.jobs, int(ended))) if which.media is None else launch.ordinals
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
