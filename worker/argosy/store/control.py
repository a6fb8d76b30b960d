"""Cancel and retry as rows.

A cancel is a flag that the claim, the record and the tracker obey, because nobody but them knows whether a workflow exists at that moment
(design §5.5); only what is queued ends on the spot. A retry is a new attempt beside the old one (design §5.6). Both begin with the lock of
the launch's row, which the expansion holds too: a job is either not there yet, and the expansion will obey, or it is there.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.store import launches, placements, reading

RETRIED = ("failed", "error", "lost", "deleted", "cancelled")
"""Ends that a retry of what failed goes for; `rejected` and `succeeded` only when everything is asked for."""

QUEUE_CHANNEL = "argosy_queue"
"""NOTIFY channel whose payload is the id of a cluster whose queue grew."""

_LONGEST_WAIT = 3600.0
"""Seconds; the back-off doubles with each attempt up to this."""

_CANCELLED_EARLY = "cancelled before it was submitted"


@dataclass(frozen=True)
class Target:
    """What is meant: a job (`uid`), all jobs of a launch (`gid`), or all of a project. `ordinal` is a job's without a row yet."""

    gid: UUID | None = None
    uid: UUID | None = None
    project: int | None = None
    ordinal: int | None = None


@dataclass(frozen=True)
class Cancelled:
    """What a cancel came to, in jobs: ended on the spot, to be ended on their clusters, had ended before."""

    cancelled: int
    cancelling: int
    ended: int


def locked(connection: Connection, key: UUID | None, project: int | None) -> Target:
    """Find what a caller means and lock its launch's row until the transaction ends.

    Args:
        connection: In a transaction.
        key: uid of a job or gid of a launch; None for all of the project.
        project: Only if it belongs to this project.

    Raises:
        NotFound: There is no such job or launch.
        InvalidRequest: Neither is given.
    """
    # An expansion of a million jobs holds the lock for a while, and a cancel is worth waiting for.
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    if key is None:
        if project is None:
            raise InvalidRequest("say which: a job's uid, a launch's gid, or a project")
        return Target(project=project)
    found = _target(connection, key)
    if found is None or not _lock_launch(connection, found, project):
        raise NotFound(f"{key} is no job and no launch" + ("" if project is None else f" of project {project}"))
    # The launch may have been expanded between the look and the lock.
    return _target(connection, key) or found


def _target(connection: Connection, key: UUID) -> Target | None:
    row = connection.execute(
        text(
            # A job first: whoever has its uid must not meet somebody's launch that took it for its gid.
            "SELECT gid, uid FROM argosy.job WHERE uid = :key "
            "UNION ALL SELECT gid, CAST(NULL AS uuid) AS uid FROM argosy.launch WHERE gid = :key LIMIT 1"
        ),
        {"key": key},
    ).one_or_none()
    if row is not None:
        return Target(gid=row.gid, uid=row.uid)
    early = reading.early(connection, key)
    return None if early is None else Target(gid=early.gid, uid=key, ordinal=early.ordinal)


def _lock_launch(connection: Connection, found: Target, project: int | None) -> bool:
    row = connection.execute(
        text("SELECT project FROM argosy.launch WHERE gid = :gid FOR NO KEY UPDATE"), {"gid": found.gid}
    ).one_or_none()
    return row is not None and project in (None, row.project)


