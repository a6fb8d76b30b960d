"""The target of a cancel or a retry: a job, or all jobs of a launch, one batch per transaction.

Both begin with the lock of the launch's row, which the expansion holds too: a job is either not there yet, and the expansion will obey, or
it is there. A launch may have millions of jobs, so it is gone through a batch a transaction: a writer of status waits for one batch at
most. Locks are taken in one order: launch, jobs by uid, attempts by uid, project.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from argosy.errors import NotFound
from argosy.store import placements, reading

BATCH = 2_000
"""Jobs of a launch that one transaction goes through, by their ordinals."""

_MAY_HAVE_RUN = (
    f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    "WHERE p.id = a.placement_id AND c.removed_at IS NULL AND c.held_at > a.queued_at)"
)
"""SQL: whether queued attempt `a` is from before a hold: its workflow may be there, and then says how it ended."""


@dataclass(frozen=True)
class Target:
    """A job (`uid`), or all jobs of a launch. `ordinal` names a job that has no row yet."""

    gid: UUID
    uid: UUID | None = None
    ordinal: int | None = None


# Longer than any other transaction of ours lasts.
_PATIENCE = text("SET LOCAL lock_timeout = '60s'")


def locked(connection: Connection, key: UUID, project: int | None) -> Target:
    """Find what a caller means and lock its launch's row until the transaction ends.

    Args:
        connection: In a transaction.
        key: uid of a job or gid of a launch.
        project: Only if it belongs to this project.

    Raises:
        NotFound: There is no such job or launch.
    """
    # Whoever else goes through the launch holds the lock for a batch at a time, and a cancel is worth waiting for.
    connection.execute(_PATIENCE)
    found = _target(connection, key, project)
    if found is None or not _lock_launch(connection, found):
        of = "" if project is None else f" of project {project}"
        raise NotFound(f"{key} is not the id of a job or a launch{of}; see: argosy list")
    # The launch may have been expanded between the look and the lock.
    return _target(connection, key, project) or found


# Jobs and launches share one space of ids.
_TARGET = text(
    "SELECT gid, uid FROM (SELECT gid, uid, project FROM argosy.job WHERE uid = :key "
    "UNION ALL SELECT gid, NULL, project FROM argosy.launch WHERE gid = :key) t "
    "WHERE project = coalesce(:project, project) ORDER BY uid NULLS LAST LIMIT 1"
)


def _target(connection: Connection, key: UUID, project: int | None) -> Target | None:
    """A job comes first: a launch may have been given any gid, also one that is the uid of somebody else's job."""
    row = connection.execute(_TARGET, {"key": key, "project": project}).one_or_none()
    if row is not None:
        return Target(row.gid, row.uid)
    early = reading.early(connection, key)
    if early is None or project not in (None, early.project):
        return None
    return Target(early.gid, key, early.ordinal)


# Nobody cuts it now.
_LOCK_LAUNCH = text("SELECT 1 FROM argosy.launch WHERE gid = :gid FOR NO KEY UPDATE")


def _lock_launch(connection: Connection, found: Target) -> bool:
    statement = _LOCK_LAUNCH
    return connection.execute(statement, {"gid": found.gid}).one_or_none() is not None


# In the order of their keys, so that nobody waits in a circle.
_LOCK_JOBS = text("SELECT FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[])) ORDER BY uid FOR NO KEY UPDATE")


def locked_jobs(connection: Connection, target: Target, first: int, wanted: str) -> Sequence[Row[Any]]:
    """Lock the jobs of a batch whose newest attempt is `wanted`, and those attempts: uid, number, state, gid, project, placement_id and
    whether it is `here` alone, on no cluster.

    Who it may be, is looked for without a lock; then they are locked by what never changes; then it is asked again what they are.
    """
    # Each a look at one row, or the planner, which knows nothing of the batch, would rather read all that are in such a state.
    newest = f"(SELECT * FROM argosy.attempt a WHERE uid = j.uid AND number = j.attempt AND {wanted} {{}}OFFSET 0) a"
    found = connection.execute(
        text(f"SELECT j.uid FROM argosy.job j CROSS JOIN LATERAL {newest.format('')} WHERE {in_batch(target)}"),
        parameters(target, first),
    ).scalars()
    uids = {"uids": sorted(found)}
    connection.execute(_LOCK_JOBS, uids)
    return connection.execute(
        text(
            "SELECT a.uid, a.number, a.state, a.gid, a.project, a.placement_id, "
            f"a.state = 'queued' AND NOT {_MAY_HAVE_RUN} AS here FROM unnest(CAST(:uids AS uuid[])) AS u (uid) "
            "CROSS JOIN LATERAL (SELECT uid, attempt FROM argosy.job WHERE uid = u.uid OFFSET 0) j "
            f"CROSS JOIN LATERAL {newest.format('FOR NO KEY UPDATE ')}"
        ),
        uids,
    ).all()


def count(connection: Connection, target: Target, first: int) -> int:
    """How many jobs a batch has."""
    statement = text(f"SELECT count(*) FROM argosy.job j WHERE {in_batch(target)}")
    return int(connection.execute(statement, parameters(target, first)).scalar_one())


# The last batch that was cut.
_FOLLOWING = text("SELECT max(ordinal) FROM argosy.job WHERE gid = :gid")


def following(connection: Connection, target: Target, first: int) -> int | None:
    """The ordinal with which the next batch begins."""
    if target.uid is not None:
        return None
    statement = _FOLLOWING
    last: int | None = connection.execute(statement, vars(target)).scalar_one()
    return first + BATCH if last is not None and last >= first + BATCH else None


def in_batch(target: Target) -> str:
    """SQL: whether job `j` is in the batch that `parameters` says."""
    return "j.uid = :uid" if target.uid is not None else "j.gid = :gid AND j.ordinal BETWEEN :first AND :last"


def parameters(target: Target, first: int) -> dict[str, Any]:
    """Of a statement about the batch that begins with an ordinal."""
    return vars(target) | {"first": first, "last": first + BATCH - 1}
