"""Writes to a database that is older than its clusters: the workflows that were found on the clusters, and what an operator decided about
jobs whose workflows were not found.

Used only while the clusters are held, so that no claim, tracker or retry changes these rows at the same time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, text

from argosy.batches import ordinal
from argosy.states import ACTIVE, UNFINISHED
from argosy.store import cancels, cutting, placements, retries, rows, strays, tracking
from argosy.store.conditions import in_states, retry_due
from argosy.store.strays import Stray

RECOVERED = "recovered from its workflows: the database had lost it"
"""Reason of a launch whose row was written from its workflows."""

Waiting = Literal["run", "lost"]
"""What an operator decides for queued jobs that may have run."""

_WAITED = "the database was restored, and nobody knows whether it had run: retry it to run it, perhaps a second time"

_WAITED_UNCUT = "the database was restored, and nobody knows whether its jobs had run: launch the media again"

_BATCH = 1000


@dataclass(frozen=True)
class HeldAttempt:
    """The newest attempt of a job that may have a workflow on a held cluster. A `queued` one was queued before the hold, so it may run
    there; an `error` or `lost` one is due for an automatic retry, which may have happened already."""

    uid: UUID
    number: int
    state: str
    cluster_id: int | None


@dataclass(frozen=True)
class Lost:
    """A workflow whose attempt the database has lost, as described by its labels and annotations."""

    cluster_id: int
    name: str
    k8s_uid: str
    uid: UUID
    number: int
    gid: UUID
    project: int
    user: int
    algorithm_id: int
    algorithm_name: str
    media_ids: list[int]
    created_at: datetime | None

    @property
    def ordinal(self) -> int | None:
        """The number of the job in its launch; None if the uid is not of a job of that launch."""
        return ordinal(self.gid, self.uid)

    @property
    def stray(self) -> Stray:
        """What is stored of it until its job has a row."""
        return Stray(self.k8s_uid, self.uid, self.number, self.gid, self.name)


@dataclass(frozen=True)
class Misplaced:
    """A workflow on a held cluster other than the one that its attempt was claimed for, or of an attempt that is queued."""

    uid: UUID
    number: int
    cluster_id: int
    name: str
    k8s_uid: str


# Record the cluster where the workflow was found.
_MOVE = text(
    "UPDATE argosy.attempt SET cluster_id = :cluster_id, name = :name, k8s_uid = :k8s_uid, state = 'pending', lease_until = NULL, "
    "unread = true, submitted_at = coalesce(submitted_at, clock_timestamp()) WHERE uid = :uid AND number = :number "
    f"AND {in_states(UNFINISHED)} RETURNING gid"
)


def move(connection: Connection, moved: Misplaced) -> None:
    """Record the cluster where an attempt's workflow was found; it is read there next."""
    gid = connection.execute(
        _MOVE,
        vars(moved),
    ).scalar_one_or_none()
    if gid is not None:
        tracking.deadlines(connection, [(moved.uid, moved.number)], moved.cluster_id)
        connection.execute(text(_SECURED), {"gid": gid, "cluster_id": moved.cluster_id})


# Attempts that may have a workflow on a held cluster.
_UNFINISHED = text(
    "SELECT a.uid, a.number, a.state, a.cluster_id FROM argosy.attempt a "
    "JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
    f"WHERE a.cluster_id = :cluster AND {in_states(ACTIVE, 'a')} UNION ALL "
    "SELECT a.uid, a.number, a.state, a.cluster_id FROM argosy.cluster c "
    f"JOIN argosy.placement p ON {placements.FITS} JOIN argosy.attempt a ON a.placement_id = p.id "
    "JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
    f"WHERE c.id = :cluster AND (a.state = 'queued' AND a.queued_at < c.held_at OR {retry_due('a')})"
)


def unfinished(connection: Connection, cluster_id: int) -> list[HeldAttempt]:
    """Attempts whose workflow a held cluster must have, or may have had and ended."""
    rows = connection.execute(_UNFINISHED, {"cluster": cluster_id})
    return [HeldAttempt(**row._mapping) for row in rows]


