"""Cancel and retry as rows.

A cancel is a flag that the claim, the record and the tracker obey, because nobody but them knows whether a workflow exists at that moment
(design §5.5); only what is queued ends on the spot. A retry is a new attempt beside the old one (design §5.6). Both begin with the lock of
the launch's row, which the expansion holds too: a job is either not there yet, and the expansion will obey, or it is there.

A launch may have millions of jobs, so both go through it a batch a transaction: whoever writes status waits for one batch at most. And a
statement that waits for a lock goes on with the eyes of before it waited, so what is locked is read again by the next one: an automatic
retry that committed meanwhile is a row that the first never sees. Locks are taken in one order: launch, jobs by uid, attempts by uid,
project. The tracker and the workers hold attempts when they come to `follow`, which therefore waits for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.store import holds, launches, placements, reading
from argosy.store.tables import DELAYED, READY

RETRIED = ("failed", "error", "lost", "deleted", "cancelled")
"""Ends that a retry of what failed goes for; `rejected` and `succeeded` only when everything is asked for."""

BATCH = 2_000
"""Jobs of a launch that one transaction goes through, by their ordinals."""

_FOLLOWED = 1_000
"""Automatic retries of one transaction that has others than its own to write."""

_LONGEST_WAIT = 3600.0
"""Seconds; the back-off doubles with each automatic retry up to this."""

_CANCELLED_EARLY = "cancelled before it was submitted"

_UNFINISHED = "a.state IN ('queued', 'submitting', 'pending', 'running')"

_TO_FOLLOW = "a.retries_left > 0 AND a.state IN ('error', 'lost')"

_PLACEABLE = (
    f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    "WHERE p.id = a.placement_id AND c.removed_at IS NULL)"
)
"""SQL: whether a registered cluster may take attempt `a`."""

_HELD = holds.in_hold("a")
"""SQL: whether a cluster is held that may have run a later attempt of `a`'s job, in what the database has lost."""

_MAY_HAVE_RUN = (
    f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    "WHERE p.id = a.placement_id AND c.removed_at IS NULL AND c.held_at > a.queued_at)"
)
"""SQL: whether queued attempt `a` is from before a hold: its workflow may be there, and then says how it ended."""

_HOPELESS = (
    "(j.cancel_requested OR EXISTS (SELECT FROM argosy.placement p WHERE p.id = a.placement_id AND p.cluster_ids <> '{}' "
    "AND NOT EXISTS (SELECT FROM argosy.cluster c WHERE c.id = ANY (p.cluster_ids) AND c.removed_at IS NULL)))"
)
"""SQL: whether attempt `a` will never be followed: its job was cancelled, or all clusters that it names were removed. One that goes by
labels waits, because a cluster may get them back."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Target:
    """What is meant: a job (`uid`), or all jobs of a launch. `ordinal` is a job's without a row yet."""

    gid: UUID
    uid: UUID | None = None
    ordinal: int | None = None


@dataclass(frozen=True)
class Cancelled:
    """What a cancel came to, in jobs: ended on the spot, to be ended on their clusters, had ended before. And in `launches` that end before
    they were cut into jobs."""

    cancelled: int = 0
    cancelling: int = 0
    ended: int = 0
    launches: int = 0

    def __add__(self, other: "Cancelled") -> "Cancelled":
        return Cancelled(
            self.cancelled + other.cancelled,
            self.cancelling + other.cancelling,
            self.ended + other.ended,
            self.launches + other.launches,
        )


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
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    found = _target(connection, key, project)
    if found is None or not _lock_launch(connection, found):
        of = "" if project is None else f" of project {project}"
        raise NotFound(f"{key} is no job and no launch{of}; see: argosy list")
    # The launch may have been expanded between the look and the lock.
    return _target(connection, key, project) or found


