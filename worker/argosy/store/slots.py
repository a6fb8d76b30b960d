"""Who uses the slots of clusters now."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from argosy.shapes.shown import SlotsShape
from argosy.states import ACTIVE, State
from argosy.store.conditions import in_states

# Unfinished workflows by what they are for; those who have most come first.
_USED = text(
    "SELECT c.name AS cluster, a.project, a.user_id AS user, l.algorithm_name AS algorithm, count(*) AS slots, "
    f"count(*) FILTER (WHERE a.state = '{State.RUNNING}') AS running, count(DISTINCT a.gid) AS launches, "
    "min(coalesce(a.started_at, a.submitted_at, a.queued_at)) AS oldest "
    "FROM argosy.attempt a JOIN argosy.cluster c ON c.id = a.cluster_id JOIN argosy.launch l ON l.gid = a.gid "
    f"WHERE {in_states(ACTIVE, 'a')} AND a.project = coalesce(CAST(:project AS bigint), a.project) "
    "GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT :limit"
)


def used(connection: Connection, project: int | None, limit: int) -> Sequence[SlotsShape]:
    """What uses the slots of clusters now, those who use most first.

    Args:
        connection: Where to ask.
        project: Only this one's.
        limit: The most to return.
    """
    rows = connection.execute(_USED, {"project": project, "limit": limit})
    return [SlotsShape(**row._mapping) for row in rows]
