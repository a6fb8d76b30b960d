"""Claiming: which queued jobs a cluster takes next, in one transaction *before* anything is created.

A claim writes `submitting`, the cluster, a new epoch and a lease. So only one worker at a time has a job, and the job of a worker that died
is found again. Each claim locks the cluster's row, so claims of one cluster run one after another. This keeps the limits of the cluster and
of its tenants exact with any number of workers (`submitting` jobs count too), and all workers share the breaker and the window.

The cost of a claim does not grow with the queue: it finds the tenants with queued jobs by skipping from one to the next in the queue's
index, and of each tenant it reads only as many rows as it takes (P7).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, text

from argosy.scheduling import fair, share
from argosy.states import ACTIVE
from argosy.store import notices, pacing, placements, rows
from argosy.store.conditions import DELAYED, READY, in_states, of_revision
from argosy.store.queue import Ended, end


@dataclass(frozen=True)
class Waiting:
    """A job that may be claimed, as rendering needs it.

    `stale` says that an earlier claim ran out: its create may have happened; `revision` says what it runs (`Revision`; 0: as its launch was
    frozen); `tries` is the number of such claims in a row. `waited` is in
    seconds. So is `launched`, the time since its launch was committed, of the first job of a launch that waited for no other one.
    """

    uid: UUID
    number: int
    gid: UUID
    project: int
    epoch: int
    media_ids: list[int]
    cancel_requested: bool
    digest: str | None
    tries: int
    waited: float
    stale: bool
    revision: int = 0
    launched: float | None = None


@dataclass(frozen=True)
class Rendering:
    """Under which name and digest a claimed job will be created."""

    name: str
    digest: str


@dataclass(frozen=True)
class Claims:
    """Result of a claim: the claimed jobs, those with claims that ran out first; how many were rejected because they cannot be
    rendered; and whether the one claimed job is a probe of a cluster that had failed."""

    jobs: list[Waiting]
    rejected: int = 0
    probe: bool = False


class Waiters(NamedTuple):
    """The queued jobs of one user, algorithm and placement: they share the first four columns of the queue's index."""

    placement: int
    project: int
    user: int
    algorithm: int


_PATIENCE = 5.0
"""Seconds that a job waits for a cluster with more free slots. After that any cluster that may take it does: its tenant's limit may be
reached on the first one, or no worker may be submitting there."""

_CLUSTER = text(
    f"SELECT {pacing.CAPACITY} AS capacity, c.project_max_active, c.virtual_time, c.health, c.open_tries > 0 AS failing "
    f"FROM argosy.cluster c WHERE c.id = :cluster AND {pacing.OPEN} FOR NO KEY UPDATE"
)

_ACTIVE = text(
    "SELECT project, user_id, count(*) AS active FROM argosy.attempt "
    f"WHERE cluster_id = :cluster AND {in_states(ACTIVE)} GROUP BY project, user_id"
)

# The fields of `Waiting`, in their order.
_COLUMNS = (
    "a.uid, a.number, a.gid, a.project, a.claim_epoch + 1 AS epoch, j.media_ids, j.cancel_requested, a.digest, a.tries, "
    "extract(epoch FROM clock_timestamp() - a.queued_at)::float8 AS waited, a.state = 'submitting' AS stale, a.revision, "
    "CASE WHEN j.ordinal = 0 AND a.number = 1 THEN (SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 "
    "FROM argosy.launch WHERE gid = a.gid AND after_gid IS NULL) END AS launched"
)

# OFFSET 0 forces one index lookup per row: the planner cannot know how few there are, and would read the whole table.
_JOB = "CROSS JOIN LATERAL (SELECT media_ids, cancel_requested, ordinal FROM argosy.job WHERE uid = a.uid OFFSET 0) j"

_NOT_PAUSED = (
    "{0}.project <> ALL (ARRAY(SELECT id FROM argosy.project WHERE paused_at IS NOT NULL)) "
    "AND {0}.algorithm_id <> ALL (ARRAY(SELECT id FROM argosy.algorithm WHERE paused_at IS NOT NULL))"
)
"""SQL, for rows that have these columns. No join: with one the planner underestimates how many projects are not paused."""

