"""Pausing a cluster, a project or an algorithm: claims leave its jobs in the queue, and readers show why they wait."""

from typing import Literal

from sqlalchemy import Connection, text

from argosy.store import notices

Pausable = Literal["cluster", "project", "algorithm"]


# Insert a project that has no row yet.
_PROJECT = text("INSERT INTO argosy.project (id) VALUES (:key) ON CONFLICT DO NOTHING")


def pause(connection: Connection, table: Pausable, key: int, reason: str) -> None:
    """Stop claiming jobs of this. A later reason replaces an earlier one."""
    if table == "project":
        connection.execute(_PROJECT, {"key": key})
    connection.execute(
        text(
            f"UPDATE argosy.{table} SET paused_at = coalesce(paused_at, clock_timestamp()), "
            "paused_reason = coalesce(nullif(:reason, ''), paused_reason) WHERE id = :key"
        ),
        {"key": key, "reason": reason},
    )


def resume(connection: Connection, table: Pausable, key: int) -> None:
    """Claim its jobs again, at once: workers of all clusters are notified when this transaction commits."""
    connection.execute(
        text(f"UPDATE argosy.{table} SET paused_at = NULL, paused_reason = '' WHERE id = :key"), {"key": key}
    )
    notices.queues_go_on(connection)