# Launches that may have been cut in commits that the database lost.
_UNCUT = text(
    "SELECT l.gid, l.expanded_jobs, l.created_at, c.held_at FROM argosy.cluster c JOIN argosy.launch l "
    "ON l.state IN ('accepted', 'resolved') LEFT JOIN argosy.placement p ON p.id = l.placement_id "
    f"WHERE c.id = :cluster AND (p.id IS NULL OR {placements.FITS}) "
    "ORDER BY l.gid"
)


def uncut(connection: Connection, cluster_id: int) -> dict[UUID, int]:
    """Launches from before the hold that are not fully cut, with how many of their jobs are cut. Their other jobs may have run."""
    rows = connection.execute(_UNCUT, {"cluster": cluster_id})
    return {row.gid: row.expanded_jobs for row in rows if cutting.known_since(row.gid, row.created_at) < row.held_at}


# Attempts that have a row.
_KNOWN = text(f"SELECT a.uid, a.number FROM argosy.attempt a JOIN {rows.KEYS} ON a.uid = k.uid AND a.number = k.number")


def known(connection: Connection, keys: Sequence[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
    """Those of the attempts that have a row."""
    found = connection.execute(_KNOWN, {"keys": rows.keys(keys)})
    return {(row.uid, row.number) for row in found}


# Workflows that this installation may have made.
_PLAUSIBLE = text(
    "SELECT x.uid, x.number FROM json_to_recordset(CAST(:lost AS json)) "
    "AS x (uid uuid, number int, gid uuid, project bigint, cluster_id int) "
    "LEFT JOIN argosy.launch l ON l.gid = x.gid LEFT JOIN argosy.job j ON j.uid = x.uid "
    "WHERE x.number BETWEEN 1 AND coalesce(j.attempt, 0) + :retries AND (j.uid IS NULL OR j.gid = x.gid) "
    "AND (l.gid IS NULL OR l.project = x.project AND EXISTS (SELECT FROM argosy.placement p "
    f"JOIN argosy.cluster c ON {placements.FITS} WHERE p.id = l.placement_id AND c.id = x.cluster_id))"
)


def plausible(connection: Connection, lost: Sequence[Lost]) -> set[tuple[UUID, int]]:
    """Those whose labels do not contradict what the database knows of their launch and job. A cluster that lies must not be able to change
    jobs of other tenants."""
    found = connection.execute(_PLAUSIBLE, {"lost": rows.recordset(lost), "retries": strays.LATEST})
    return {(row.uid, row.number) for row in found}


# No automatic retry follows.
_NO_RETRY = text(
    f"UPDATE argosy.attempt a SET retries_left = 0 FROM {rows.KEYS} WHERE a.uid = k.uid AND a.number = k.number AND {retry_due('a')}"
)

# End the attempts that have not ended.
_END = text(
    "UPDATE argosy.attempt a SET state = CASE WHEN j.cancel_requested THEN 'cancelled' ELSE 'lost' END, message = :why, "
    "retries_left = 0, lease_until = NULL, finished_at = clock_timestamp(), as_of = clock_timestamp() "
    f"FROM argosy.job j, {rows.KEYS} WHERE a.uid = k.uid AND a.number = k.number AND j.uid = a.uid AND {in_states(UNFINISHED, 'a')}"
)


def end(connection: Connection, attempts: Sequence[tuple[UUID, int]], why: str) -> int:
    """End attempts of which nobody knows whether they ran: `lost`, or `cancelled` if a cancel was requested. None gets an automatic retry.

    Returns:
        How many.
    """
    keys = rows.keys(attempts)
    retries.lock_attempts(connection, keys)
    connection.execute(_NO_RETRY, {"keys": keys})
    return connection.execute(_END, {"keys": keys, "why": why}).rowcount


def end_waiting(engine: Engine, jobs: Sequence[tuple[UUID, int]], launches: Sequence[UUID]) -> None:
    """End attempts that are queued and may have run, and launches that are not cut. In batches; a second call continues after an
    interruption."""
    for keys in batches(jobs):
        with engine.begin() as connection:
            end(connection, keys, _WAITED)
    for gid in launches:
        with engine.begin() as connection:
            cancels.end_launch(connection, gid, "rejected", _WAITED_UNCUT)


def batches(keys: Sequence[tuple[UUID, int]]) -> Iterable[Sequence[tuple[UUID, int]]]:
    """Split attempts into batches that are each ended in one transaction."""
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))