# Claims that ran out: their worker died, was stopped, or left the create unresolved. They occupy a slot already.
_STALE = text(
    f"SELECT {_COLUMNS} FROM argosy.attempt a {_JOB} "
    "WHERE a.cluster_id = :cluster AND a.state = 'submitting' AND a.lease_until < clock_timestamp() "
    f"AND ({_NOT_PAUSED.format('a')} OR j.cancel_requested) ORDER BY a.seq LIMIT :limit FOR UPDATE OF a SKIP LOCKED"
)

# Delayed jobs that are due join the queue.
_DUE = text(
    "UPDATE argosy.attempt a SET not_before = NULL FROM (SELECT d.uid, d.number FROM argosy.cluster c JOIN argosy.placement p "
    f"ON {placements.FITS} CROSS JOIN LATERAL (SELECT uid, number FROM argosy.attempt WHERE placement_id = p.id AND {DELAYED} "
    "AND not_before < clock_timestamp() ORDER BY not_before LIMIT 1000 FOR UPDATE SKIP LOCKED) d WHERE c.id = :cluster) d "
    "WHERE a.uid = d.uid AND a.number = d.number"
)

# The recursion goes from the first row of one lane to the first row of the next. Each column comes as one list, which Python reads faster
# than rows. Turns come as lists of their own, because tenants without queued jobs have turns too; so do weights and limits, which few
# tenants have.
_LANES = text(
    f"""
    WITH RECURSIVE placed AS MATERIALIZED (
        SELECT p.id, cardinality(p.cluster_ids) = 1 AS sole FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS}
        WHERE c.id = :cluster
    ), lane AS (
        SELECT first.* FROM placed, LATERAL (
            SELECT placement_id, project, user_id, algorithm_id FROM argosy.attempt
            WHERE placement_id = placed.id AND {READY} ORDER BY project, user_id, algorithm_id LIMIT 1) first
        UNION ALL
        SELECT next.* FROM lane, LATERAL (
            SELECT placement_id, project, user_id, algorithm_id FROM argosy.attempt
            WHERE placement_id = lane.placement_id AND {READY}
            AND (project, user_id, algorithm_id) > (lane.project, lane.user_id, lane.algorithm_id)
            ORDER BY project, user_id, algorithm_id LIMIT 1) next
    )
    SELECT
        CAST(json_build_array(json_agg(placement_id), json_agg(project), json_agg(user_id), json_agg(algorithm_id)) AS text) AS lanes,
        (SELECT array_agg(id) FROM placed WHERE NOT sole) AS choices,
        (SELECT CAST(json_build_array(json_agg(id), json_agg(weight)) AS text) FROM argosy.project WHERE weight <> 1) AS weights,
        (SELECT CAST(json_build_array(json_agg(project), json_agg(max_active)) AS text) FROM argosy.project_limit
        WHERE cluster_id = :cluster) AS limits,
        (SELECT CAST(json_build_array(json_agg(project), json_agg(user_id), json_agg(tag)) AS text) FROM argosy.turn
        WHERE cluster_id = :cluster) AS turns
    FROM lane WHERE {_NOT_PAUSED.format("lane")}
    """
)

# Skip jobs that were queued before one of their clusters was held: they may have run there already. After the database may have lost
# claims, also skip for a while jobs that several clusters may take: a create of a lost claim may still arrive on another cluster. Here and
# below, rows are passed as one JSON text: with one array for each column, psycopg would take longer than PostgreSQL takes for the whole
# statement.
_HEADS = text(
    f"""
    SELECT a.user_id, l.placement, {_COLUMNS} FROM json_to_recordset(CAST(:lanes AS json))
        AS l (placement int, project bigint, "user" bigint, algorithm int, count int)
    CROSS JOIN LATERAL (
        SELECT greatest(coalesce(max(c.held_at), '-infinity'), CASE WHEN count(*) > 1 THEN (SELECT doubted_at FROM argosy.installation
        WHERE doubted_at > clock_timestamp() - make_interval(secs => :quiet)) END) AS since
        FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} WHERE p.id = l.placement AND c.removed_at IS NULL) held
    CROSS JOIN LATERAL (
        SELECT * FROM argosy.attempt WHERE placement_id = l.placement AND project = l.project AND user_id = l."user"
        AND algorithm_id = l.algorithm AND {READY} AND queued_at >= held.since AND uid <> ALL (CAST(:taken AS uuid[]))
        ORDER BY priority DESC, seq LIMIT l.count FOR UPDATE SKIP LOCKED) a
    {_JOB} ORDER BY a.priority DESC, a.seq
    """
)

