"""The queue: claiming jobs of a cluster, and recording how their creates ended.

A claim writes `submitting`, a new epoch and a lease in one transaction *before* anything is created, so that a job is with one worker at
a time and a dead worker's job is found again. Every later write by the claimer carries the epoch and is compare-and-set on the state:
a worker that slept past its lease changes nothing (design §5.1, §5.3). The cluster's row lock makes claims of one cluster take turns,
which keeps `max_active` exact under any number of workers.

A claim also says until when a create sent under it may still arrive (`quiet_at`): the tracker keeps the name taken until then, because a
create that finds it free would make a second workflow. Where every create that was sent is accounted for, that is at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import control


@dataclass(frozen=True)
class Waiting:
    """A job that may be claimed, as rendering needs it.

    `stale` says that an earlier claim ran out: its create may have happened; `tries` is the number of such claims in a row. `waited` is in
    seconds.
    """

    uid: UUID
    number: int
    gid: UUID
    epoch: int
    media_ids: list[int]
    cancel_requested: bool
    digest: str | None
    tries: int
    waited: float
    stale: bool


@dataclass(frozen=True)
class Rendering:
    """Under which name and digest a claimed job will be created."""

    name: str
    digest: str


@dataclass(frozen=True)
class Key:
    """One claim: the attempt and the epoch under which it was claimed."""

    uid: UUID
    number: int
    epoch: int


@dataclass(frozen=True)
class Created(Key):
    """The attempt's workflow exists: created, or adopted after an unclear answer.

    `answered` is how many of the creates that were sent are accounted for: this one, and for a taken name the one that took it.
    """

    name: str
    digest: str
    k8s_uid: str
    answered: int = 1


@dataclass(frozen=True)
class Returned(Key):
    """The create surely did not happen: back to the queue, not before `seconds` from now."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Unresolved(Key):
    """The create may have happened: the attempt stays `submitting`, and the same name is created again after `seconds`."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Ended(Key):
    """The attempt ended without a workflow that can be tracked: `rejected` or `lost`, with the reason."""

    state: str
    reason: str


Outcome = Created | Returned | Unresolved | Ended

_LOCK = text("SELECT max_active FROM argosy.cluster WHERE id = :cluster AND removed_at IS NULL FOR NO KEY UPDATE")

_ACTIVE = text(
    "SELECT count(*) FROM argosy.attempt WHERE cluster_id = :cluster AND state IN ('submitting', 'pending', 'running')"
)

_COLUMNS = (
    "a.uid, a.number, a.gid, a.claim_epoch + 1 AS epoch, j.media_ids, j.cancel_requested, a.digest, a.tries, "
    "extract(epoch FROM clock_timestamp() - a.queued_at)::float8 AS waited, a.state = 'submitting' AS stale"
)

# Claims that ran out: their worker died, was stopped, or left the create unresolved. They hold a slot already.
_STALE = text(
    f"SELECT {_COLUMNS} FROM argosy.attempt a JOIN argosy.job j USING (uid) "
    "WHERE a.cluster_id = :cluster AND a.state = 'submitting' AND a.lease_until < clock_timestamp() "
    "ORDER BY a.seq LIMIT :limit FOR UPDATE OF a SKIP LOCKED"
)

# The longest waiting jobs of a cluster, through the partial index on the queue.
_QUEUED = text(
    f"SELECT {_COLUMNS} FROM argosy.attempt a JOIN argosy.job j USING (uid) "
    "WHERE a.cluster_id = :cluster AND a.state = 'queued' "
    "AND (a.not_before IS NULL OR a.not_before < clock_timestamp()) "
    "ORDER BY a.seq LIMIT :limit FOR UPDATE OF a SKIP LOCKED"
)

_CLAIM = text(
    "UPDATE argosy.attempt a SET state = 'submitting', claim_worker = :worker, claim_epoch = c.epoch, tries = a.tries + 1, "
    "lease_until = clock_timestamp() + make_interval(secs => :lease), "
    "quiet_at = clock_timestamp() + make_interval(secs => :lease + :travel), name = c.name, digest = c.digest, "
    "message = '', as_of = clock_timestamp() "
    "FROM unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), CAST(:epochs AS int[]), CAST(:names AS text[]), "
    "CAST(:digests AS text[])) AS c (uid, number, epoch, name, digest) WHERE a.uid = c.uid AND a.number = c.number"
)


def claim(
    connection: Connection,
    cluster_id: int,
    worker: str,
    lease: float,
    limit: int,
    travel: float,
    render: Callable[[Waiting], Rendering | str],
) -> list[Waiting]:
    """Take the next jobs of a cluster for this worker.

    Args:
        connection: In a transaction, which the caller commits before it creates anything.
        cluster_id: Whose queue.
        worker: Who claims, for people.
        lease: Seconds until others may take the claim over.
        limit: The most to take; the cluster's free slots are the other bound.
        travel: Seconds after the lease in which a create that was given up may still arrive.
        render: Gives each job's name and digest, stored with the claim, or the reason why it can never be rendered, which
            rejects it.

    Returns:
        The claimed jobs, those with claims that ran out first.
    """
    max_active = connection.execute(_LOCK, {"cluster": cluster_id}).scalar_one_or_none()
    if max_active is None:
        return []
    active = connection.execute(_ACTIVE, {"cluster": cluster_id}).scalar_one()
    rows = connection.execute(_STALE, {"cluster": cluster_id, "limit": limit}).all()
    room = min(limit - len(rows), max_active - active)
    if room > 0:
        rows = [*rows, *connection.execute(_QUEUED, {"cluster": cluster_id, "limit": room}).all()]
    claimed, renderings = [], []
    for waiting in (Waiting(**row._mapping) for row in rows):
        rendering = render(waiting)
        if isinstance(rendering, str):
            _end(connection, [Ended(waiting.uid, waiting.number, waiting.epoch - 1, "rejected", rendering)])
        else:
            claimed.append(waiting)
            renderings.append(rendering)
    if claimed:
        connection.execute(
            _CLAIM,
            _keys(claimed)
            | {
                "names": [rendering.name for rendering in renderings],
                # The first digest stays: it is what an earlier, unclear create may have written.
                "digests": [w.digest or r.digest for w, r in zip(claimed, renderings, strict=True)],
                "worker": worker,
                "lease": lease,
                "travel": travel,
            },
        )
    return claimed


def record(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write how creates ended. What the tracker or a later claimer has written meanwhile stays.

    The rows are locked in the order of their keys first, as the tracker and a cancel do, so that they wait for each other instead of
    deadlocking.
    """
    connection.execute(
        text(
            "SELECT FROM argosy.attempt a JOIN unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[])) AS c (uid, number) "
            "ON a.uid = c.uid AND a.number = c.number ORDER BY a.uid, a.number FOR UPDATE OF a"
        ),
        _keys(outcomes),
    )
    _record_created(connection, [outcome for outcome in outcomes if isinstance(outcome, Created)])
    _delay(connection, [outcome for outcome in outcomes if isinstance(outcome, Returned)], "queued")
    _delay(connection, [outcome for outcome in outcomes if isinstance(outcome, Unresolved)], "submitting")
    _end(connection, [outcome for outcome in outcomes if isinstance(outcome, Ended)])
    control.follow(connection)


