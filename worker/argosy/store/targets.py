"""The target of a cancel or a retry: a job, or all jobs of a launch, one batch per transaction.

Both first lock the launch's row, as cutting does. So a job either has a row, or will be cut later, and then cutting finds the cancel. A
launch may have millions of jobs, so each transaction handles one batch, and a tracker that writes status waits for one batch at most. Locks
are taken in one order: launch, jobs by uid, attempts by uid, project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from argosy.errors import NotFound
from argosy.store import placements, reading

BATCH = 2_000
"""Jobs of a launch that one transaction handles, by their ordinals."""

_MAY_HAVE_RUN = (
    f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    "WHERE p.id = a.placement_id AND c.removed_at IS NULL AND c.held_at > a.queued_at)"
)
"""SQL: whether queued attempt `a` is older than the hold of one of its clusters: its workflow may exist there, and then that decides how it
ends."""


@dataclass(frozen=True)
class Target:
    """A job (`uid`), some jobs of a launch (`uids`), or all of them. `ordinal` names a job that has no row yet."""

    gid: UUID
    uid: UUID | None = None
    ordinal: int | None = None
    uids: list[UUID] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a launch with all its jobs."""
        return self.uid is None and self.uids is None


# Longer than any other transaction of argosy lasts.
_PATIENCE = text("SET LOCAL lock_timeout = '60s'")


def locked(connection: Connection, key: UUID, project: int | None) -> Target:
    """Find the job or launch with this id and lock the launch's row until the transaction ends.

    Args:
        connection: In a transaction.
        key: uid of a job or gid of a launch.
        project: Only if it belongs to this project.

    Raises:
        NotFound: There is no such job or launch.
    """
    # Other cancels, retries and cuts hold the lock for one batch at a time, so it is worth waiting for it.
    connection.execute(_PATIENCE)
    found = find(connection, key, project)
    if found is None or not _lock_launch(connection, found):
        of = "" if project is None else f" of project {project}"
        raise NotFound(f"{key} is not the id of a job or a launch{of}; see: argosy list")
    # The launch may have been expanded between the first query and the lock.
    return find(connection, key, project) or found


# Jobs and launches share one space of ids.
_TARGET = text(
    "SELECT gid, uid FROM (SELECT gid, uid, project FROM argosy.job WHERE uid = :key "
    "UNION ALL SELECT gid, NULL, project FROM argosy.launch WHERE gid = :key) t "
    "WHERE project = coalesce(:project, project) ORDER BY uid NULLS LAST LIMIT 1"
)


def find(connection: Connection, key: UUID, project: int | None) -> Target | None:
    """The job or launch with this id, whether the job has a row yet or not; None if there is none.

    A job is preferred to a launch of the same id: a caller may have given a launch any gid, even the uid of somebody else's job."""
    if (found := _with_a_row(connection, key, project)) is not None:
        return found
    early = reading.early(connection, key)
    if early is None:
        return _with_a_row(connection, key, project)  # cut between the two questions, or nobody's
    return Target(early.gid, key, early.ordinal) if project in (None, early.project) else None


def _with_a_row(connection: Connection, key: UUID, project: int | None) -> Target | None:
    row = connection.execute(_TARGET, {"key": key, "project": project}).one_or_none()
    return None if row is None else Target(row.gid, row.uid)


# It is not cut while it is locked.
_LOCK_LAUNCH = text("SELECT 1 FROM argosy.launch WHERE gid = :gid FOR NO KEY UPDATE")


def _lock_launch(connection: Connection, found: Target) -> bool:
    statement = _LOCK_LAUNCH
    return connection.execute(statement, {"gid": found.gid}).one_or_none() is not None


# In the order of their keys, so that there is no deadlock.
_LOCK_JOBS = text("SELECT FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[])) ORDER BY uid FOR NO KEY UPDATE")


def locked_jobs(
    connection: Connection, target: Target, first: int, wanted: str, values: Mapping[str, Any] | None = None
) -> Sequence[Row[Any]]:
    """Lock the jobs of a batch whose newest attempt is `wanted` (SQL, with these values), and those attempts. The rows have uid, number,
    state, gid, project, placement_id, revision and `here`: whether the attempt is only in this database, with no workflow on any cluster.

    Candidates are searched without a lock, then the jobs are locked by their uids, then the condition is checked again.
    """
    # LATERAL with OFFSET 0 forces one index lookup per job: the planner does not know the size of the batch, and would read all attempts in
    # these states.
    newest = f"(SELECT * FROM argosy.attempt a WHERE uid = j.uid AND number = j.attempt AND {wanted} {{}}OFFSET 0) a"
    found = connection.execute(
        text(f"SELECT j.uid FROM argosy.job j CROSS JOIN LATERAL {newest.format('')} WHERE {in_batch(target)}"),
        parameters(target, first) | dict(values or {}),
    ).scalars()
    uids = dict(values or {}) | {"uids": sorted(found)}
    connection.execute(_LOCK_JOBS, uids)
    return connection.execute(
        text(
            "SELECT a.uid, a.number, a.state, a.gid, a.project, a.placement_id, a.revision, "
            f"a.state = 'queued' AND NOT {_MAY_HAVE_RUN} AS here FROM unnest(CAST(:uids AS uuid[])) AS u (uid) "
            "CROSS JOIN LATERAL (SELECT uid, attempt, media_ids FROM argosy.job WHERE uid = u.uid OFFSET 0) j "
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
    """The ordinal with which the next batch begins; None if there is no next batch."""
    if not target.whole:
        return None
    statement = _FOLLOWING
    last: int | None = connection.execute(statement, vars(target)).scalar_one()
    return first + BATCH if last is not None and last >= first + BATCH else None


def in_batch(target: Target) -> str:
    """SQL: whether job `j` is in the batch that `parameters` says."""
    if target.uids is not None:
        return "j.gid = :gid AND j.uid = ANY (CAST(:uids AS uuid[]))"
    return "j.uid = :uid" if target.uid is not None else "j.gid = :gid AND j.ordinal BETWEEN :first AND :last"


def parameters(target: Target, first: int) -> dict[str, Any]:
    """Parameters of `in_batch` for the batch that begins with ordinal `first`."""
    return vars(target) | {"first": first, "last": first + BATCH - 1}
