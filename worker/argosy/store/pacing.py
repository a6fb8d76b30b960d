"""Limits on a cluster's queue: its window and its circuit breaker, both in the cluster's row, so that all workers share them.

The breaker is open until a time. Where the cluster only asked to be left alone for a while, everything goes on then; where it failed, one
job is claimed first as a probe, and an answer to that closes it (half-open).
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from argosy.scheduling import pace
from argosy.states import ACTIVE
from argosy.store.conditions import in_states

CAPACITY = f"CASE WHEN c.pace THEN least(c.max_active, coalesce(c.pace_window, {pace.FIRST})) ELSE c.max_active END"
"""SQL: the most unfinished workflows that a cluster `c` is given at present."""

CLOSED = "(c.open_until IS NULL OR c.open_until <= clock_timestamp())"
"""SQL: whether something may be claimed for cluster `c`, if only a probe."""

OPEN = f"c.removed_at IS NULL AND c.paused_at IS NULL AND c.held_at IS NULL AND c.health <> 'misplaced' AND {CLOSED}"
"""SQL: whether nothing else keeps cluster `c` from getting jobs: a pause, a hold, or that its address leads to another place."""

_OPEN = (5.0, 15.0)
"""Seconds for which a cluster that failed is left alone: at first, and at most; in between they double."""

_SETTLE = 10.0
"""Seconds between two halvings: signals that come within this time count once."""


# It opens no earlier than before.
_WAIT = text(
    # The longest wait that it asked for wins; a probe's time ends with its answer.
    "UPDATE argosy.cluster SET open_reason = :reason, open_until = greatest(CASE WHEN open_tries = 0 THEN open_until END, "
    "clock_timestamp() + make_interval(secs => :seconds)) WHERE id = :cluster"
)


def wait(connection: Connection, cluster_id: int, reason: str, seconds: float) -> None:
    """Leave a cluster alone for the seconds that it asked for, and halve its window."""
    connection.execute(_WAIT, {"cluster": cluster_id, "reason": reason[:2000], "seconds": seconds})
    slow(connection, cluster_id)


# It waits for longer after each failure.
_FAILED = text(
    "UPDATE argosy.cluster SET open_reason = :reason, open_tries = open_tries + 1, "
    "open_until = greatest(CASE WHEN open_tries = 0 THEN open_until END, "
    "clock_timestamp() + make_interval(secs => least(CAST(:first AS float8) * 2 ^ least(open_tries, 10), :longest))) "
    "WHERE id = :cluster AND (open_tries = 0 OR open_until < clock_timestamp() OR :probe)"
)


def failed(connection: Connection, cluster_id: int, reason: str, probe: bool) -> None:
    """Leave a cluster alone that failed, until a probe is answered, and halve its window.

    Args:
        connection: In a transaction.
        cluster_id: Which.
        reason: For people.
        probe: Whether it was one that failed. What else was under way when the cluster had failed already says nothing new, unless it is
            so late that a probe was due, which nobody could send.
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


# Closed while one job tries.
_PROBING = text(
    "UPDATE argosy.cluster SET open_until = clock_timestamp() + make_interval(secs => :seconds) WHERE id = :cluster"
)


def probing(connection: Connection, cluster_id: int, seconds: float) -> None:
    """A probe is under way: nobody else claims anything until it is answered or its claim has run out."""
    connection.execute(_PROBING, {"cluster": cluster_id, "seconds": seconds})


# It works again.
_CLOSE = text("UPDATE argosy.cluster SET open_until = NULL, open_reason = '', open_tries = 0 WHERE id = :cluster")


def close(connection: Connection, cluster_id: int) -> None:
    """The cluster has answered."""
    connection.execute(_CLOSE, {"cluster": cluster_id})


# The window may shrink now.
_SLOW = text(
    f"SELECT {CAPACITY} AS capacity FROM argosy.cluster c WHERE id = :cluster AND c.pace "
    "AND coalesce(c.slowed_at < clock_timestamp() - make_interval(secs => :settle), true) FOR NO KEY UPDATE"
)


def slow(connection: Connection, cluster_id: int) -> None:
    """Halve the window, once for all that come to the same conclusion at the same time."""
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
    """Look how the cluster keeps up and resize its window; called by its tracker every few seconds.

    Returns:
        The window; None where the cluster is not paced.
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
    """How a cluster stands: the unfinished workflows that it is given and has, whether its breaker is open, it is paused, it is held."""

    name: str
    capacity: int
    active: int
    open: bool
    paused: bool
    held: bool


# All clusters, for metrics.
_STANDING = text(
    f"SELECT c.name, {CAPACITY} AS capacity, count(a.uid) AS active, NOT {CLOSED} AS open, "
    "c.paused_at IS NOT NULL AS paused, c.held_at IS NOT NULL AS held "
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
