"""The job state machine, as one table.

What a sighting of a workflow may do to an attempt is asked of this table (track/verdicts.py). Every other change is made in SQL as a
compare-and-set on the state that it comes from, so a late record, a redelivered message or a stopped worker that wakes up can only repeat a
transition or do nothing: it can never take a job back.
"""

from enum import StrEnum


class State(StrEnum):
    """State of one attempt of a job; a job shows the state of its newest attempt."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DELETED = "deleted"
    LOST = "lost"


FINAL = frozenset(
    {State.SUCCEEDED, State.FAILED, State.ERROR, State.CANCELLED, State.REJECTED, State.DELETED, State.LOST}
)
"""States that an attempt does not leave by itself."""

ACTIVE = frozenset({State.SUBMITTING, State.PENDING, State.RUNNING})
"""States that hold one of the cluster's slots: a workflow exists, or may."""

UNFINISHED = ACTIVE | {State.QUEUED}
"""States that an attempt goes on from."""

ON_CLUSTER = frozenset({State.PENDING, State.RUNNING})
"""States of an attempt whose workflow is known to have come to be."""

ENDED_EARLY = frozenset({"rejected", "cancelled"})
"""States of a launch that ended without jobs."""

_ENDS = frozenset({State.SUCCEEDED, State.FAILED, State.ERROR, State.CANCELLED, State.DELETED, State.LOST})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SUBMITTING, State.REJECTED, State.PENDING, State.RUNNING}) | _ENDS,
    State.SUBMITTING: frozenset({State.QUEUED, State.PENDING, State.RUNNING, State.REJECTED}) | _ENDS,
    State.PENDING: frozenset({State.RUNNING}) | _ENDS,
    State.RUNNING: _ENDS,
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.ERROR: frozenset(),
    State.CANCELLED: frozenset(),
    State.REJECTED: frozenset(
        {State.PENDING, State.RUNNING, State.SUCCEEDED, State.FAILED, State.ERROR, State.CANCELLED}
    ),
    State.DELETED: frozenset(
        {State.PENDING, State.RUNNING, State.SUCCEEDED, State.FAILED, State.ERROR, State.CANCELLED}
    ),
    State.LOST: frozenset({State.PENDING, State.RUNNING, State.SUCCEEDED, State.FAILED, State.ERROR, State.CANCELLED}),
}
"""From each state, where an attempt may go. `deleted` and `lost` re-open when the same k8s uid is seen again (an etcd that was
restored, a list that was wrong), `rejected` when its workflow is seen after all; `submitting` goes back to `queued` only where the create
surely did not happen. What is `queued` may be seen in any state: a database that was restored, or failed over and lost the claim, does not
know what it has created."""

PHASE_STATE: dict[str, State] = {
    "": State.PENDING,
    "Pending": State.PENDING,
    "Running": State.RUNNING,
    "Succeeded": State.SUCCEEDED,
    "Failed": State.FAILED,
    "Error": State.ERROR,
}
"""Argo's `status.phase` of a workflow to the state it means; an empty phase means that Argo has not processed it yet."""


def observed(phase: str, ended: State | None) -> State | None:
    """What a workflow's phase says of its attempt.

    Args:
        phase: `status.phase` of the workflow, empty where Argo has not looked yet.
        ended: The state that it was ended for: cancelled, where a cancel of the job is under way. A workflow that ended unsuccessfully then
            ended so.

    Returns:
        The state to enter, or None for a phase that this version does not know.
    """
    state = PHASE_STATE.get(phase)
    return ended if ended and state in {State.FAILED, State.ERROR} else state


def rest_status(state: State, cancel_requested: bool) -> str:
    """The REST reference's `status` string: Argo's phase for a workflow, the capitalised state otherwise."""
    if cancel_requested and state not in FINAL:
        return "Cancelling"
    return str(state).capitalize()