def _target(connection: Connection, key: UUID, project: int | None) -> Target | None:
    """A job comes first: a launch may have been given any gid, also one that is the uid of somebody else's job."""
    row = connection.execute(
        text(
            "SELECT gid, uid FROM (SELECT gid, uid, project FROM argosy.job WHERE uid = :key "
            "UNION ALL SELECT gid, NULL, project FROM argosy.launch WHERE gid = :key) t "
            "WHERE project = coalesce(:project, project) ORDER BY uid NULLS LAST LIMIT 1"
        ),
        {"key": key, "project": project},
    ).one_or_none()
    if row is not None:
        return Target(row.gid, row.uid)
    early = reading.early(connection, key)
    if early is None or project not in (None, early.project):
        return None
    return Target(early.gid, key, early.ordinal)


def _lock_launch(connection: Connection, found: Target) -> bool:
    statement = text("SELECT 1 FROM argosy.launch WHERE gid = :gid FOR NO KEY UPDATE")
    return connection.execute(statement, {"gid": found.gid}).one_or_none() is not None


def unended(connection: Connection, project: int) -> list[UUID]:
    """The launches of a project of which something is to be cancelled, those that are not cut yet first."""
    queued = "SELECT a.gid FROM argosy.placement p JOIN argosy.attempt a ON a.placement_id = p.id AND a.project = :project AND {}"
    rows = connection.execute(
        text(
            # Each part by an index of its own, which holds nothing that has ended.
            "SELECT gid, 0 AS turn FROM argosy.launch WHERE project = :project AND state IN ('accepted', 'resolved') "
            "UNION SELECT gid, 1 FROM argosy.attempt WHERE project = :project AND state IN ('submitting', 'pending', 'running') "
            f"UNION SELECT gid, 1 FROM argosy.attempt a WHERE project = :project AND {_TO_FOLLOW} "
            f"UNION SELECT gid, 1 FROM ({queued.format(READY)} UNION ALL {queued.format(DELAYED)}) q ORDER BY turn"
        ),
        {"project": project},
    )
    return list(dict.fromkeys(row.gid for row in rows))


def cancel(connection: Connection, target: Target, first: int = 0, hide: bool = False) -> tuple[Cancelled, int | None]:
    """Cancel what has not ended of a batch, waiting automatic retries included. Doing it again changes nothing.

    Args:
        connection: In the transaction of `locked`.
        target: A job or a launch.
        first: The ordinal with which the batch begins; the launch itself ends with the first batch.
        hide: Also leave it out of default lists.

    Returns:
        What it came to, and with which ordinal the next batch begins; None where there is none.
    """
    if target.ordinal is not None:
        return _cancel_early(connection, target, hide), None
    ended_launches = 0
    if target.uid is None and first == 0:
        ended_launches = end_launch(connection, target.gid, "cancelled", "cancelled before it was cut into jobs")
        if hide:
            connection.execute(text("UPDATE argosy.launch SET hidden = true WHERE gid = :gid"), vars(target))
    rows = _locked_jobs(connection, target, first, f"({_UNFINISHED} OR {_TO_FOLLOW})")
    unfinished = [row for row in rows if row.state not in {"error", "lost"}]
    connection.execute(
        text("UPDATE argosy.job SET cancel_requested = true WHERE uid = ANY (CAST(:uids AS uuid[]))"),
        {"uids": [row.uid for row in unfinished]},
    )
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET retries_left = 0, "
            "state = CASE WHEN c.here THEN 'cancelled' ELSE a.state END, "
            "message = CASE WHEN c.here THEN :message ELSE a.message END, "
            "finished_at = CASE WHEN c.here THEN clock_timestamp() ELSE a.finished_at END, "
            "as_of = CASE WHEN c.here THEN clock_timestamp() ELSE a.as_of END "
            "FROM unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[]), CAST(:here AS boolean[])) AS c (uid, number, here) "
            "WHERE a.uid = c.uid AND a.number = c.number"
        ),
        {
            "uids": [row.uid for row in rows],
            "numbers": [row.number for row in rows],
            "here": [row.here for row in rows],
            "message": _CANCELLED_EARLY,
        },
    )
    if hide:
        statement = text(f"UPDATE argosy.job j SET hidden = true WHERE {_batch(target)} AND NOT hidden")
        connection.execute(statement, _parameters(target, first))
    queued = sum(row.here for row in rows)
    ended = _count(connection, target, first) - len(unfinished)
    return Cancelled(queued, len(unfinished) - queued, ended, ended_launches), _next(connection, target, first)


