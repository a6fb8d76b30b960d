"""Limits on a cluster's queue: its window and its circuit breaker, both in the cluster's row, so that all workers share them.

The breaker is open until a certain time. If the cluster only asked to wait, claims continue after that time. If the cluster failed, one job
is claimed first as a probe (the breaker is half-open), and a clear answer to it closes the breaker.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from argosy.scheduling import pace
from argosy.states import ACTIVE
from argosy.store.conditions import in_states

CAPACITY = f"CASE WHEN c.pace THEN least(c.max_active, coalesce(c.pace_window, {pace.FIRST})) ELSE c.max_active END"
"""SQL: how many unfinished workflows cluster `c` may have at present."""

CLOSED = "(c.open_until IS NULL OR c.open_until <= clock_timestamp())"
"""SQL: whether the breaker lets something be claimed for cluster `c`, at least a probe."""

OPEN = f"c.removed_at IS NULL AND c.paused_at IS NULL AND c.held_at IS NULL AND c.health <> 'misplaced' AND {CLOSED}"
"""SQL: whether cluster `c` may get jobs: it is not removed, paused, held or misplaced, and its breaker is not open."""

_OPEN = (5.0, 15.0)
"""Seconds for which the breaker of a cluster that failed is open: the first time, and at most. They double with each failure in a row."""

_SETTLE = 10.0
"""Seconds between two halvings: signals that come within this time count once."""


# Open the breaker for as long as the cluster asks.
_WAIT = text(
    # The longest requested wait wins. After a failure (open_tries > 0) the old time was that of a probe, which has its answer now.
    "UPDATE argosy.cluster SET open_reason = :reason, open_until = greatest(CASE WHEN open_tries = 0 THEN open_until END, "
    "clock_timestamp() + make_interval(secs => :seconds)) WHERE id = :cluster"
)


def wait(connection: Connection, cluster_id: int, reason: str, seconds: float) -> None:
    """Open a cluster's breaker for the seconds that the cluster asked for, and halve its window."""
    connection.execute(_WAIT, {"cluster": cluster_id, "reason": reason[:2000], "seconds": seconds})
    slow(connection, cluster_id)


# The breaker stays open longer after each failure.
_FAILED = text(
    "UPDATE argosy.cluster SET open_reason = :reason, open_tries = open_tries + 1, "
    "open_until = greatest(CASE WHEN open_tries = 0 THEN open_until END, "
    "clock_timestamp() + make_interval(secs => least(CAST(:first AS float8) * 2 ^ least(open_tries, 10), :longest))) "
    "WHERE id = :cluster AND (open_tries = 0 OR open_until < clock_timestamp() OR :probe)"
)


def failed(connection: Connection, cluster_id: int, reason: str, probe: bool) -> None:
    """Open the breaker of a cluster that failed, until a probe is answered, and halve its window.

    Args:
        connection: In a transaction.
        cluster_id: Which.
        reason: For people.
        probe: Whether the failed job was a probe. Failures of other jobs, which were under way when the breaker opened, change nothing
            while it is open. After that they count, because no probe could be sent when it was due.
    """
    connection.execute(
        _FAILED,
        {
            "cluster": cluster_id,
            "reason": reason[:2000],
            "probe": probe,
            "first": _OPEN[0],
            "longest": _OPEN[1],
        },
    )
    slow(connection, cluster_id)


# No claims while the probe is under way.
_PROBING = text(
    "UPDATE argosy.cluster SET open_until = clock_timestamp() + make_interval(secs => :seconds) WHERE id = :cluster"
)


def probing(connection: Connection, cluster_id: int, seconds: float) -> None:
    """Begin a probe: nothing else is claimed until it is answered or its claim has run out."""
    connection.execute(_PROBING, {"cluster": cluster_id, "seconds": seconds})


# Close the breaker.
_CLOSE = text("UPDATE argosy.cluster SET open_until = NULL, open_reason = '', open_tries = 0 WHERE id = :cluster")


