"""Moving what is queued for a cluster to another one.

What is moved is the launch: what it, or a revision of it, is placed on, so that what is cut, retried or split later goes there too; and its
queued attempts with it. What was claimed stays where it is: its workflow may exist there (P1). So the same locks are taken as by a retry
(launch, attempts by uid, clusters), then everything is looked at in statements of their own. While the clusters' rows are locked, nobody
can hold or remove one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import holds, notices, placements, retries, rows, targets
from argosy.store.conditions import DELAYED, READY

BATCH = 2_000
"""Jobs that one transaction moves."""


@dataclass(frozen=True)
class Movement:
    """From which cluster to which, by id and name. `quiet`: seconds in which a create may still arrive whose claim the database lost."""

    source: int
    source_name: str
    target: int
    target_name: str
    quiet: float


@dataclass(frozen=True)
class Queued:
    """What a launch, or a revision of it, has queued for a cluster: jobs, and how many are to be cut yet. `strays`: workflows of it are
    there already, which its jobs adopt when they are cut for that cluster."""

    gid: UUID
    revision: int
    placement: int
    jobs: int
    uncut: int
    strays: bool


# By launch, revision and placement. The conditions are those of the two indexes of the queue.
_QUEUED = text(
    "WITH placed AS MATERIALIZED (SELECT p.id FROM argosy.placement p JOIN argosy.cluster c "
    f"ON {placements.FITS} WHERE c.id = :source), queued AS (SELECT gid, revision, placement_id, count(*) AS jobs FROM ("
    f"SELECT a.* FROM placed JOIN argosy.attempt a ON a.placement_id = placed.id AND {READY} "
    f"UNION ALL SELECT a.* FROM placed JOIN argosy.attempt a ON a.placement_id = placed.id AND {DELAYED}"
    ") a GROUP BY gid, revision, placement_id), uncut AS (SELECT gid, 0 AS revision, placement_id, jobs - expanded_jobs AS jobs "
    "FROM argosy.launch WHERE state = 'resolved' AND placement_id IN (SELECT id FROM placed)) "
    "SELECT gid, revision, placement_id AS placement, coalesce(q.jobs, 0) AS jobs, coalesce(u.jobs, 0) AS uncut, "
    "u.gid IS NOT NULL AND EXISTS (SELECT FROM argosy.stray s WHERE s.gid = u.gid AND s.cluster_id = :source) AS strays "
    "FROM queued q FULL JOIN uncut u USING (gid, revision, placement_id) ORDER BY uncut DESC, gid, revision, placement_id"
)


def queued(connection: Connection, cluster_id: int) -> list[Queued]:
    """What is queued for a cluster, also what others may take too; first what is to be cut yet."""
    return [Queued(**row._mapping) for row in connection.execute(_QUEUED, {"source": cluster_id})]


@dataclass(frozen=True)
class Moved:
    """How many jobs of a batch were moved, and how many somebody claimed or ended meanwhile. `launch`: a launch was moved that is to be cut
    yet. `why`: nothing was moved, and nothing can be at present."""

    jobs: int = 0
    stayed: int = 0
    launch: bool = False
    why: str = ""


# A batch of it.
_BATCH = text(
    "SELECT uid, number FROM argosy.attempt WHERE gid = :gid AND state = 'queued' AND revision = :revision "
    "AND placement_id = :placement ORDER BY uid LIMIT :limit"
)

# Its clusters change, so it is told that it was moved.
_MOVE_ATTEMPTS = text(
    f"UPDATE argosy.attempt a SET placement_id = p.id, cluster_id = {placements.SOLE}, message = :message "
    f"FROM argosy.placement p, {rows.KEYS} WHERE p.id = :new AND a.uid = k.uid AND a.number = k.number "
    "AND a.state = 'queued' AND a.revision = :revision AND a.placement_id = :placement RETURNING a.uid"
)

# What is cut from now on, and what is split or retried.
_MOVE_LAUNCH = text(
    "UPDATE argosy.launch SET placement_id = :new, reason = CASE WHEN state = 'resolved' THEN :message ELSE reason END "
    "WHERE gid = :gid AND :revision = 0 AND placement_id = :placement RETURNING state = 'resolved' AS uncut"
)
_MOVE_REVISION = text(
    "UPDATE argosy.revision SET placement_id = :new WHERE gid = :gid AND number = :revision AND placement_id = :placement"
)


def move(connection: Connection, movement: Movement, what: Queued) -> Moved:
    """Move a batch of what a launch has queued.

    Args:
        connection: In a transaction, which the caller commits also if nothing was moved.
        movement: From where to where.
        what: Of which launch; its `jobs` are not looked at.
    """
    targets.locked(connection, what.gid, None)
    batch = connection.execute(_BATCH, vars(what) | {"limit": BATCH}).all()
    keys = rows.keys((row.uid, row.number) for row in batch)
    retries.lock_attempts(connection, keys)
    if why := against(connection, movement):
        return Moved(why=why)
    ids: Sequence[int] = placements.clusters(connection, [what.placement])
    values = vars(what) | {
        "new": placements.put(connection, [*(each for each in ids if each != movement.source), movement.target], {}),
        "message": f"moved from cluster {movement.source_name} to {movement.target_name}",
        "keys": keys,
    }
    launch = connection.execute(_MOVE_LAUNCH, values).one_or_none()
    connection.execute(_MOVE_REVISION, values)
    moved = len(connection.execute(_MOVE_ATTEMPTS, values).all()) if batch else 0
    notices.queue_grew(connection, movement.target)
    return Moved(moved, len(batch) - moved, launch is not None and launch.uncut)


# Until the end of the transaction nobody holds or removes one.
_CLUSTERS = text(
    "SELECT name, held_reason, held_at IS NOT NULL AS held, removed_at IS NOT NULL AS removed FROM argosy.cluster "
    "WHERE id IN (:source, :target) ORDER BY id FOR SHARE"
)

# For how long a create of a lost claim may still arrive.
_DOUBT = text(
    "SELECT ceil(extract(epoch FROM doubted_at - clock_timestamp()) + :quiet) AS seconds FROM argosy.installation "
    "WHERE doubted_at > clock_timestamp() - make_interval(secs => :quiet)"
)


def against(connection: Connection, movement: Movement) -> str:
    """Why nothing may be moved now; empty if it may. The transaction is to be committed in both cases: it notes a fail-over."""
    holds.check_server(connection)
    for cluster in connection.execute(_CLUSTERS, vars(movement)):
        if cluster.removed:
            return f"cluster {cluster.name!r} was removed"
        if cluster.held:
            return f"cluster {cluster.name!r} is held ({cluster.held_reason}), and may have run what is queued; see: argosy db reconcile"
    seconds = connection.execute(_DOUBT, vars(movement)).scalar_one_or_none()
    if seconds is not None:
        return f"the database may have lost claims, and what they create may still arrive; try again in {seconds} s"
    return ""
