"""The state machine of a job's attempts, as one table.

This table says how a sighting of a workflow may change an attempt (track/verdicts.py). Every other change is made in SQL as a
compare-and-set on the old state. So a late record, a redelivered message or a stopped worker that continues can only repeat a transition or
do nothing: it can never put a job back into an earlier state.
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
"""States that occupy one of the cluster's slots: a workflow exists, or may exist."""

UNFINISHED = ACTIVE | {State.QUEUED}
"""States of an attempt that has not ended."""

ON_CLUSTER = frozenset({State.PENDING, State.RUNNING})
"""States of an unfinished attempt whose workflow is known to have been created."""

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
"""The states to which an attempt may change from each state. `deleted` and `lost` are re-opened when the same k8s uid is seen again (an
etcd was restored, or a list was wrong), `rejected` when its workflow is seen after all. `submitting` goes back to `queued` only if the
create surely did not happen. A `queued` attempt may be seen in any state: a database that was restored, or lost the claim in a fail-over,
does not know that the workflow was created."""

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
    """The state of an attempt according to its workflow's phase.

    Args:
        phase: `status.phase` of the workflow; empty if Argo has not processed it yet.
        ended: The state for which argosy terminated it, e.g. cancelled while a cancel is under way. If the workflow then ended without
            success, the attempt gets this state.

    Returns:
        The new state; None for a phase that this version does not know.
    """
    state = PHASE_STATE.get(phase)
    return ended if ended and state in {State.FAILED, State.ERROR} else state


def platform_status(state: State) -> str:
    """The status that the platform's own pages and clients know: they take everything but `Running` and `Succeeded` for a failure (P10)."""
    if state in UNFINISHED:
        return "Running"
    return str(state).capitalize() if state in (State.SUCCEEDED, State.ERROR) else "Failed"


def rest_status(state: State, cancel_requested: bool) -> str:
    """The REST reference's `status` string: Argo's phase for a workflow, the capitalised state otherwise."""
    if cancel_requested and state not in FINAL:
        return "Cancelling"
    return str(state).capitalize()