# Those of the jobs that are lost.
_AGAIN = text(
    "SELECT j.uid FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
    "WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND a.state = 'lost' ORDER BY j.uid FOR UPDATE OF j, a"
)


def again(connection: Connection, uids: Sequence[UUID]) -> None:
    """Give jobs that `end` has ended as `lost` a new attempt. A job with a cancel request ended `cancelled` and gets none."""
    rows = connection.execute(_AGAIN, {"uids": list(uids)})
    retries.new_attempts(connection, [row.uid for row in rows])


# How far a launch is cut.
_LAUNCH = text("SELECT state, expanded_jobs FROM argosy.launch WHERE gid = :gid FOR UPDATE")


def adopt(connection: Connection, gid: UUID, lost: Sequence[Lost]) -> int:
    """Write the rows of lost workflows: the launch, the job, the attempt. The tracker then reads their state from the cluster.

    If somebody has requested the launch again meanwhile, jobs that are not cut yet get no rows here: they find their workflows when they
    are cut. If that launch ends before it is cut, the tracker ends the workflows.

    Returns:
        How many attempts were written.
    """
    launch = connection.execute(_LAUNCH, {"gid": gid}).one_or_none()
    cut = math.inf if launch is None or launch.state == "expanded" else launch.expanded_jobs
    count = 0
    for workflow in lost:
        if workflow.ordinal is None:
            continue
        if workflow.ordinal >= cut:
            strays.note(connection, workflow.cluster_id, [workflow.stray])
            continue
        values = {
            **{name: getattr(workflow, name) for name in workflow.__dataclass_fields__},
            "ordinal": workflow.ordinal,
            "why": RECOVERED,
            "placement": placements.put(connection, [workflow.cluster_id], {}),
            "media": f"{{{orjson.dumps(workflow.media_ids)[1:-1].decode()}}}",
        }
        for statement in _ADOPTING:
            connection.execute(text(statement), values)
        tracking.deadlines(connection, [(workflow.uid, workflow.number)], workflow.cluster_id)
        count += 1
    return count


_SECURED = "INSERT INTO argosy.launch_secret (gid, cluster_id) VALUES (:gid, :cluster_id) ON CONFLICT DO NOTHING"
"""SQL: a launch's Secret, if it has one, is deleted when its last job there has ended."""

_ADOPTING = (
    "INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, algorithm_id, request_digest, state, reason, manifest, "
    "parameters, media_ids, files_per_job, placement_id, created_at, expanded_at) VALUES (:gid, :project, :user, :algorithm_name, "
    ":algorithm_id, '', 'expanded', :why, '', '[]', '{}', 1, :placement, coalesce(:created_at, clock_timestamp()), clock_timestamp()) "
    "ON CONFLICT DO NOTHING",
    "INSERT INTO argosy.job AS job (uid, gid, ordinal, project, user_id, media_ids, attempt) "
    "VALUES (:uid, :gid, :ordinal, :project, :user, CAST(:media AS bigint[]), :number) "
    # A later attempt is a retry, which undoes an earlier cancel.
    "ON CONFLICT (uid) DO UPDATE SET attempt = greatest(job.attempt, excluded.attempt), "
    "cancel_requested = job.cancel_requested AND excluded.attempt <= job.attempt",
    "UPDATE argosy.launch SET jobs = (SELECT count(*) FROM argosy.job WHERE gid = :gid) WHERE gid = :gid AND request_digest = ''",
    "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, placement_id, cluster_id, state, name, k8s_uid, "
    "submitted_at, unread, listed) SELECT uid, :number, gid, project, user_id, :algorithm_id, :placement, :cluster_id, 'pending', :name, "
    ":k8s_uid, clock_timestamp(), true, attempt = :number AND NOT hidden FROM argosy.job WHERE uid = :uid ON CONFLICT DO NOTHING",
    _SECURED,
)