_SHARED = text(
    "SELECT count(*) FROM (SELECT FROM argosy.attempt WHERE placement_id = ANY (CAST(:placements AS int[])) "
    f"AND {READY} LIMIT :most) q"
)

# Other healthy clusters that could take the same jobs.
_OTHERS = text(
    f"SELECT {pacing.CAPACITY} AS capacity, (SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id "
    f"AND {in_states(ACTIVE, 'a')}) AS active FROM argosy.cluster c WHERE c.id <> :cluster "
    f"AND c.health = 'ok' AND c.open_tries = 0 AND {pacing.OPEN} "
    f"AND EXISTS (SELECT FROM argosy.placement p WHERE p.id = ANY (CAST(:placements AS int[])) AND {placements.FITS})"
)

_CLAIM = text(
    "UPDATE argosy.attempt a SET state = 'submitting', cluster_id = :cluster, claim_worker = :worker, claim_epoch = c.epoch, "
    "tries = a.tries + 1, lease_until = clock_timestamp() + make_interval(secs => :lease), "
    "quiet_at = clock_timestamp() + make_interval(secs => :lease + :travel), "
    f"stop_at = clock_timestamp() + make_interval(secs => least({of_revision('pending_deadline')}, k.pending_deadline)), "
    f"run_deadline = least({of_revision('run_deadline')}, k.run_deadline), "
    "name = c.name, digest = c.digest, message = '', as_of = clock_timestamp() "
    "FROM json_to_recordset(CAST(:claims AS json)) AS c (uid uuid, number int, epoch int, name text, digest text), "
    "argosy.launch l, argosy.cluster k "
    "WHERE a.uid = c.uid AND a.number = c.number AND l.gid = a.gid AND k.id = :cluster"
)

_PAID = text(
    "WITH paid AS (INSERT INTO argosy.turn (cluster_id, project, user_id, tag) SELECT :cluster, project, user_id, tag "
    "FROM json_to_recordset(CAST(:paid AS json)) AS t (project bigint, user_id bigint, tag float8) "
    "ON CONFLICT (cluster_id, project, user_id) DO UPDATE SET tag = excluded.tag) "
    "UPDATE argosy.cluster SET virtual_time = :now WHERE id = :cluster"
)


