"""Which clusters cannot be worked with at present, for those who wait for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

OLD = 60
"""Seconds without news of a cluster after which what is known of it is called old."""


@dataclass(frozen=True)
class Away:
    """A cluster of which something is wrong: its health, a hold, or that nothing was heard of it for a minute."""

    name: str
    organization: int | None
    health: str
    since: datetime
    as_of: datetime | None
    held: bool
    old: bool


# The database's time, and the clusters of which something is wrong; one row without a name if there are none.
_AWAY = text(
    "SELECT clock_timestamp() AS now, c.* FROM (SELECT) o LEFT JOIN (SELECT name, organization, health, health_since AS since, as_of, "
    "held_at IS NOT NULL AS held, coalesce(as_of < now() - make_interval(secs => :old), created_at < now() - make_interval(secs => :old)) "
    "AS old FROM argosy.cluster WHERE removed_at IS NULL) c ON c.held OR c.old OR c.health NOT IN ('ok', 'unknown') "
    "ORDER BY c.name LIMIT 100"
)


def away(connection: Connection) -> tuple[datetime, Sequence[Away]]:
    """The database's time, and the clusters that cannot be worked with, a hundred at most."""
    rows = connection.execute(_AWAY, {"old": OLD}).all()
    found = [
        {name: value for name, value in row._mapping.items() if name != "now"} for row in rows if row.name is not None
    ]
    return rows[0].now, [Away(**each) for each in found]
