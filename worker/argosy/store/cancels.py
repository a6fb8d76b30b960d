"""A cancel in the database (P5). It ends queued jobs at once. For all others it sets a flag: only the code that claims jobs, records
creates or tracks workflows knows whether a workflow exists at that moment, so that code acts on the flag."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.states import ACTIVE, UNFINISHED
from argosy.store import notices, rows, targets
from argosy.store.conditions import DELAYED, READY, in_states, retry_due
from argosy.store.targets import Target

CANCELLED_EARLY = "cancelled before it was submitted"
"""Message of an attempt that was cancelled before it had a workflow."""


@dataclass(frozen=True)
class Cancelled:
    """Result of a cancel, as numbers of jobs: those that it ended at once, those that will end on their clusters, those that had ended
    before. `launches` counts launches that it ended before they were cut into jobs."""

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


def unended(connection: Connection, project: int) -> list[UUID]:
    """The launches of a project that have something to cancel; those that are not cut yet come first."""
    queued = "SELECT a.gid FROM argosy.placement p JOIN argosy.attempt a ON a.placement_id = p.id AND a.project = :project AND {}"
    rows = connection.execute(
        text(
            # Each part uses its own partial index, which has no ended rows.
            "SELECT gid, 0 AS turn FROM argosy.launch WHERE project = :project AND state IN ('accepted', 'resolved') "
            f"UNION SELECT gid, 1 FROM argosy.attempt WHERE project = :project AND {in_states(ACTIVE)} "
            f"UNION SELECT gid, 1 FROM argosy.attempt a WHERE project = :project AND {retry_due('a')} "
            f"UNION SELECT gid, 1 FROM ({queued.format(READY)} UNION ALL {queued.format(DELAYED)}) q ORDER BY turn"
        ),
        {"project": project},
    )
    return list(dict.fromkeys(row.gid for row in rows))


# Hide the job from lists.
_HIDE_LAUNCH = text("UPDATE argosy.launch SET hidden = true WHERE gid = :gid")

# Jobs to cancel.
_REQUEST = text("UPDATE argosy.job SET cancel_requested = true WHERE uid = ANY (CAST(:uids AS uuid[]))")

# Jobs on no cluster end here at once; the others end on their cluster first.
_CANCEL = text(
    "UPDATE argosy.attempt a SET retries_left = 0, "
    "state = CASE WHEN c.here THEN 'cancelled' ELSE a.state END, "
    "message = CASE WHEN c.here THEN :message ELSE a.message END, "
    "finished_at = CASE WHEN c.here THEN clock_timestamp() ELSE a.finished_at END, "
    "as_of = CASE WHEN c.here THEN clock_timestamp() ELSE a.as_of END "
    "FROM json_to_recordset(CAST(:rows AS json)) AS c (uid uuid, number int, here boolean) "
    "WHERE a.uid = c.uid AND a.number = c.number"
)


def cancel(connection: Connection, target: Target, first: int = 0, hide: bool = False) -> tuple[Cancelled, int | None]:
    """Cancel the jobs of a batch that have not ended, including those that wait for an automatic retry. Doing it again changes nothing.

    Args:
        connection: In the transaction of `targets.locked`.
        target: A job or a launch.
        first: The ordinal with which the batch begins; the launch itself ends with the first batch.
        hide: Also leave it out of default lists.

    Returns:
        The result, and the ordinal with which the next batch begins; None if there is no next batch.
    """
    if target.ordinal is not None:
        return _cancel_early(connection, target, hide), None
    ended_launches = 0
    if target.whole and first == 0:
        ended_launches = end_launch(connection, target.gid, "cancelled", "cancelled before it was cut into jobs")
        ended_launches += _end_followers(connection, target.gid)
        if hide:
            connection.execute(_HIDE_LAUNCH, vars(target))
    found = targets.locked_jobs(connection, target, first, f"({in_states(UNFINISHED, 'a')} OR {retry_due('a')})")
    unfinished = [row for row in found if row.state not in {"error", "lost"}]
    connection.execute(_REQUEST, {"uids": [row.uid for row in unfinished]})
    cancelled = rows.recordset([row._asdict() for row in found])
    connection.execute(_CANCEL, {"rows": cancelled, "message": CANCELLED_EARLY})
    if hide:
        statement = text(f"UPDATE argosy.job j SET hidden = true WHERE {targets.in_batch(target)} AND NOT hidden")
        connection.execute(statement, targets.parameters(target, first))
    notices.launches_ended(connection, [target.gid])
    queued = sum(row.here for row in found)
    ended = targets.count(connection, target, first) - len(unfinished)
    return Cancelled(queued, len(unfinished) - queued, ended, ended_launches), targets.following(
        connection, target, first
    )


# A job without a row is cancelled when its launch is cut.
_EARLY = text(
    "INSERT INTO argosy.early_cancel (gid, ordinal) SELECT gid, :ordinal FROM argosy.launch "
    "WHERE gid = :gid AND state IN ('accepted', 'resolved') ON CONFLICT DO NOTHING"
)

# A job without a row will be hidden from the start.
_HIDE_EARLY = text("UPDATE argosy.early_cancel SET hidden = true WHERE gid = :gid AND ordinal = :ordinal")


def _cancel_early(connection: Connection, target: Target, hide: bool) -> Cancelled:
    noted = connection.execute(
        _EARLY,
        vars(target),
    ).rowcount
    if hide:
        statement = _HIDE_EARLY
        connection.execute(statement, vars(target))
    return Cancelled(cancelled=noted, ended=1 - noted)


_END = (
    "UPDATE argosy.launch l SET state = :state, reason = :reason, claim_worker = NULL, waiting = false, jobs = expanded_jobs, "
    "token_wiped = token_wiped OR (token_sealed IS NOT NULL AND expanded_jobs = 0), "
    "token_sealed = CASE WHEN expanded_jobs > 0 THEN token_sealed END"
)

# End a launch that is not fully cut; no more jobs are cut from it.
_END_LAUNCH = text(f"{_END} WHERE gid = :gid AND state IN ('accepted', 'resolved')")


def end_launch(connection: Connection, gid: UUID, state: str, reason: str) -> int:
    """End a launch that is not fully cut: no more jobs are cut from it. If it has no jobs yet, its token is wiped at once.

    Args:
        connection: In a transaction.
        gid: Which.
        state: `cancelled` or `rejected`.
        reason: For people.

    Returns:
        0 if it had ended or was fully cut.
    """
    ended = connection.execute(_END_LAUNCH, {"gid": gid, "state": state, "reason": reason}).rowcount
    notices.launches_ended(connection, [gid])
    return ended


_CHAIN = (
    "WITH RECURSIVE chain (gid, depth) AS (SELECT gid, 1 FROM argosy.launch WHERE after_gid = :gid AND waiting AND cancel_with "
    "UNION ALL SELECT f.gid, c.depth + 1 FROM chain c JOIN argosy.launch f ON f.after_gid = c.gid AND f.waiting AND f.cancel_with)"
)

# From the first to the last, as every cancel of a part of the same chain does, so that there is no deadlock.
_LOCK_CHAIN = text(
    f"{_CHAIN} SELECT FROM chain c JOIN argosy.launch l USING (gid) ORDER BY c.depth, l.gid FOR NO KEY UPDATE OF l"
)

# Asked again when all are locked.
_END_CHAIN = text(f"{_CHAIN} {_END} FROM chain c WHERE l.gid = c.gid RETURNING l.gid")


def _end_followers(connection: Connection, gid: UUID) -> int:
    """Cancel the launches that wait for this one and are to be cancelled with it, those that wait for these in turn, and so on. Returns how
    many."""
    connection.execute(_LOCK_CHAIN, {"gid": gid})
    reason = f"cancelled with launch {gid}, after which it was to run"
    ended = list(connection.execute(_END_CHAIN, {"gid": gid, "state": "cancelled", "reason": reason}).scalars())
    notices.launches_ended(connection, ended)
    return len(ended)