def cancel(connection: Connection, target: Target) -> Cancelled:
    """Cancel what has not ended, waiting automatic retries included. Doing it again changes nothing."""
    if target.ordinal is not None:
        noted = connection.execute(
            text(
                "INSERT INTO argosy.early_cancel (gid, ordinal) SELECT gid, :ordinal FROM argosy.launch "
                "WHERE gid = :gid AND state IN ('accepted', 'resolved') ON CONFLICT DO NOTHING"
            ),
            vars(target),
        ).rowcount
        return Cancelled(noted, 0, 1 - noted)
    if target.uid is None:
        _cancel_launches(connection, target)
    rows = connection.execute(
        text(
            "SELECT a.uid, a.number, a.state FROM argosy.attempt a JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
            f"WHERE {_where(target)} AND (a.state IN ('queued', 'submitting', 'pending', 'running') "
            "OR (a.retries_left > 0 AND a.state IN ('error', 'lost'))) ORDER BY a.uid FOR UPDATE OF a, j"
        ),
        vars(target),
    ).all()
    unfinished = [row for row in rows if row.state not in {"error", "lost"}]
    connection.execute(
        text("UPDATE argosy.job SET cancel_requested = true WHERE uid = ANY (CAST(:uids AS uuid[]))"),
        {"uids": [row.uid for row in unfinished]},
    )
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET retries_left = 0, "
            "state = CASE WHEN a.state = 'queued' THEN 'cancelled' ELSE a.state END, "
            "message = CASE WHEN a.state = 'queued' THEN :message ELSE a.message END, "
            "finished_at = CASE WHEN a.state = 'queued' THEN clock_timestamp() ELSE a.finished_at END, "
            "as_of = CASE WHEN a.state = 'queued' THEN clock_timestamp() ELSE a.as_of END "
            "FROM unnest(CAST(:uids AS uuid[]), CAST(:numbers AS int[])) AS c (uid, number) "
            "WHERE a.uid = c.uid AND a.number = c.number"
        ),
        {"uids": [row.uid for row in rows], "numbers": [row.number for row in rows], "message": _CANCELLED_EARLY},
    )
    queued = sum(row.state == "queued" for row in rows)
    ended = 0 if target.project is not None else _count(connection, target) - len(unfinished)
    return Cancelled(queued, len(unfinished) - queued, ended)


def _cancel_launches(connection: Connection, target: Target) -> None:
    """Launches that are not cut yet end here: no further jobs of them are made, and their tokens go, unless jobs need them."""
    connection.execute(
        text(
            "UPDATE argosy.launch SET state = 'cancelled', reason = 'cancelled before it was cut into jobs', claim_worker = NULL, "
            "token_wiped = token_sealed IS NOT NULL AND expanded_jobs = 0, "
            "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END, jobs = expanded_jobs "
            f"WHERE {'project = :project' if target.gid is None else 'gid = :gid'} "
            "AND state IN ('accepted', 'resolved')"
        ),
        vars(target),
    )


def hide(connection: Connection, target: Target) -> None:
    """Leave a job, or a launch with its jobs, out of default lists."""
    connection.execute(
        text("UPDATE argosy.early_cancel SET hidden = true WHERE gid = :gid AND ordinal = :ordinal"), vars(target)
    )
    connection.execute(text(f"UPDATE argosy.job j SET hidden = true WHERE {_where(target)}"), vars(target))
    if target.uid is None:
        connection.execute(text("UPDATE argosy.launch SET hidden = true WHERE gid = :gid"), vars(target))


def retry(connection: Connection, target: Target, failed_only: bool, sealed: bytes | None) -> int:
    """Give what has ended a new attempt.

    Args:
        connection: In the transaction of `locked`.
        target: A job or a launch.
        failed_only: Only what did not succeed and was not rejected; else whatever has ended.
        sealed: The launch's token anew, sealed.

    Returns:
        How many jobs are queued again.

    Raises:
        Conflict: The launch has no jobs, its cluster was removed, or its unfinished jobs still use the present token.
        InvalidRequest: The launch's token was wiped and is not given.
        QueueFull: The project has too many queued jobs.
    """
    _check_launch(connection, target)
    states = RETRIED if failed_only else (*RETRIED, "rejected", "succeeded")
    rows = connection.execute(
        text(
            f"SELECT j.uid, j.gid, j.project, a.number, a.placement_id, c.name AS cluster, {_placeable()} AS placeable "
            "FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            f"LEFT JOIN argosy.cluster c ON c.id = a.cluster_id WHERE {_where(target)} AND a.state = ANY (:states) "
            "ORDER BY j.ordinal FOR UPDATE OF a, j"
        ),
        vars(target) | {"states": list(states)},
    ).all()
    if removed := {row.cluster or "that they may run on" for row in rows if not row.placeable}:
        raise Conflict(
            f"cluster {', '.join(sorted(removed))} was removed, and no other may take these jobs; launch the media anew"
        )
    if not rows:
        return 0
    launches.check_room(launches.OwnCursor(connection), rows[0].project, rows[0].gid, len(rows))
    _renew_token(connection, target, sealed)
    _new_attempts(connection, [row.uid for row in rows], 0.0)
    connection.execute(text("UPDATE argosy.launch SET hidden = false WHERE gid = :gid"), {"gid": target.gid})
    for cluster_id in placements.clusters(connection, list({row.placement_id for row in rows})):
        connection.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": QUEUE_CHANNEL, "id": str(cluster_id)})
    return len(rows)


