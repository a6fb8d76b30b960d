"""Retries in the database: a new attempt beside the old one (P6), on request or by the algorithm's own rule.

A statement that waited for a lock uses its old snapshot: it does not see the new attempt that an automatic retry committed meanwhile. So a
second statement reads the locked rows again. The tracker and the workers have attempts locked when they call `follow`, so `follow` waits
for no lock.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy.errors import Conflict, InvalidRequest
from argosy.labels import workflow_name
from argosy.states import UNFINISHED, State
from argosy.store import cursors, holds, notices, placements, requests, revisions, rows, targets
from argosy.store.conditions import TOLD_OF, in_states, retry_due
from argosy.store.revisions import Inputs
from argosy.store.summaries import ALIKE
from argosy.store.targets import Target

FAILED = frozenset({State.FAILED, State.ERROR, State.LOST, State.DELETED, State.CANCELLED})
"""Ends that a retry of failed jobs repeats; `rejected` and `succeeded` are repeated only when they are asked for."""

_FOLLOWED = 1_000
"""Most automatic retries in a transaction that also writes other things."""

_LONGEST_WAIT = 3600.0
"""Seconds; the back-off doubles with each automatic retry up to this."""

_PLACEABLE = (
    f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    "WHERE p.id = a.placement_id AND c.removed_at IS NULL)"
)
"""SQL: whether a registered cluster may take attempt `a`."""

_HELD = holds.in_hold("a")
"""SQL: whether a cluster is held that may have run a later attempt of `a`'s job, which the database has lost."""

_HOPELESS = (
    "(j.cancel_requested OR EXISTS (SELECT FROM argosy.placement p WHERE p.id = a.placement_id AND p.cluster_ids <> '{}' "
    "AND NOT EXISTS (SELECT FROM argosy.cluster c WHERE c.id = ANY (p.cluster_ids) AND c.removed_at IS NULL)))"
)
"""SQL: whether attempt `a` can never be retried: its job was cancelled, or all clusters that it lists were removed. An attempt that is
placed by labels waits instead, because a cluster may get these labels again."""

WIPED = "token: the launch's API token was wiped after its last job had ended; give it again (--token-file)"
"""Message of a retry that needs the token."""


# Show the job again, and tell its next end to who wants to know it.
_SHOW = text(
    f"UPDATE argosy.launch SET hidden = false, untold = {TOLD_OF} WHERE gid = :gid AND (hidden OR {TOLD_OF} AND NOT untold)"
)


SINGLE = "cardinality(j.media_ids) = 1"
"""SQL: whether job `j` has one medium, so that it cannot be split."""


