"""Recording how creates ended.

Every write by a claimer names the epoch of its claim and is a compare-and-set on the state: a worker whose lease ran out while it was
stopped changes nothing (P1, P3).

A claim stores until when a create that was sent under it may still arrive (`quiet_at`). The tracker does not release the workflow before
that time: it keeps the name taken, and a create that found the name free would make a second workflow. If the result of every create that
was sent is known, the workflow may be released at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import notices, retries, rows
from argosy.store.cancels import CANCELLED_EARLY


@dataclass(frozen=True)
class Key:
    """One claim: the attempt and the epoch under which it was claimed."""

    uid: UUID
    number: int
    epoch: int


@dataclass(frozen=True)
class Created(Key):
    """The attempt's workflow exists: created, or adopted after an unclear answer.

    `answered` is the number of sent creates whose result is known: this one, and, if the name was taken, also the one that made the
    workflow.
    """

    name: str
    digest: str
    k8s_uid: str
    answered: int = 1


@dataclass(frozen=True)
class Returned(Key):
    """The create surely did not happen: the attempt goes back to the queue and is not claimed for `seconds`."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Unresolved(Key):
    """The create may have happened: the attempt stays `submitting`, and the same name is created again after `seconds`. `unclear` says that
    the reason is an unclear answer of the cluster."""

    reason: str
    seconds: float
    unclear: bool = False


@dataclass(frozen=True)
class Ended(Key):
    """The attempt ended without a workflow that can be tracked: `rejected` or `lost`, with the reason. `asked` says whether its cluster
    gave that answer."""

    state: str
    reason: str
    asked: bool = True


Outcome = Created | Returned | Unresolved | Ended


def record(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write how creates ended. What the tracker or a later claimer has written meanwhile stays.

    The rows are locked in the order of their keys first, as the tracker and a cancel do, so that they wait for each other instead of
    deadlocking.
    """
    retries.lock_attempts(connection, rows.recordset(outcomes))
    _record_created(connection, [outcome for outcome in outcomes if isinstance(outcome, Created)])
    _delay(connection, [outcome for outcome in outcomes if isinstance(outcome, Returned)], "queued")
    _delay(connection, [outcome for outcome in outcomes if isinstance(outcome, Unresolved)], "submitting")
    if ended := [outcome for outcome in outcomes if isinstance(outcome, Ended)]:
        end(connection, ended)
        retries.follow(connection, [outcome.uid for outcome in ended])
    notices.jobs_ended(connection, [outcome.uid for outcome in outcomes if isinstance(outcome, Ended | Returned)])


# A claim whose workflow exists. Only the newest epoch may write this.
_CREATED = text(
    "UPDATE argosy.attempt a SET state = 'pending', k8s_uid = c.k8s_uid, name = c.name, digest = c.digest, "
    "submitted_at = clock_timestamp(), as_of = clock_timestamp(), lease_until = NULL, message = '', "
    # An adopted workflow may have ended before its row had its uid, and the watch sends no further event for it: read it once.
    "quiet_at = CASE WHEN a.tries > c.answered THEN a.quiet_at END, unread = c.answered > 1 "
    "FROM json_to_recordset(CAST(:rows AS json)) "
    "AS c (uid uuid, number int, epoch int, name text, digest text, k8s_uid text, answered int) "
    "WHERE a.uid = c.uid AND a.number = c.number AND a.claim_epoch = c.epoch AND a.state = 'submitting' "
    "AND a.k8s_uid IS NULL"
)

# No create of it can arrive any more.
_SETTLED = text(
    "UPDATE argosy.attempt a SET quiet_at = NULL FROM json_to_recordset(CAST(:rows AS json)) "
    "AS c (uid uuid, number int, epoch int, k8s_uid text, answered int) WHERE a.uid = c.uid "
    "AND a.number = c.number AND a.claim_epoch = c.epoch AND a.k8s_uid = c.k8s_uid AND a.tries <= c.answered"
)


def _record_created(connection: Connection, outcomes: list[Created]) -> None:
    if not outcomes:
        return
    parameters = {"rows": rows.recordset(outcomes)}
    updated = connection.execute(_CREATED, parameters)
    if updated.rowcount == len(outcomes):
        return
    # If the tracker recorded the workflow first, only this answer is left to record.
    connection.execute(_SETTLED, parameters)


# Back to the queue, or still unclear; both not before a certain time.
_DELAY = text(
    "UPDATE argosy.attempt a SET as_of = clock_timestamp(), "
    "state = CASE WHEN :state = 'queued' AND j.cancel_requested THEN 'cancelled' ELSE :state END, "
    f"message = CASE WHEN :state = 'queued' AND j.cancel_requested THEN '{CANCELLED_EARLY}' ELSE c.reason END, "
    "finished_at = CASE WHEN :state = 'queued' AND j.cancel_requested THEN clock_timestamp() END, "
    "lease_until = CASE WHEN :state = 'submitting' THEN clock_timestamp() + make_interval(secs => c.seconds) END, "
    "tries = CASE WHEN :state = 'submitting' THEN a.tries ELSE 0 END, "
    "quiet_at = CASE WHEN :state = 'submitting' THEN a.quiet_at END, "
    # If several clusters may take the job, the next claim decides again; an unclear create stays on its cluster.
    "cluster_id = CASE WHEN :state = 'submitting' OR cardinality(p.cluster_ids) = 1 THEN a.cluster_id END, "
    "not_before = clock_timestamp() + make_interval(secs => c.seconds) "
    "FROM argosy.job j, argosy.placement p, json_to_recordset(CAST(:rows AS json)) "
    "AS c (uid uuid, number int, epoch int, reason text, seconds float8) "
    "WHERE a.uid = c.uid AND a.number = c.number AND a.claim_epoch = c.epoch AND a.state = 'submitting' "
    "AND a.k8s_uid IS NULL AND j.uid = a.uid AND p.id = a.placement_id"
)


def _delay(connection: Connection, outcomes: Sequence[Returned | Unresolved], state: str) -> None:
    """Put attempts back into the queue, or leave them `submitting`. A job that was cancelled meanwhile and surely has no workflow ends
    here."""
    if not outcomes:
        return
    connection.execute(_DELAY, {"rows": rows.recordset(outcomes), "state": state})


# Ended without a workflow; `cancelled` if a cancel was requested.
_END = text(
    "UPDATE argosy.attempt a SET state = CASE WHEN j.cancel_requested THEN 'cancelled' ELSE c.state END, "
    "message = c.reason, as_of = clock_timestamp(), finished_at = clock_timestamp(), lease_until = NULL, "
    # An earlier create of it may still have made a workflow.
    "unread = a.tries > 1 "
    "FROM argosy.job j, json_to_recordset(CAST(:rows AS json)) AS c (uid uuid, number int, epoch int, state text, reason text) "
    "WHERE a.uid = c.uid AND a.number = c.number "
    "AND a.claim_epoch = c.epoch AND a.state IN ('queued', 'submitting') AND a.k8s_uid IS NULL AND j.uid = a.uid"
)


def end(connection: Connection, outcomes: Sequence[Ended]) -> None:
    """End attempts that never got a workflow; those whose job is to be cancelled end as `cancelled`."""
    if not outcomes:
        return
    connection.execute(_END, {"rows": rows.recordset(outcomes)})