def _cancel_early(connection: Connection, target: Target, hide: bool) -> Cancelled:
    noted = connection.execute(
        text(
            "INSERT INTO argosy.early_cancel (gid, ordinal) SELECT gid, :ordinal FROM argosy.launch "
            "WHERE gid = :gid AND state IN ('accepted', 'resolved') ON CONFLICT DO NOTHING"
        ),
        vars(target),
    ).rowcount
    if hide:
        statement = text("UPDATE argosy.early_cancel SET hidden = true WHERE gid = :gid AND ordinal = :ordinal")
        connection.execute(statement, vars(target))
    return Cancelled(cancelled=noted, ended=1 - noted)


def end_launch(connection: Connection, gid: UUID, state: str, reason: str) -> int:
    """A launch that is not cut, or not to its end, is cut no further; without a job its token goes at once.

    Args:
        connection: In a transaction.
        gid: Which.
        state: `cancelled` or `rejected`.
        reason: For people.

    Returns:
        0 where it had ended or was cut to its end.
    """
    return connection.execute(
        text(
            "UPDATE argosy.launch SET state = :state, reason = :reason, claim_worker = NULL, jobs = expanded_jobs, "
            "token_wiped = token_wiped OR (token_sealed IS NOT NULL AND expanded_jobs = 0), "
            "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END "
            "WHERE gid = :gid AND state IN ('accepted', 'resolved')"
        ),
        {"gid": gid, "state": state, "reason": reason},
    ).rowcount


def _locked_jobs(connection: Connection, target: Target, first: int, wanted: str) -> Sequence[Row[Any]]:
    """Lock the jobs of a batch whose newest attempt is `wanted`, and those attempts: uid, number, state, gid, project, placement_id and
    whether it is `here` alone, on no cluster.

    Who it may be, is looked for without a lock; then they are locked by what never changes; then it is asked again what they are.
    """
    # Each a look at one row, or the planner, which knows nothing of the batch, would rather read all that are in such a state.
    newest = f"(SELECT * FROM argosy.attempt a WHERE uid = j.uid AND number = j.attempt AND {wanted} {{}}OFFSET 0) a"
    found = connection.execute(
        text(f"SELECT j.uid FROM argosy.job j CROSS JOIN LATERAL {newest.format('')} WHERE {_batch(target)}"),
        _parameters(target, first),
    ).scalars()
    uids = {"uids": sorted(found)}
    connection.execute(
        text("SELECT FROM argosy.job WHERE uid = ANY (CAST(:uids AS uuid[])) ORDER BY uid FOR NO KEY UPDATE"),
        uids,
    )
    return connection.execute(
        text(
            "SELECT a.uid, a.number, a.state, a.gid, a.project, a.placement_id, "
            f"a.state = 'queued' AND NOT {_MAY_HAVE_RUN} AS here FROM unnest(CAST(:uids AS uuid[])) AS u (uid) "
            "CROSS JOIN LATERAL (SELECT uid, attempt FROM argosy.job WHERE uid = u.uid OFFSET 0) j "
            f"CROSS JOIN LATERAL {newest.format('FOR NO KEY UPDATE ')}"
        ),
        uids,
    ).all()