def follow(connection: Connection) -> int:
    """Automatic retry: give attempts that ended `error` or `lost` their next one, after the algorithm's back-off.

    Called in the very transaction that writes such an end, so that a job that is tried again is never seen ended in between.

    Returns:
        How many.
    """
    rows = connection.execute(
        text(
            "SELECT a.uid, a.number, l.retry_backoff FROM argosy.attempt a "
            "JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number JOIN argosy.launch l ON l.gid = a.gid "
            "WHERE a.retries_left > 0 AND a.state IN ('error', 'lost') "
            f"AND {_placeable()} AND NOT j.cancel_requested ORDER BY a.uid FOR UPDATE OF a, j SKIP LOCKED"
        )
    ).all()
    by_wait: dict[float, list[UUID]] = {}
    for row in rows:
        by_wait.setdefault(min(row.retry_backoff * 2 ** (row.number - 1), _LONGEST_WAIT), []).append(row.uid)
    for wait, uids in by_wait.items():
        _new_attempts(connection, uids, wait, manual=False)
    return len(rows)


def _new_attempts(connection: Connection, uids: list[UUID], wait: float, manual: bool = True) -> None:
    """The next attempt of each job. One that somebody asked for may be followed by as many automatic ones as the first."""
    parameters: dict[str, Any] = {"uids": uids, "wait": wait, "manual": manual}
    connection.execute(
        text(
            "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, cluster_id, "
            "not_before, message, retries_left) SELECT a.uid, a.number + 1, a.gid, a.project, a.user_id, a.algorithm_id, a.priority, "
            f"a.placement_id, {placements.SOLE}, clock_timestamp() + make_interval(secs => :wait), "
            "'attempt ' || a.number || ' ended ' || a.state || CASE WHEN a.message = '' THEN '' ELSE ': ' || a.message END, "
            "CASE WHEN :manual THEN l.max_attempts - 1 ELSE a.retries_left - 1 END "
            "FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt "
            "JOIN argosy.launch l ON l.gid = j.gid JOIN argosy.placement p ON p.id = a.placement_id "
            "WHERE j.uid = ANY (CAST(:uids AS uuid[])) ORDER BY j.gid, j.ordinal"
        ),
        parameters,
    )
    connection.execute(
        text(
            "UPDATE argosy.attempt a SET retries_left = 0 FROM argosy.job j WHERE j.uid = ANY (CAST(:uids AS uuid[])) "
            "AND a.uid = j.uid AND a.number = j.attempt"
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


def _placeable() -> str:
    """SQL: whether a registered cluster may take attempt `a`."""
    return (
        f"EXISTS (SELECT FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
        "WHERE p.id = a.placement_id AND c.removed_at IS NULL)"
    )


def _check_launch(connection: Connection, target: Target) -> None:
    row = connection.execute(
        text("SELECT state, reason FROM argosy.launch WHERE gid = :gid"), {"gid": target.gid}
    ).one()
    if row.state in {"accepted", "resolved"}:
        raise Conflict(f"launch {target.gid} is not cut into jobs yet; there is nothing to retry")
    if row.state != "expanded":
        raise Conflict(f"launch {target.gid} was {row.state} before it had all its jobs ({row.reason}); launch anew")


def _renew_token(connection: Connection, target: Target, sealed: bytes | None) -> None:
    wiped = connection.execute(
        text("SELECT token_wiped FROM argosy.launch WHERE gid = :gid"), {"gid": target.gid}
    ).scalar_one()
    if sealed is None:
        if wiped:
            raise InvalidRequest(
                "token: the launch's API token was wiped after its last job had ended; give it anew (--token-file)"
            )
        return
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


def _count(connection: Connection, target: Target) -> int:
    statement = text(f"SELECT count(*) FROM argosy.job j WHERE {_where(target)}")
    return int(connection.execute(statement, vars(target)).scalar_one())


def _where(target: Target) -> str:
    if target.uid is not None:
        return "j.uid = :uid"
    return (
        "j.gid = :gid"
        if target.gid is not None
        else "j.gid IN (SELECT gid FROM argosy.launch WHERE project = :project)"
    )