@dataclass(frozen=True)
class Which:
    """Which ended jobs are retried: those in these states that failed alike (the key of a group, `summaries.ALIKE`) and hold one of these
    media; None does not filter. `single`: only those of one medium."""

    states: Collection[State] = FAILED
    error: str | None = None
    media: Sequence[int] | None = None
    single: bool = False

    def sql(self) -> str:
        """SQL: whether attempt `a` of job `j` is one of them; its values are `values`."""
        conditions = [in_states(self.states, "a")]
        if self.error is not None:
            conditions.append(f"{ALIKE} = :error")
        if self.media is not None:
            conditions.append("j.media_ids && CAST(:media AS bigint[])")
        if self.single:
            conditions.append(SINGLE)
        return " AND ".join(conditions)

    def values(self) -> dict[str, Any]:
        """Values of the parameters in `sql`."""
        values = {"error": self.error, "media": None if self.media is None else list(self.media)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Again:
    """What a retry asks for: which ended jobs; the launch's token, sealed, if the old one was wiped or is to be replaced; and what they run
    in place of what they ran, by the number of the revision that they ran (None: the same again)."""

    which: Which = Which()
    sealed: bytes | None = None
    revised: Mapping[int, Inputs] | None = None


def retry(connection: Connection, target: Target, again: Again, first: int = 0) -> tuple[int, int | None]:
    """Give the ended jobs of a batch a new attempt.

    Args:
        connection: In the transaction of `targets.locked`.
        target: A job or a launch.
        again: What is asked for.
        first: The ordinal with which the batch begins.

    Returns:
        How many jobs are queued again, and the ordinal with which the next batch begins; None if there is no next batch.

    Raises:
        Conflict: The launch has no jobs, its cluster was removed, its unfinished jobs still use the present token, or a job ran something
            that `revised` does not name.
        InvalidRequest: The launch's token was wiped and is not given.
        QueueFull: The project has too many queued jobs. The first batch raises it if not all jobs of the launch fit.
    """
    _check_launch(connection, target)
    rows = targets.locked_jobs(connection, target, first, again.which.sql(), again.which.values())
    following = targets.following(connection, target, first)
    if not rows:
        return 0, following
    groups = _groups(connection, target, rows, again.revised)
    clusters = sorted({each for group in groups for each in held_clusters(connection, group.placement)})
    _check_room(connection, target, rows[0].project, len(rows) if first or following is None else None, again.which)
    _renew_token(connection, target, again.sealed)
    for group in groups:
        new_attempts(connection, group.uids, revision=group.revision, placement=group.placement)
    connection.execute(_SHOW, {"gid": target.gid})
    for cluster_id in clusters:
        notices.queue_grew(connection, cluster_id)
    return len(rows), following


@dataclass(frozen=True)
class _Group:
    """Jobs that go to the same clusters, and what they run from now on; None for the same again."""

    uids: list[UUID]
    placement: int
    revision: int | None


def _groups(
    connection: Connection, target: Target, found: Sequence[Row[Any]], revised: Mapping[int, Inputs] | None
) -> list[_Group]:
    groups: dict[tuple[int, int], list[UUID]] = {}
    placed = revisions.placements(connection, target.gid)  # its queue may have been moved since
    for row in found:
        if revised is not None and row.revision not in revised:
            raise Conflict(f"job {row.uid} was retried meanwhile, with other inputs; say it again")
        key = (placed[row.revision], 0) if revised is None else (revised[row.revision].placement_id, row.revision)
        groups.setdefault(key, []).append(row.uid)
    return [
        _Group(uids, placement, None if revised is None else revisions.put(connection, target.gid, revised[number]))
        for (placement, number), uids in sorted(groups.items())
    ]


# Names of the clusters that the placement lists, for the message.
_HELD_CLUSTERS = text(
    "SELECT string_agg(c.name, ', ' ORDER BY c.name) FROM argosy.placement p JOIN argosy.cluster c ON c.id = ANY (p.cluster_ids) "
    "WHERE p.id = :placement"
)


def held_clusters(connection: Connection, placement_id: int) -> list[int]:
    """The clusters that may take jobs of a placement. Their rows are locked, so that none is removed meanwhile.

    Raises:
        Conflict: There is none.
    """
    clusters = placements.held(connection, placement_id)
    if clusters:
        return clusters
    names = connection.execute(_HELD_CLUSTERS, {"placement": placement_id}).scalar_one()
    raise Conflict(
        f"cluster {names or 'that they may run on'} was removed, and no other may take these jobs; launch the media again"
    )


# Whether the project has a cap.
_BOUNDED = text("SELECT 1 FROM argosy.project WHERE id = :project AND max_queued IS NOT NULL")


def _check_room(connection: Connection, target: Target, project: int, jobs: int | None, which: Which) -> None:
    """Check the project's cap for so many jobs. If `jobs` is None, for all such jobs of the launch; they are counted only if there is a
    cap."""
    capped = _BOUNDED
    if connection.execute(capped, {"project": project}).one_or_none() is None:
        return
    if jobs is None:
        statement = text(
            "SELECT count(*) FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"WHERE j.gid = :gid AND {which.sql()}"
        )
        jobs = int(connection.execute(statement, vars(target) | which.values()).scalar_one())
    requests.check_room(cursors.OwnCursor(connection), project, target.gid, jobs)


# Lock attempts in the order of their keys, so that there is no deadlock.
_LOCK = text(
    f"SELECT FROM argosy.attempt a JOIN {rows.KEYS} ON a.uid = k.uid AND a.number = k.number ORDER BY a.uid, a.number FOR UPDATE OF a"
)


def lock_attempts(connection: Connection, keys: str) -> None:
    """Lock attempts in the order of their keys, before their state is read: a cancel and a retry lock them too.

    Args:
        connection: In a transaction.
        keys: From `rows.keys`.
    """
    connection.execute(_LOCK, {"keys": keys})


# Jobs whose newest attempt failed and that have retries left.
_NEXT = text(
    f"SELECT a.uid, {_HOPELESS} AS hopeless FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
    f"WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND {retry_due('a')} AND ({_PLACEABLE} AND NOT {_HELD} OR {_HOPELESS}) "
    "ORDER BY a.uid FOR NO KEY UPDATE OF a SKIP LOCKED"
)


def follow(connection: Connection, uids: Sequence[UUID] | None = None) -> int:
    """Automatic retry: give attempts that ended `error` or `lost` their next one, after the algorithm's back-off.

    Called in the same transaction that writes such an end, with the jobs that ended, so that readers never see a job as ended that is tried
    again. It waits for no lock. Jobs that it must skip (locked by another transaction, or no cluster can take them now) are left to
    housekeeping. If the next attempt of a job cannot be written, that job gets no more automatic retries, and the others are not affected.

    Args:
        connection: In a transaction.
        uids: Only these jobs; None for a batch of all that are due for a retry.

    Returns:
        How many were queued again or given up.
    """
    if uids is not None and not uids:
        return 0
    among = "" if uids is None else "AND j.uid = ANY (CAST(:uids AS uuid[]))"
    found = connection.execute(
        text(
            "SELECT j.uid, a.placement_id FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"JOIN argosy.launch l ON l.gid = j.gid WHERE {retry_due('a')} AND ({_PLACEABLE} AND NOT {_HELD} OR {_HOPELESS}) {among} "
            # Lock the launch's key too, so that retention does not delete it meanwhile.
            "ORDER BY a.finished_at LIMIT :limit FOR NO KEY UPDATE OF j SKIP LOCKED FOR KEY SHARE OF l SKIP LOCKED"
        ),
        {"uids": uids and list(uids), "limit": _FOLLOWED if uids is None else len(uids)},
    ).all()
    for placement_id in sorted({row.placement_id for row in found}):
        placements.held(connection, placement_id)
    rows = connection.execute(_NEXT, {"uids": [row.uid for row in found]}).all()
    _give_up(connection, [row.uid for row in rows if row.hopeless], "")
    _follow_each(connection, [row.uid for row in rows if not row.hopeless])
    return len(rows)


def _follow_each(connection: Connection, uids: list[UUID]) -> None:
    """Write all in one statement. If the database refuses it, write each half separately, and so on, until the refused job is alone."""
    if not uids:
        return
    try:
        with connection.begin_nested():
            new_attempts(connection, uids, manual=False)
    except OperationalError:
        raise
    except DBAPIError as error:
        from structlog.stdlib import (
            get_logger,
        )  # only trackers come here, and callers' processes begin faster without it

        if len(uids) > 1:
            half = len(uids) // 2
            _follow_each(connection, uids[:half])
            _follow_each(connection, uids[half:])
        else:
            for row in _give_up(connection, uids, " (its next attempt could not be written; try: argosy retry)"):
                get_logger(__name__).error(
                    "an automatic retry could not be written",
                    workflow=workflow_name(row.uid, row.number),
                    gid=row.gid,
                    cluster=row.cluster,
                    reason=str(error.orig),
                )


# No more automatic retries of this job.
_GIVE_UP = text(
    "UPDATE argosy.attempt a SET retries_left = 0, message = a.message || :words FROM argosy.job j "
    "WHERE j.uid = ANY (CAST(:uids AS uuid[])) AND a.uid = j.uid AND a.number = j.attempt "
    "RETURNING a.uid, a.number, a.gid, (SELECT name FROM argosy.cluster c WHERE c.id = a.cluster_id) AS cluster"
)


def _give_up(connection: Connection, uids: list[UUID], words: str) -> Sequence[Row[Any]]:
    """Returns the attempts, each with the name of its cluster."""
    return connection.execute(_GIVE_UP, {"uids": uids, "words": words}).all() if uids else []


# A copy of the newest attempt, with the next number; of another revision, if one is given.
_NEW_ATTEMPT = text(
    "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, cluster_id, "
    "not_before, message, retries_left, revision) SELECT a.uid, a.number + 1, a.gid, a.project, a.user_id, "
    "coalesce(r.algorithm_id, a.algorithm_id), a.priority, "
    f"p.id, {placements.SOLE}, clock_timestamp() + make_interval(secs => CASE WHEN :manual THEN 0 ELSE "
    # The exponent is the number of automatic retries since the first attempt or the last manual retry. Without the bound the power
    # overflows.
    "least(l.retry_backoff * 2 ^ least(greatest(l.max_attempts - 1 - a.retries_left, 0), 12), :longest) END), "
    "'attempt ' || a.number || ' ended ' || a.state || CASE WHEN a.message = '' THEN '' ELSE ': ' || a.message END, "
    "CASE WHEN :manual THEN l.max_attempts - 1 ELSE a.retries_left - 1 END, coalesce(r.number, a.revision) "
    "FROM unnest(CAST(:uids AS uuid[])) AS u (uid) JOIN argosy.job j ON j.uid = u.uid "
    "JOIN argosy.attempt a ON a.uid = u.uid AND a.number = j.attempt "
    "JOIN argosy.launch l ON l.gid = j.gid "
    "LEFT JOIN argosy.revision r ON r.gid = j.gid AND r.number = CAST(:revision AS int) "
    "JOIN argosy.placement p ON p.id = coalesce(CAST(:placement AS int), a.placement_id) ORDER BY j.gid, j.ordinal"
)

# The old attempt has no retries left.
_SPENT = text(
    "UPDATE argosy.attempt a SET retries_left = 0 FROM unnest(CAST(:uids AS uuid[])) AS u (uid), argosy.job j "
    "WHERE j.uid = u.uid AND a.uid = u.uid AND a.number = j.attempt AND a.retries_left > 0"
)

# The job points to its newest attempt. A retry undoes a cancel.
_NEWEST = text(
    "UPDATE argosy.job SET attempt = attempt + 1, cancel_requested = false, hidden = hidden AND NOT :manual "
    "WHERE uid = ANY (CAST(:uids AS uuid[]))"
)


def new_attempts(
    connection: Connection,
    uids: list[UUID],
    manual: bool = True,
    revision: int | None = None,
    placement: int | None = None,
) -> None:
    """Insert the next attempt of each job. A manual retry is queued at once, and may have as many automatic retries as a first attempt. An
    automatic retry is delayed, longer each time. They run the same as before, or a revision of their launch, on the same clusters or those
    of a placement."""
    parameters: dict[str, Any] = {"uids": uids, "manual": manual, "revision": revision, "placement": placement}
    parameters["longest"] = _LONGEST_WAIT
    connection.execute(_NEW_ATTEMPT, parameters)
    connection.execute(_SPENT, parameters)
    connection.execute(_NEWEST, parameters)


# What decides whether a launch can be retried.
_STATE = text(
    "SELECT state, reason, request_digest = '' AS recovered, "
    "EXISTS (SELECT FROM argosy.job j WHERE j.gid = l.gid) AS cut FROM argosy.launch l WHERE gid = :gid"
)


def _check_launch(connection: Connection, target: Target) -> None:
    row = connection.execute(_STATE, {"gid": target.gid}).one()
    if row.state in {"accepted", "resolved"}:
        raise Conflict(f"launch {target.gid} is not cut into jobs yet; there is nothing to retry")
    if row.recovered:
        raise Conflict(f"launch {target.gid} was {row.reason}; to run its media again, make a new launch")
    if not row.cut:
        raise Conflict(f"launch {target.gid} was {row.state} and has no jobs ({row.reason}); make a new launch")


# The launch's token now.
_TOKEN = text("SELECT token_wiped, token_sealed FROM argosy.launch WHERE gid = :gid")

# Whether jobs run with it now.
_IN_USE = text(f"SELECT EXISTS (SELECT FROM argosy.attempt WHERE gid = :gid AND {in_states(UNFINISHED)})")

# The token that its jobs get from now on.
_RENEW = text("UPDATE argosy.launch SET token_sealed = :sealed, token_wiped = false WHERE gid = :gid")

# Secrets with the old token are deleted.
_RENEW_SECRETS = text("UPDATE argosy.launch_secret SET deleting = true WHERE gid = :gid")


def _renew_token(connection: Connection, target: Target, sealed: bytes | None) -> None:
    row = connection.execute(_TOKEN, {"gid": target.gid}).one()
    if sealed is None:
        if row.token_wiped:
            raise InvalidRequest(WIPED)
        return
    if row.token_sealed == sealed:
        return  # an earlier batch of this retry has written it
    in_use = connection.execute(_IN_USE, {"gid": target.gid}).scalar_one()
    if in_use:
        raise Conflict("token: unfinished jobs of this launch use its present token; leave the token out, or wait")
    connection.execute(_RENEW, {"gid": target.gid, "sealed": sealed})
    # Secrets with the old token are deleted first; the jobs wait for that.
    connection.execute(_RENEW_SECRETS, {"gid": target.gid})