def _record_created(connection: Connection, outcomes: list[Created]) -> None:
    if not outcomes:
        return
    parameters = _keys(outcomes) | {
        "names": [outcome.name for outcome in outcomes],
        "digests": [outcome.digest for outcome in outcomes],
        "k8s_uids": [outcome.k8s_uid for outcome in outcomes],
        "answered": [outcome.answered for outcome in outcomes],
    }
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET state = 'pending', k8s_uid = c.k8s_uid, name = c.name, digest = c.digest, "
            "submitted_at = clock_timestamp(), as_of = clock_timestamp(), lease_until = NULL, message = '' "
            "FROM unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), CAST(:epochs AS int[]), CAST(:names AS text[]), "
            "CAST(:digests AS text[]), CAST(:k8s_uids AS text[])) AS c (uid, number, epoch, name, digest, k8s_uid) "
            "WHERE a.uid = c.uid AND a.number = c.number AND a.claim_epoch = c.epoch AND a.state = 'submitting' "
            "AND a.k8s_uid IS NULL"
        ),
        parameters,
    )
    # Also where the tracker was first: then this answer is all that the record still has to say.
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET quiet_at = NULL FROM unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), "
            "CAST(:epochs AS int[]), CAST(:k8s_uids AS text[]), CAST(:answered AS int[])) "
            "AS c (uid, number, epoch, k8s_uid, answered) WHERE a.uid = c.uid "
            "AND a.number = c.number AND a.claim_epoch = c.epoch AND a.k8s_uid = c.k8s_uid AND a.tries <= c.answered"
        ),
        parameters,
    )


