"""Conditions on rows, as SQL. Statements must use the same text as the partial indexes, or the planner does not use these."""

from collections.abc import Iterable

from argosy.states import State

GID_NODE = "substring(uuid_send(gid) from 12 for 5)"
"""SQL: the last five bytes of a launch's gid."""

UIDS_NODE = "substring(sha256(uuid_send(gid)) from 4 for 5)"
"""SQL: the last five bytes of the uids of its jobs, which are the same for all of them (batches.py)."""

AGE = "argosy.age(gid)"
"""SQL: a number that is the smaller the newer a launch is, by the time in its gid."""

ALIKE = "argosy.failure(state, exit_code, message)"
"""SQL: the key of the group to which the failure of an attempt belongs."""


def in_states(states: Iterable[State], alias: str = "") -> str:
    """SQL: whether an attempt (of this alias) is in one of these states."""
    return f"{alias and alias + '.'}state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def retry_due(alias: str = "") -> str:
    """SQL: whether an attempt is to be followed by an automatic retry."""
    return f"{alias and alias + '.'}retries_left > 0 AND {in_states((State.ERROR, State.LOST), alias)}"


def ended(launch: str) -> str:
    """SQL: whether a launch (of this alias) is cut and all its jobs have ended; one that is due for an automatic retry has not."""
    # OFFSET keeps these questions apart, so that each is answered by its own index.
    attempts = f"NOT EXISTS (SELECT FROM argosy.attempt t WHERE t.gid = {launch}.gid AND {{}} OFFSET 0)"
    return (
        f"({launch}.state NOT IN ('accepted', 'resolved') AND {attempts.format('t.finished_at IS NULL')} "
        f"AND {attempts.format(retry_due('t'))})"
    )


def may_begin(launch: str) -> str:
    """SQL: whether a launch (of this alias) waits for no other one, or its predecessor has ended or is not there any more."""
    return f"(NOT {launch}.waiting OR coalesce((SELECT {ended('p')} FROM argosy.launch p WHERE p.gid = {launch}.after_gid), true))"


def of_revision(column: str) -> str:
    """SQL: a column of what attempt `a` runs: of its revision, or of its launch `l`."""
    revised = f"(SELECT r.{column} FROM argosy.revision r WHERE r.gid = a.gid AND r.number = a.revision)"
    return f"CASE WHEN a.revision = 0 THEN l.{column} ELSE {revised} END"


FAILED = frozenset({State.FAILED, State.ERROR, State.LOST, State.DELETED, State.REJECTED})
"""Ends that are told in groups."""

TOLD_OF = "(webhook IS NOT NULL OR success_email IS NOT NULL OR failure_email IS NOT NULL)"
"""SQL: whether somebody wants to know how a launch ends."""

READY = "state = 'queued' AND not_before IS NULL"
"""An attempt that may be claimed now. A delayed one becomes ready when a claim finds that its time has come."""

DELAYED = "state = 'queued' AND not_before IS NOT NULL"
"""An attempt that may not be claimed before a certain time."""