def retry(
    connection: Connection, target: Target, failed_only: bool, sealed: bytes | None, first: int = 0
) -> tuple[int, int | None]:
    """Give what has ended of a batch a new attempt.

    Args:
        connection: In the transaction of `locked`.
        target: A job or a launch.
        failed_only: Only what did not succeed and was not rejected; else whatever has ended.
        sealed: The launch's token anew, sealed.
        first: The ordinal with which the batch begins.

    Returns:
        How many jobs are queued again, and with which ordinal the next batch begins; None where there is none.

    Raises:
        Conflict: The launch has no jobs, its cluster was removed, or its unfinished jobs still use the present token.
        InvalidRequest: The launch's token was wiped and is not given.
        QueueFull: The project has too many queued jobs: with the first batch, if not all of the launch's fit.
    """
    _check_launch(connection, target)
    ends = RETRIED if failed_only else (*RETRIED, "rejected", "succeeded")
    wanted = "a.state IN (" + ", ".join(f"'{end}'" for end in ends) + ")"
    rows = _locked_jobs(connection, target, first, wanted)
    following = _next(connection, target, first)
    if not rows:
        return 0, following
    clusters = _held_clusters(connection, rows[0].placement_id)
    _check_room(connection, target, rows[0].project, len(rows) if first or following is None else None, wanted)
    _renew_token(connection, target, sealed)
    new_attempts(connection, [row.uid for row in rows])
    connection.execute(text("UPDATE argosy.launch SET hidden = false WHERE gid = :gid AND hidden"), {"gid": target.gid})
    for cluster_id in clusters:
        connection.execute(
            text("SELECT pg_notify(:channel, :id)"), {"channel": placements.QUEUE_CHANNEL, "id": str(cluster_id)}
        )
    return len(rows), following


def _held_clusters(connection: Connection, placement_id: int) -> list[int]:
    """Those that may take the jobs of a launch, which share a placement; none is removed meanwhile."""
    clusters = placements.held(connection, placement_id)
    if clusters:
        return clusters
    names = connection.execute(
        text(
            "SELECT string_agg(c.name, ', ' ORDER BY c.name) FROM argosy.placement p JOIN argosy.cluster c ON c.id = ANY (p.cluster_ids) "
            "WHERE p.id = :placement"
        ),
        {"placement": placement_id},
    ).scalar_one()
    raise Conflict(
        f"cluster {names or 'that they may run on'} was removed, and no other may take these jobs; launch the media anew"
    )


def _check_room(connection: Connection, target: Target, project: int, jobs: int | None, wanted: str) -> None:
    """Of so many jobs, or of all in the launch that are `wanted`, which are counted only where the project has a cap."""
    capped = text("SELECT 1 FROM argosy.project WHERE id = :project AND max_queued IS NOT NULL")
    if connection.execute(capped, {"project": project}).one_or_none() is None:
        return
    if jobs is None:
        statement = text(
            "SELECT count(*) FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"WHERE j.gid = :gid AND {wanted}"
        )
        jobs = int(connection.execute(statement, vars(target)).scalar_one())
    launches.check_room(launches.OwnCursor(connection), project, target.gid, jobs)


def lock_attempts(connection: Connection, uids: Sequence[UUID], numbers: Sequence[int]) -> None:
    """Lock attempts in the order of their keys, before it is asked what they and their jobs are: a cancel and a retry hold them too."""
    connection.execute(
        text(
            "SELECT FROM argosy.attempt a JOIN unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[])) AS c (uid, number) "
            "ON a.uid = c.uid AND a.number = c.number ORDER BY a.uid, a.number FOR UPDATE OF a"
        ),
        {"uids": list(uids), "numbers": list(numbers)},
    )