def close(connection: Connection, cluster_id: int) -> None:
    """Close the breaker: the cluster has answered."""
    connection.execute(_CLOSE, {"cluster": cluster_id})


# If the last time the window shrank is long enough ago.
_SLOW = text(
    f"SELECT {CAPACITY} AS capacity FROM argosy.cluster c WHERE id = :cluster AND c.pace "
    "AND coalesce(c.slowed_at < clock_timestamp() - make_interval(secs => :settle), true) FOR NO KEY UPDATE"
)


def slow(connection: Connection, cluster_id: int) -> None:
    """Halve the window, unless it shrank a short time ago: several workers see the same slowness."""
    row = connection.execute(_SLOW, {"cluster": cluster_id, "settle": _SETTLE}).one_or_none()
    if row is not None:
        _resize(connection, cluster_id, pace.halved(row.capacity), slowed=True)


# The window, and whether it was used.
_ADAPT = text(
    f"SELECT {CAPACITY} AS capacity, c.max_active, "
    "coalesce(c.slowed_at < clock_timestamp() - make_interval(secs => :settle), true) AS settled, "
    f"(SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id AND {in_states(ACTIVE, 'a')}) "
    "AS active, (SELECT count(*) FROM argosy.attempt a WHERE a.cluster_id = c.id AND a.state = 'pending' "
    "AND a.submitted_at < clock_timestamp() - make_interval(secs => :late)) AS late "
    "FROM argosy.cluster c WHERE id = :cluster AND c.pace FOR NO KEY UPDATE OF c"
)


def adapt(connection: Connection, cluster_id: int) -> int | None:
    """Resize the window to how fast Argo processes the cluster's workflows. The tracker calls this every few seconds.

    Returns:
        The window; None if the cluster has no pacing.
    """
    row = connection.execute(_ADAPT, {"cluster": cluster_id, "settle": _SETTLE, "late": pace.LATE}).one_or_none()
    if row is None:
        return None
    window: int = min(pace.grown(row.capacity, row.active, row.late), row.max_active)
    slowed = window < row.capacity
    if window == row.capacity or (slowed and not row.settled):
        return int(row.capacity)
    _resize(connection, cluster_id, window, slowed)
    return window


@dataclass(frozen=True)
class Gauges:
    """Figures of a cluster: how many unfinished workflows it may have and has; whether its breaker is open, and it is paused; why it is
    held, or empty; its health; for how many seconds the status of its jobs may be out of date; when its
    token ends."""

    id: int
    name: str
    capacity: int
    active: int
    open: bool
    paused: bool
    held: str
    health: str
    age: float
    token_expires_at: datetime | None = None


# All clusters, for metrics.
_STANDING = text(
    f"SELECT c.id, c.name, {CAPACITY} AS capacity, count(a.uid) AS active, NOT {CLOSED} AS open, "
    "c.paused_at IS NOT NULL AS paused, CASE WHEN c.held_at IS NULL THEN '' ELSE c.held_reason END AS held, c.health, "
    "greatest(extract(epoch FROM clock_timestamp() - coalesce(c.as_of, c.created_at)), 0)::float8 AS age, c.token_expires_at "
    "FROM argosy.cluster c LEFT JOIN argosy.attempt a ON a.cluster_id = c.id "
    f"AND {in_states(ACTIVE, 'a')} WHERE c.removed_at IS NULL GROUP BY c.id"
)


def standing(connection: Connection) -> list[Gauges]:
    """All registered clusters, for the gauges."""
    rows = connection.execute(_STANDING)
    return [Gauges(**row._mapping) for row in rows]


# The window as it is from now on.
_RESIZE = text(
    "UPDATE argosy.cluster SET pace_window = :window, "
    "slowed_at = CASE WHEN :slowed THEN clock_timestamp() ELSE slowed_at END WHERE id = :cluster"
)


def _resize(connection: Connection, cluster_id: int, window: int, slowed: bool) -> None:
    connection.execute(_RESIZE, {"cluster": cluster_id, "window": window, "slowed": slowed})
