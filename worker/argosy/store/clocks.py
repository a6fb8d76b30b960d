"""Times that lie further ahead than argosy would set them now: the database's clock was set back, or the rows come from a server whose
clock was ahead (F96).

Until such a time nobody may take what a dead process held, and what is to be tried again is not. A lease sees it by itself
(`store/leases.py`), because each of its holders renews it every few seconds; the rest is brought back here. A time is brought back to the
furthest that could be set now, not to now: what is waited for there, as a create that may still arrive (P1), has its full time.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from argosy.states import ACTIVE
from argosy.store.conditions import DELAYED, in_states

LONGEST = 300.0
"""Seconds: the longest lease or claim."""

_CLAIM = f"clock_timestamp() + make_interval(secs => {2 * LONGEST})"
"""The furthest end of a claim, with what may still arrive after it."""

_DELAY = "clock_timestamp() + interval '1 day'"
"""The furthest of what waits to be tried again."""

_NOW = text("SELECT clock_timestamp()")

# Each table's times that are ahead.
_BACK: Sequence[tuple[str, str, dict[str, str]]] = (
    ("launch", "state IN ('accepted', 'resolved')", {"next_try_at": _CLAIM, "woken_at": "clock_timestamp()"}),
    ("attempt", in_states(ACTIVE), {"lease_until": _CLAIM, "quiet_at": _CLAIM}),
    ("attempt", DELAYED, {"not_before": _DELAY}),
    ("outbox", "open", {"next_try_at": _DELAY}),
    ("cluster", "true", {"open_until": _DELAY, "slowed_at": "clock_timestamp()", "as_of": "clock_timestamp()"}),
    ("process", "true", {"seen_at": "clock_timestamp()"}),
    ("installation", "true", {"doubted_at": "clock_timestamp()"}),
)
_BRING_BACK = [
    text(
        f"UPDATE argosy.{table} SET "
        # least() would make a time of none.
        f"{', '.join(f'{name} = CASE WHEN {name} > {furthest} THEN {furthest} ELSE {name} END' for name, furthest in times.items())} "
        f"WHERE {where} AND ({' OR '.join(f'{name} > {furthest}' for name, furthest in times.items())})"
    )
    for table, where, times in _BACK
]


def now(connection: Connection) -> datetime:
    """The database's time."""
    there: datetime = connection.execute(_NOW).scalar_one()
    return there


def bring_back(connection: Connection) -> int:
    """Bring back times that lie too far ahead. Returns in how many rows."""
    return sum(connection.execute(statement).rowcount for statement in _BRING_BACK)
