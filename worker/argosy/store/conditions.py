"""Conditions on rows, as SQL: statements and partial indexes must use the same words."""

from collections.abc import Iterable

from argosy.states import State

GID_NODE = "substring(uuid_send(gid) from 12 for 5)"
"""SQL: the end of a launch's gid."""

UIDS_NODE = "substring(sha256(uuid_send(gid)) from 4 for 5)"
"""SQL: the end of the uids of its jobs, whatever their number (batches.py)."""


def in_states(states: Iterable[State], alias: str = "") -> str:
    """SQL: whether an attempt (of this alias) is in one of these states."""
    return f"{alias and alias + '.'}state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def retry_due(alias: str = "") -> str:
    """SQL: whether an attempt is to be followed by another one without anybody asking."""
    return f"{alias and alias + '.'}retries_left > 0 AND {in_states((State.ERROR, State.LOST), alias)}"


READY = "state = 'queued' AND not_before IS NULL"
"""An attempt that may be claimed now; one that is to wait is left out until a claim finds its time come."""

DELAYED = "state = 'queued' AND not_before IS NOT NULL"
"""An attempt that waits for its time."""