def claim(
    connection: Connection,
    cluster_id: int,
    worker: str,
    lease: float,
    limit: int,
    travel: float,
    render: Callable[[Waiting], Rendering | str],
) -> Claims:
    """Take the next jobs of a cluster for this worker.

    Args:
        connection: In a transaction, which the caller commits before it creates anything.
        cluster_id: Which cluster.
        worker: Who claims; only shown to people.
        lease: Seconds until others may take the claim over.
        limit: The most to take; the cluster's free slots are the other bound.
        travel: Seconds after the lease during which a create that the worker gave up may still arrive.
        render: Returns a job's name and digest, which are stored with the claim; or the reason why it can never be rendered, and then the
            job is rejected.
    """
    cluster = connection.execute(_CLUSTER, {"cluster": cluster_id}).one_or_none()
    if cluster is None:
        return Claims([])
    limit = 1 if cluster.failing else limit
    # Prefer another job as the probe: the unclear create of a stale one may have made the cluster look broken.
    waiting = [] if cluster.failing else _stale(connection, cluster_id, limit)
    if len(waiting) < limit:
        waiting += _by_turn(connection, cluster_id, cluster, limit - len(waiting), lease + travel)
    if cluster.failing and not waiting:
        waiting = _stale(connection, cluster_id, limit)
    claimed, renderings = [], []
    for job in waiting:
        rendering = render(job)
        if isinstance(rendering, str):
            end(connection, [Ended(job.uid, job.number, job.epoch - 1, "rejected", rendering)])
            notices.jobs_ended(connection, [job.uid])
        else:
            claimed.append(job)
            renderings.append(rendering)
    if claimed:
        claims = [
            # Keep the first digest: an earlier, unclear create may have written that one.
            {"uid": w.uid, "number": w.number, "epoch": w.epoch, "name": r.name, "digest": w.digest or r.digest}
            for w, r in zip(claimed, renderings, strict=True)
        ]
        parameters = {"cluster": cluster_id, "worker": worker, "lease": lease, "travel": travel}
        connection.execute(_CLAIM, parameters | {"claims": rows.recordset(claims)})
        if cluster.failing:
            pacing.probing(connection, cluster_id, lease)
    return Claims(claimed, len(waiting) - len(claimed), cluster.failing)


def _stale(connection: Connection, cluster_id: int, limit: int) -> list[Waiting]:
    found = connection.execute(_STALE, {"cluster": cluster_id, "limit": limit})
    return [Waiting(*row) for row in found]


def _by_turn(connection: Connection, cluster_id: int, cluster: Row[Any], limit: int, quiet: float) -> list[Waiting]:
    """The next jobs by fair share, as many as there are free slots; each tenant pays virtual time for its own jobs."""
    active = {(row.project, row.user_id): row.active for row in connection.execute(_ACTIVE, {"cluster": cluster_id})}
    room = min(limit, cluster.capacity - sum(active.values()))
    if room <= 0:
        return []
    connection.execute(_DUE, {"cluster": cluster_id})
    waits = connection.execute(_LANES, {"cluster": cluster_id}).one()
    lanes = [Waiters._make(lane) for lane in _rows(waits.lanes)]
    choices = set(waits.choices or ())
    shared = _shared(
        connection, cluster_id, cluster, sum(active.values()), choices & {lane.placement for lane in lanes}
    )
    if shared is None:
        shared, lanes = 0, [lane for lane in lanes if lane.placement not in choices]
    weights, limits = dict(_rows(waits.weights)), dict(_rows(waits.limits))
    tenants = {
        lane.project: fair.Tenant(weights.get(lane.project, 1.0), limits.get(lane.project, cluster.project_max_active))
        for lane in lanes
    }
    _stand(tenants, lanes, active, _rows(waits.turns))
    taken: list[Waiting] = []
    paid: dict[tuple[int, int], float] = {}
    now = cluster.virtual_time
    while room > 0:
        since = fair.earliest(tenants, now)
        chosen = list(islice(fair.picks(tenants, cluster.capacity, since), room))
        if not chosen:
            break
        heads = _heads(connection, lanes, choices, Counter(chosen), [job.uid for job in taken], quiet)
        for project, user in chosen:
            own = heads.get((project, user), deque[tuple[bool, Waiting]]())
            while own and own[0][0] and shared <= 0 and own[0][1].waited <= _PATIENCE:
                own.popleft()  # left to the other clusters that may take it
            if not own:
                tenants[project].users.pop(user, None)
                continue
            shares, job = own.popleft()
            shared -= shares
            room -= 1
            now = max(now, fair.charge(tenants[project], user, since))
            paid[project, user] = tenants[project].tag
            taken.append(job)
        tenants = {project: tenant for project, tenant in tenants.items() if tenant.users}
    _pay(connection, cluster_id, now, paid)
    return taken


def _rows(columns: str) -> Iterator[tuple[Any, ...]]:
    """Rows from one JSON list per column; null means no rows."""
    return zip(*(column or () for column in orjson.loads(columns)), strict=True)


