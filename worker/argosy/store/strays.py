"""Workflows of ours that no row knows (strays). Where they are is recorded, so that a row that is written later finds them.

A database that was restored, or failed over, may have lost a launch that ran. Its caller requests it again with the same gid, and the new
jobs get the same workflow names. On the cluster where a job ran, the name is taken. On another cluster the job would run a second time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.batches import ordinal
from argosy.store import placements, rows
from argosy.store.conditions import of_revision

LATEST = 100
"""Highest attempt number that is believed of a stray, so that a cluster that lies cannot use up the numbers for later attempts."""

ABANDONED = "its cluster was abandoned, and nobody saw how it ended"


@dataclass(frozen=True)
class Stray:
    """A workflow, with the attempt and the launch that its labels name."""

    k8s_uid: str
    uid: UUID
    number: int
    gid: UUID | None
    name: str


# Record strays.
_NOTE = text(
    "INSERT INTO argosy.stray (cluster_id, k8s_uid, uid, number, gid, name) SELECT :cluster, s.* FROM "
    "json_to_recordset(CAST(:strays AS json)) AS s (k8s_uid text, uid uuid, number int, gid uuid, name text) ON CONFLICT DO NOTHING"
)


def note(connection: Connection, cluster_id: int, strays: Sequence[Stray]) -> None:
    """Record strays on a cluster."""
    if strays:
        connection.execute(_NOTE, {"cluster": cluster_id, "strays": rows.recordset(strays)})


# They are gone, or have a row by now.
_FORGET = text("DELETE FROM argosy.stray WHERE cluster_id = :cluster AND k8s_uid = ANY (:k8s_uids)")


def forget(connection: Connection, cluster_id: int, k8s_uids: Sequence[str]) -> None:
    """Delete strays that are gone, or have a row by now."""
    if k8s_uids:
        connection.execute(_FORGET, {"cluster": cluster_id, "k8s_uids": list(k8s_uids)})


# Workflows that a complete list did not show are gone.
_KEEP = text("DELETE FROM argosy.stray WHERE cluster_id = :cluster AND k8s_uid <> ALL (:k8s_uids)")


def keep(connection: Connection, cluster_id: int, k8s_uids: Collection[str]) -> None:
    """Delete the strays of a cluster that are not among `k8s_uids`: a complete list no longer has them, or they have a row by now."""
    connection.execute(_KEEP, {"cluster": cluster_id, "k8s_uids": list(k8s_uids)})


# All of one cluster.
_COUNT = text("SELECT count(*) FROM argosy.stray WHERE cluster_id = :cluster")


def count(connection: Connection, cluster_id: int) -> int:
    """How many are on a cluster."""
    found = connection.execute(_COUNT, {"cluster": cluster_id})
    return int(found.scalar_one())


# Whether one was recorded since the hold began.
_SINCE_HOLD = text(
    "SELECT EXISTS (SELECT FROM argosy.stray s JOIN argosy.cluster c ON c.id = s.cluster_id "
    "WHERE c.id = :cluster AND s.noted_at >= c.held_at)"
)


def since_hold(connection: Connection, cluster_id: int) -> bool:
    """Whether any was found on a held cluster since the hold began: its row may have been lost. Those found before do not count."""
    found = connection.execute(_SINCE_HOLD, {"cluster": cluster_id})
    return bool(found.scalar_one())


_ENDED_EARLY = "l.state IN ('cancelled', 'rejected')"

# The launches that we know, and how far they are cut.
_LAUNCHES = text(
    f"SELECT gid, expanded_jobs FROM argosy.launch l WHERE gid = ANY (CAST(:gids AS uuid[])) AND {_ENDED_EARLY}"
)

# The newest attempt of each job.
_NEWEST = text("SELECT uid, attempt FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[]))")


def unwanted(connection: Connection, workflows: Collection[tuple[UUID, int, UUID | None]]) -> set[tuple[UUID, int]]:
    """Which of these workflows without a row, given as (uid, attempt, gid), are to be ended: their launch ended before their job was cut,
    or a later attempt of the job has a row."""
    if not workflows:
        return set()
    gids = {gid for uid, _, gid in workflows if gid is not None and ordinal(gid, uid) is not None}
    launches = connection.execute(_LAUNCHES, {"gids": list(gids)})
    cut: dict[UUID, int] = {row.gid: row.expanded_jobs for row in launches}
    jobs = connection.execute(_NEWEST, {"uids": [uid for uid, _, _ in workflows]})
    newest: dict[UUID, int] = {row.uid: row.attempt for row in jobs}
    return {
        (uid, number)
        for uid, number, gid in workflows
        if number < newest.get(uid, 0)
        or (gid in cut and (at := ordinal(gid, uid)) is not None and at >= cut[gid] and uid not in newest)
    }


# Strays that are unwanted by now.
_TO_END = text(
    "SELECT s.k8s_uid, s.uid, s.number, s.gid, s.name FROM argosy.stray s LEFT JOIN argosy.job j ON j.uid = s.uid "
    f"LEFT JOIN argosy.launch l ON l.gid = s.gid AND {_ENDED_EARLY} WHERE s.cluster_id = :cluster "
    "AND (j.attempt > s.number OR j.uid IS NULL AND l.gid IS NOT NULL) ORDER BY random() LIMIT 100"
)


def to_end(connection: Connection, cluster_id: int) -> list[Stray]:
    """Some strays on a cluster that have become unwanted since they were found."""
    rows = connection.execute(_TO_END, {"cluster": cluster_id})
    return [Stray(**row._mapping) for row in rows]


# At most one stray for each job. Its row is deleted, so that it is used only once.
_CLAIM = text(
    "DELETE FROM argosy.stray s USING (SELECT DISTINCT ON (s.uid) s.cluster_id, s.k8s_uid, c.removed_at IS NOT NULL AS removed "
    "FROM argosy.job j JOIN argosy.stray s ON s.uid = j.uid JOIN argosy.cluster c ON c.id = s.cluster_id "
    "WHERE j.gid = :gid AND j.ordinal >= :first AND j.ordinal < :end AND s.cluster_id = ANY (:clusters) "
    "AND s.number BETWEEN 1 AND :latest ORDER BY s.uid, removed, s.number DESC, s.noted_at) AS newest "
    "WHERE s.cluster_id = newest.cluster_id AND s.k8s_uid = newest.k8s_uid RETURNING s.*, newest.removed"
)


def claim(connection: Connection, gid: UUID, first: int, end: int, clusters: Sequence[int]) -> None:
    """Give jobs that were just cut the workflows that exist already: such a job becomes `pending` on the cluster of its stray. If that
    cluster was abandoned, the job is `lost`, as all others there. If a job has strays of several attempts, the newest counts.

    Args:
        connection: In the transaction that cut them.
        gid: Their launch.
        first: The first of them.
        end: One after the last.
        clusters: Those that may take the jobs. Strays on other clusters are ignored.
    """
    rows = connection.execute(
        _CLAIM,
        {
            "gid": gid,
            "first": first,
            "end": end,
            "clusters": [*clusters, *_abandoned(connection, gid)],
            "latest": LATEST,
        },
    ).all()
    for row in rows:
        for statement in (*(_LOST if row.removed else _CLAIMED), _NUMBERED):
            connection.execute(text(statement), {**row._mapping, "gid": gid, "why": ABANDONED})


# Removed clusters of which there are strays.
_ABANDONED = text(
    "SELECT c.id FROM argosy.cluster c WHERE c.removed_at IS NOT NULL AND EXISTS (SELECT FROM argosy.stray s "
    "WHERE s.cluster_id = c.id) AND EXISTS (SELECT FROM argosy.launch l JOIN argosy.launch o ON o.project = l.project "
    f"JOIN argosy.placement p ON p.id = o.placement_id AND {placements.FITS} WHERE l.gid = :gid)"
)


def _abandoned(connection: Connection, gid: UUID) -> Sequence[int]:
    """Abandoned clusters whose strays count for a launch: those that any launch of its project may have used. The launch's own placement
    need not allow them, because an abandoned cluster is first taken out of the algorithms that list it."""
    rows = connection.execute(_ABANDONED, {"gid": gid})
    return rows.scalars().all()


# Abandoned clusters are never listed again, so `keep` does not delete these.
_FORGET_ABANDONED = text(
    "DELETE FROM argosy.stray s USING argosy.cluster c WHERE c.id = s.cluster_id AND c.removed_at IS NOT NULL "
    "AND s.noted_at < now() - make_interval(days => :days)"
)


def forget_abandoned(connection: Connection, days: int) -> None:
    """Delete the strays of abandoned clusters that are older than the retention window: launches from then cannot be repeated."""
    connection.execute(_FORGET_ABANDONED, {"days": days})


_NUMBERED = "UPDATE argosy.job SET attempt = :number WHERE uid = :uid"

_SHOWN = "listed = (SELECT NOT hidden FROM argosy.job WHERE uid = :uid)"
"""SQL: an attempt that becomes its job's newest is listed, unless the job is hidden."""