def follow(connection: Connection, uids: Sequence[UUID] | None = None) -> int:
    """Automatic retry: give attempts that ended `error` or `lost` their next one, after the algorithm's back-off.

    Called in the very transaction that writes such an end, with its jobs, so that a job that is tried again is never seen ended in between;
    there are no more of them than that transaction has written. What is left (its job was locked, or no cluster could take it) is
    housekeeping's. It waits for no job, and one whose next attempt cannot be written is tried again no more and hurts no other.

    Args:
        connection: In a transaction.
        uids: Of these jobs; None for whichever are to be followed, some of them.

    Returns:
        How many were queued again or given up.
    """
    if uids is not None and not uids:
        return 0
    among = "" if uids is None else "AND j.uid = ANY (CAST(:uids AS uuid[]))"
    found = connection.execute(
        text(
            "SELECT j.uid, a.placement_id FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"JOIN argosy.launch l ON l.gid = j.gid WHERE {_TO_FOLLOW} AND ({_PLACEABLE} AND NOT {_HELD} OR {_HOPELESS}) {among} "
            # The launch's key, so that it is not forgotten meanwhile.
            "ORDER BY a.finished_at LIMIT :limit FOR NO KEY UPDATE OF j SKIP LOCKED FOR KEY SHARE OF l SKIP LOCKED"
        ),
        {"uids": uids and list(uids), "limit": _FOLLOWED if uids is None else len(uids)},
    ).all()
    for placement_id in sorted({row.placement_id for row in found}):
        placements.held(connection, placement_id)
    rows = connection.execute(
        text(
            f"SELECT a.uid, {_HOPELESS} AS hopeless FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND {_TO_FOLLOW} AND ({_PLACEABLE} AND NOT {_HELD} OR {_HOPELESS}) "
            "ORDER BY a.uid FOR NO KEY UPDATE OF a SKIP LOCKED"
        ),
        {"uids": [row.uid for row in found]},
    ).all()
    _give_up(connection, [row.uid for row in rows if row.hopeless], "")
    _follow_each(connection, [row.uid for row in rows if not row.hopeless])
    return len(rows)


def _follow_each(connection: Connection, uids: list[UUID]) -> None:
    """All at once, and where the database does not take that, by halves down to the one that it does not take."""
    if not uids:
        return
    try:
        with connection.begin_nested():
            new_attempts(connection, uids, manual=False)
    except OperationalError:
        raise
    except DBAPIError as error:
        if len(uids) > 1:
            half = len(uids) // 2
            _follow_each(connection, uids[:half])
            _follow_each(connection, uids[half:])
        else:
            log.error("a job cannot be tried again by itself", uid=str(uids[0]), reason=str(error.orig))
            _give_up(connection, uids, " (its next attempt could not be written; argosy retry may)")


def _give_up(connection: Connection, uids: list[UUID], words: str) -> None:
    if uids:
        connection.execute(
            text(
                "UPDATE argosy.attempt a SET retries_left = 0, message = a.message || :words FROM argosy.job j "
                "WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND a.uid = j.uid AND a.number = j.attempt"
            ),
            {"uids": uids, "words": words},
        )


def new_attempts(connection: Connection, uids: list[UUID], manual: bool = True) -> None:
    """The next attempt of each job. One that somebody asked for comes at once, and may be followed by as many automatic ones as the first;
    those wait longer from one to the next."""
    parameters: dict[str, Any] = {"uids": uids, "manual": manual, "longest": _LONGEST_WAIT}
    connection.execute(
        text(
            "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, cluster_id, "
            "not_before, message, retries_left) SELECT a.uid, a.number + 1, a.gid, a.project, a.user_id, a.algorithm_id, a.priority, "
            f"a.placement_id, {placements.SOLE}, clock_timestamp() + make_interval(secs => CASE WHEN :manual THEN 0 ELSE "
            # How many automatic ones there were since somebody last asked; without the bound the power overflows.
            "least(l.retry_backoff * 2 ^ least(greatest(l.max_attempts - 1 - a.retries_left, 0), 12), :longest) END), "
            "'attempt ' || a.number || ' ended ' || a.state || CASE WHEN a.message = '' THEN '' ELSE ': ' || a.message END, "
            "CASE WHEN :manual THEN l.max_attempts - 1 ELSE a.retries_left - 1 END "
            "FROM unnest(CAST(:uids AS uuid[])) AS u (uid) JOIN argosy.job j ON j.uid = u.uid "
            "JOIN argosy.attempt a ON a.uid = u.uid AND a.number = j.attempt "
            "JOIN argosy.launch l ON l.gid = j.gid JOIN argosy.placement p ON p.id = a.placement_id ORDER BY j.gid, j.ordinal"
        ),
        parameters,
    )
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET retries_left = 0 FROM unnest(CAST(:uids AS uuid[])) AS u (uid), argosy.job j "
            "WHERE j.uid = u.uid AND a.uid = u.uid AND a.number = j.attempt AND a.retries_left > 0"
        ),
        parameters,
    )
    connection.execute(
        text(
            "UPDATE argosy.job SET attempt = attempt + 1, cancel_requested = false, hidden = hidden AND NOT :manual "
            "WHERE uid = ANY (CAST(:uids AS uuid[]))"
        ),
        parameters,
    )