def _delay(connection: Connection, outcomes: Sequence[Returned | Unresolved], state: str) -> None:
    """Back to the queue, or left `submitting`. A job that was cancelled meanwhile and surely has no workflow ends here."""
    if not outcomes:
        return
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET as_of = clock_timestamp(), "
            "state = CASE WHEN :state = 'queued' AND j.cancel_requested THEN 'cancelled' ELSE :state END, "
            "message = CASE WHEN :state = 'queued' AND j.cancel_requested THEN 'cancelled before it was submitted' ELSE c.reason END, "
            "finished_at = CASE WHEN :state = 'queued' AND j.cancel_requested THEN clock_timestamp() END, "
            "lease_until = CASE WHEN :state = 'submitting' THEN clock_timestamp() + make_interval(secs => c.seconds) END, "
            "tries = CASE WHEN :state = 'submitting' THEN a.tries ELSE 0 END, "
            "quiet_at = CASE WHEN :state = 'submitting' THEN a.quiet_at END, "
            "not_before = clock_timestamp() + make_interval(secs => c.seconds) "
            "FROM argosy.job j, unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), CAST(:epochs AS int[]), "
            "CAST(:reasons AS text[]), CAST(:seconds AS float8[])) AS c (uid, number, epoch, reason, seconds) "
            "WHERE a.uid = c.uid AND a.number = c.number AND a.claim_epoch = c.epoch AND a.state = 'submitting' "
            "AND a.k8s_uid IS NULL AND j.uid = a.uid"
        ),
        _keys(outcomes)
        | {
            "state": state,
            "reasons": [outcome.reason for outcome in outcomes],
            "seconds": [outcome.seconds for outcome in outcomes],
        },
    )


def _end(connection: Connection, outcomes: Sequence[Ended]) -> None:
    if not outcomes:
        return
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET state = CASE WHEN j.cancel_requested THEN 'cancelled' ELSE c.state END, "
            "message = c.reason, as_of = clock_timestamp(), finished_at = clock_timestamp(), lease_until = NULL "
            "FROM argosy.job j, unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), CAST(:epochs AS int[]), CAST(:states AS text[]), "
            "CAST(:reasons AS text[])) AS c (uid, number, epoch, state, reason) WHERE a.uid = c.uid AND a.number = c.number "
            "AND a.claim_epoch = c.epoch AND a.state IN ('queued', 'submitting') AND a.k8s_uid IS NULL AND j.uid = a.uid"
        ),
        _keys(outcomes)
        | {
            "states": [outcome.state for outcome in outcomes],
            "reasons": [outcome.reason for outcome in outcomes],
        },
    )


def _keys(rows: Sequence[Waiting | Key]) -> dict[str, list[object]]:
    return {
        "uids": [row.uid for row in rows],
        "numbers": [row.number for row in rows],
        "epochs": [row.epoch for row in rows],
    }


def clusters_with_work(connection: Connection) -> list[int]:
    """Clusters where something may be claimed now: a free slot and a queued job, or a claim that ran out."""
    rows = connection.execute(
        text(
            "SELECT c.id FROM argosy.cluster c WHERE c.removed_at IS NULL AND (EXISTS ("
            "SELECT FROM argosy.attempt a WHERE a.cluster_id = c.id AND a.state = 'submitting' "
            "AND a.lease_until < clock_timestamp()) OR (EXISTS (SELECT FROM argosy.attempt a WHERE a.cluster_id = c.id "
            "AND a.state = 'queued' AND (a.not_before IS NULL OR a.not_before < clock_timestamp())) AND c.max_active > ("
            "SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id "
            "AND a.state IN ('submitting', 'pending', 'running'))))"
        )
    )
    return [row.id for row in rows]