_LOST = (
    f"UPDATE argosy.attempt a SET number = :number, {_SHOWN}, cluster_id = :cluster_id, "
    "state = CASE WHEN a.state = 'queued' THEN 'lost' ELSE a.state "
    "END, name = :name, k8s_uid = :k8s_uid, message = :why, submitted_at = clock_timestamp(), finished_at = clock_timestamp(), "
    "as_of = clock_timestamp(), retries_left = greatest(a.retries_left - :number + 1, 0) WHERE a.uid = :uid",
)

_CLAIMED = (
    f"UPDATE argosy.attempt a SET number = :number, {_SHOWN}, cluster_id = :cluster_id, state = 'pending', "
    "name = :name, k8s_uid = :k8s_uid, "
    "message = '', submitted_at = clock_timestamp(), finished_at = NULL, unread = true, "
    f"retries_left = greatest(a.retries_left - :number + 1, 0), run_deadline = least({of_revision('run_deadline')}, c.run_deadline), "
    f"stop_at = clock_timestamp() + make_interval(secs => least({of_revision('pending_deadline')}, c.pending_deadline)) "
    "FROM argosy.launch l, argosy.cluster c WHERE a.uid = :uid AND l.gid = a.gid AND c.id = :cluster_id",
    # Its Secret, if it has one, is deleted when its last job there has ended.
    "INSERT INTO argosy.launch_secret (gid, cluster_id) VALUES (:gid, :cluster_id) ON CONFLICT DO NOTHING",
)