def _stand(
    tenants: dict[int, fair.Tenant],
    lanes: Iterable[Waiters],
    active: dict[tuple[int, int], int],
    turns: Iterable[tuple[int, int, float]],
) -> None:
    """Fill in each tenant's waiting users, unfinished jobs and virtual time."""
    for lane in lanes:
        tenants[lane.project].users[lane.user] = fair.User()
    for (project, user), count in active.items():
        if (tenant := tenants.get(project)) is not None:
            tenant.active += count
            if user in tenant.users:
                tenant.users[user].active = count
    for project, user, tag in turns:
        if (tenant := tenants.get(project)) is not None:
            tenant.tag = max(tenant.tag, tag)
            if user in tenant.users:
                tenant.users[user].tag = tag


def _heads(
    connection: Connection,
    lanes: Sequence[Waiters],
    choices: set[int],
    counts: Counter[tuple[int, int]],
    taken: list[UUID],
    quiet: float,
) -> dict[tuple[int, int], deque[tuple[bool, Waiting]]]:
    """The first jobs of each user in `counts`, locked, in the order in which they are to run. Each comes with whether another cluster may
    take it too, which is so for the placements `choices`."""
    asked = [lane._asdict() | {"count": count} for lane in lanes if (count := counts.get((lane.project, lane.user)))]
    found_rows = connection.execute(_HEADS, {"lanes": rows.recordset(asked), "taken": taken, "quiet": quiet})
    found: dict[tuple[int, int], deque[tuple[bool, Waiting]]] = {}
    for user, placement, *columns in found_rows:
        job = Waiting(*columns)
        found.setdefault((job.project, user), deque()).append((placement in choices, job))
    return found


def _shared(connection: Connection, cluster_id: int, cluster: Row[Any], active: int, choices: set[int]) -> float | None:
    """How many jobs this cluster takes that others could take too; None where it leaves them all to the others."""
    if not choices:
        return 0
    found = connection.execute(_OTHERS, {"cluster": cluster_id, "placements": list(choices)})
    others = [(other.capacity, other.active) for other in found if other.capacity > 0]
    if not others:
        return inf
    if cluster.health != "ok":
        return None
    free = sum(max(capacity - active, 0) for capacity, active in [*others, (cluster.capacity, active)])
    jobs = connection.execute(_SHARED, {"placements": list(choices), "most": free}).scalar_one()
    return share.part(jobs, (cluster.capacity, active), others)


def _pay(connection: Connection, cluster_id: int, now: float, paid: dict[tuple[int, int], float]) -> None:
    if paid:
        tags = [{"project": project, "user_id": user, "tag": tag} for (project, user), tag in paid.items()]
        connection.execute(_PAID, {"cluster": cluster_id, "paid": rows.recordset(tags), "now": now})


# Clusters that may be asked and have queued jobs, or claims that ran out.
_WITH_WORK = text(
    f"SELECT c.id FROM argosy.cluster c WHERE {pacing.OPEN} "
    "AND (EXISTS (SELECT FROM argosy.attempt a WHERE a.cluster_id = c.id AND a.state = 'submitting' "
    "AND a.lease_until < clock_timestamp()) OR (EXISTS (SELECT FROM argosy.placement p JOIN LATERAL ("
    # ORDER BY makes the planner use the index; else it scans the table for a queued row, which is near the end.
    f"(SELECT FROM argosy.attempt WHERE placement_id = p.id AND {READY} ORDER BY project LIMIT 1) UNION ALL "
    f"(SELECT FROM argosy.attempt WHERE placement_id = p.id AND {DELAYED} AND not_before < clock_timestamp() "
    "ORDER BY not_before LIMIT 1)"
    f") a ON true WHERE {placements.FITS}) AND {pacing.CAPACITY} > ("
    "SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id "
    f"AND {in_states(ACTIVE, 'a')})))"
)


def clusters_with_work(connection: Connection) -> list[int]:
    """Clusters where something may be claimed now: a free slot and a queued job, or a claim that ran out."""
    rows = connection.execute(_WITH_WORK)
    return [row.id for row in rows]
