"""The processes of an installation that are alive: each renews a row of its own every few seconds, and deletes it when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

ALIVE = 20.0
"""Seconds without a renewal after which a process counts as gone."""

WORKER, TRACKER, API = "worker", "tracker", "api"
"""The kinds of processes."""


@dataclass(frozen=True)
class Process:
    """A process that is alive. `revision` is the newest migration that its code knows; `trouble` why it cannot do its work now, empty if it
    can; `error` the last warning or error that it logged."""

    id: str
    kind: str
    host: str
    pid: int
    version: str
    revision: str
    started_at: datetime
    seen_at: datetime
    trouble: str
    error: str
    error_at: datetime | None


# A process is alive; times are the database's.
_RENEW = text(
    "INSERT INTO argosy.process (id, kind, host, pid, version, revision, trouble, error, error_at) "
    "VALUES (:id, :kind, :host, :pid, :version, :revision, :trouble, :error, clock_timestamp() - make_interval(secs => :error_age)) "
    "ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), trouble = excluded.trouble, error = excluded.error, "
    "error_at = excluded.error_at"
)

# Processes that did not end well, or whose host is gone.
_FORGET = text("DELETE FROM argosy.process WHERE seen_at < clock_timestamp() - interval '1 hour'")


def renew(
    connection: Connection,
    *,
    id: str,
    kind: str,
    host: str,
    pid: int,
    version: str,
    revision: str,
    trouble: str,
    error: str,
    error_age: float | None,
) -> None:
    """Say that a process is alive, and forget those that have been silent for an hour. Arguments are those of `Process`; `error_age` is how
    many seconds ago the last error was logged."""
    parameters = {name: value for name, value in locals().items() if name != "connection"}
    connection.execute(_RENEW, parameters)
    connection.execute(_FORGET)


# It ended well.
_END = text("DELETE FROM argosy.process WHERE id = :id")


def end(connection: Connection, id: str) -> None:
    """Say that a process ends."""
    connection.execute(_END, {"id": id})


def _alive(kind: str) -> str:
    """SQL: whether a process of a kind is alive."""
    return f"EXISTS (SELECT FROM argosy.process WHERE kind = '{kind}' AND seen_at > clock_timestamp() - interval '{ALIVE} s')"


NOBODY = (
    f"CASE WHEN NOT {_alive(WORKER)} THEN 'no worker is alive: argosy worker' "
    f"WHEN NOT {_alive(TRACKER)} THEN 'no tracker is alive: argosy tracker' ELSE '' END"
)
"""SQL: who is not there to do what waits, and how to start one; empty if everybody is."""

# All that are alive.
_ALIVE = text(
    "SELECT * FROM argosy.process WHERE seen_at > clock_timestamp() - make_interval(secs => :seconds) ORDER BY kind, host, pid"
)


def alive(connection: Connection) -> Sequence[Process]:
    """The processes that are alive."""
    return [Process(**row._mapping) for row in connection.execute(_ALIVE, {"seconds": ALIVE})]


# Kinds of which at least one is alive.
_KINDS = text(
    "SELECT DISTINCT kind FROM argosy.process WHERE seen_at > clock_timestamp() - make_interval(secs => :seconds)"
)


def kinds(connection: Connection) -> frozenset[str]:
    """The kinds of processes of which at least one is alive."""
    return frozenset(connection.execute(_KINDS, {"seconds": ALIVE}).scalars())