def _check_launch(connection: Connection, target: Target) -> None:
    row = connection.execute(
        text(
            "SELECT state, reason, request_digest = '' AS recovered, "
            "EXISTS (SELECT FROM argosy.job j WHERE j.gid = l.gid) AS cut FROM argosy.launch l WHERE gid = :gid"
        ),
        {"gid": target.gid},
    ).one()
    if row.state in {"accepted", "resolved"}:
        raise Conflict(f"launch {target.gid} is not cut into jobs yet; there is nothing to retry")
    if row.recovered:
        raise Conflict(f"launch {target.gid} was {row.reason}; to run its media again, launch them anew")
    if not row.cut:
        raise Conflict(f"launch {target.gid} was {row.state} and has no jobs ({row.reason}); launch anew")


def _renew_token(connection: Connection, target: Target, sealed: bytes | None) -> None:
    row = connection.execute(
        text("SELECT token_wiped, token_sealed FROM argosy.launch WHERE gid = :gid"), {"gid": target.gid}
    ).one()
    if sealed is None:
        if row.token_wiped:
            raise InvalidRequest(
                "token: the launch's API token was wiped after its last job had ended; give it anew (--token-file)"
            )
        return
    if row.token_sealed == sealed:
        return  # of an earlier batch
    in_use = connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM argosy.attempt WHERE gid = :gid "
            "AND state IN ('queued', 'submitting', 'pending', 'running'))"
        ),
        {"gid": target.gid},
    ).scalar_one()
    if in_use:
        raise Conflict("token: unfinished jobs of this launch use its present token; leave the token out, or wait")
    connection.execute(
        text("UPDATE argosy.launch SET token_sealed = :sealed, token_wiped = false WHERE gid = :gid"),
        {"gid": target.gid, "sealed": sealed},
    )
    # A Secret with the former token goes first; its jobs wait for that.
    connection.execute(text("UPDATE argosy.launch_secret SET deleting = true WHERE gid = :gid"), {"gid": target.gid})


def _count(connection: Connection, target: Target, first: int) -> int:
    statement = text(f"SELECT count(*) FROM argosy.job j WHERE {_batch(target)}")
    return int(connection.execute(statement, _parameters(target, first)).scalar_one())


def _next(connection: Connection, target: Target, first: int) -> int | None:
    """The ordinal with which the next batch begins."""
    if target.uid is not None:
        return None
    statement = text("SELECT max(ordinal) FROM argosy.job WHERE gid = :gid")
    last: int | None = connection.execute(statement, vars(target)).scalar_one()
    return first + BATCH if last is not None and last >= first + BATCH else None


def _batch(target: Target) -> str:
    return "j.uid = :uid" if target.uid is not None else "j.gid = :gid AND j.ordinal BETWEEN :first AND :last"


def _parameters(target: Target, first: int) -> dict[str, Any]:
    return vars(target) | {"first": first, "last": first + BATCH - 1}
