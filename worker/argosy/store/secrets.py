"""Which launch has, or may have, a Secret on which cluster. The row is written before the Secret is made, so that no Secret is forgotten.

A restored database may still have lost some of these rows, so housekeeping looks for Secrets on the clusters from time to time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from argosy.errors import Conflict
from argosy.states import UNFINISHED
from argosy.store import holds, rows
from argosy.store.conditions import in_states, retry_due

_UNFINISHED = f"a.finished_at IS NULL AND {in_states(UNFINISHED, 'a')}"

_ENDED = (
    "token_sealed IS NOT NULL AND state NOT IN ('accepted', 'resolved') "
    "AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = o.gid) "
    f"AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = o.gid AND {_UNFINISHED}) "
    f"AND NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = o.gid AND {retry_due('a')}) "
    f"AND NOT {holds.in_hold('o')} AND NOT o.untold"
)
"""SQL: launches `o` whose token nobody needs any more. An attempt that is due for an automatic retry still needs it: the retry may be
written later, if no cluster can take the job now. While a cluster is held, its rows may be older than what runs there, so tokens are
kept. One whose end is not told yet may need it for what its mails attach."""

_NEEDLESS = (
    f"NOT EXISTS (SELECT FROM argosy.cluster c WHERE c.id = o.cluster_id AND {holds.HELD}) AND "
    "(o.deleting OR NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = o.gid "
    f"AND coalesce(a.cluster_id, o.cluster_id) = o.cluster_id AND {_UNFINISHED}) "
    "AND NOT EXISTS (SELECT FROM argosy.stray s WHERE s.gid = o.gid AND s.cluster_id = o.cluster_id))"
)
"""SQL: Secrets `o` that nobody needs any more: the launch has neither an unfinished attempt nor a stray on that cluster."""


@dataclass(frozen=True)
class Debt:
    """A Secret that is to be deleted, because its launch has ended on that cluster."""

    gid: UUID
    cluster_id: int


# Committed before the Secret is made, so that it will be deleted whatever happens.
_INTEND = text("INSERT INTO argosy.launch_secret (gid, cluster_id) VALUES (:gid, :cluster) ON CONFLICT DO NOTHING")

# Whether it may be made.
_INTENT = text(
    "SELECT s.deleting, l.token_sealed, c.removed_at FROM argosy.launch_secret s JOIN argosy.launch l USING (gid) "
    "JOIN argosy.cluster c ON c.id = s.cluster_id WHERE s.gid = :gid AND s.cluster_id = :cluster FOR UPDATE OF s"
)


def intend(engine: Engine, gid: UUID, cluster_id: int) -> bytes | None:
    """Commit that a launch's Secret is about to be made on a cluster.

    Returns:
        The launch's sealed token; None if it has none.

    Raises:
        Conflict: The Secret is being deleted right now, try again later; or the cluster was removed.
    """
    with engine.begin() as connection:
        connection.execute(_INTEND, {"gid": gid, "cluster": cluster_id})
        row = connection.execute(_INTENT, {"gid": gid, "cluster": cluster_id}).one_or_none()
        # If there is no row, its deletion was completed between the two statements.
        if row is None or row.deleting:
            raise Conflict(f"the Secret of launch {gid} is being deleted; it is made again when that is done")
        if row.removed_at is not None:
            raise Conflict("the cluster was removed")  # else nobody would ever delete the Secret
        token: bytes | None = row.token_sealed
        return token


# Clusters on which housekeeping may look for Secrets.
_LOOK = text(f"SELECT id FROM argosy.cluster WHERE health = 'ok' AND removed_at IS NULL AND NOT ({holds.HELD})")


def look(connection: Connection) -> list[int]:
    """The clusters on which housekeeping may look for Secrets without a row: healthy ones that are not held, so that their Secrets are
    known to be ours."""
    rows = connection.execute(_LOOK)
    return list(rows.scalars())


# The cluster cannot be removed before this transaction ends.
_REGISTERED = text("SELECT id FROM argosy.cluster WHERE id = :cluster AND removed_at IS NULL FOR SHARE")

# Only for launches that have a row.
_NOTE = text(
    "INSERT INTO argosy.launch_secret (gid, cluster_id) SELECT l.gid, :cluster FROM argosy.launch l "
    "WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = l.gid) "
    "ON CONFLICT DO NOTHING"
)


def found(connection: Connection, cluster_id: int, gids: Collection[UUID]) -> int:
    """Insert rows for Secrets that were found on a cluster and have none. They are deleted like all others, when nobody needs them.

    Only for launches that have a row here and no Secret recorded on any cluster. The Secret of a lost launch may still be needed by
    workflows that run; and one that is recorded for another cluster may be the same object, seen through another address.

    Returns:
        How many.
    """
    there = _REGISTERED
    if connection.execute(there, {"cluster": cluster_id}).one_or_none() is None:
        return 0
    return connection.execute(_NOTE, {"cluster": cluster_id, "gids": list(gids)}).rowcount


# Secrets that nobody needs, on registered clusters.
_DUE = text(
    "SELECT d.* FROM argosy.cluster c CROSS JOIN LATERAL (SELECT gid, cluster_id FROM argosy.launch_secret o "
    f"WHERE o.cluster_id = c.id AND {_NEEDLESS} ORDER BY random() LIMIT :limit FOR UPDATE SKIP LOCKED) d "
    "WHERE c.removed_at IS NULL"
)

# Mark them, so that nobody uses them meanwhile.
_DELETING = text(
    "UPDATE argosy.launch_secret o SET deleting = true FROM json_to_recordset(CAST(:secrets AS json)) "
    f"AS d (gid uuid, cluster_id int) WHERE o.gid = d.gid AND o.cluster_id = d.cluster_id AND {_NEEDLESS} "
    "RETURNING o.gid, o.cluster_id"
)


def due(connection: Connection, limit: int = 100) -> list[Debt]:
    """Mark and return the Secrets that nobody needs any more: every job of the launch on that cluster has ended.

    The condition is checked again after the rows are locked, and `intend` waits for that lock: else a job that is claimed in between would
    use a Secret that is then deleted. At most `limit` of each cluster, in random order, so that one that cannot be deleted does not block
    the others.
    """
    needless = [row._asdict() for row in connection.execute(_DUE, {"limit": limit})]
    marked = connection.execute(_DELETING, {"secrets": rows.recordset(needless)})
    return [Debt(**row._mapping) for row in marked]


# Whether it is still to be deleted.
_STILL_DUE = text("SELECT FROM argosy.launch_secret WHERE gid = :gid AND cluster_id = :cluster AND deleting")


def still_due(connection: Connection, debt: Debt) -> bool:
    """Whether a Secret that was read just now is still to be deleted. If the row is gone, the Secret may have been made again, as another
    object."""
    found = connection.execute(_STILL_DUE, {"gid": debt.gid, "cluster": debt.cluster_id})
    return found.one_or_none() is not None


# Its deletion is confirmed.
_SETTLE = text("DELETE FROM argosy.launch_secret WHERE gid = :gid AND cluster_id = :cluster AND deleting")


def settle(connection: Connection, debt: Debt) -> None:
    """Delete the row: the Secret is surely gone."""
    connection.execute(_SETTLE, {"gid": debt.gid, "cluster": debt.cluster_id})


# Launches that do not need their token any more.
_WIPEABLE = text(f"SELECT gid FROM argosy.launch o WHERE {_ENDED} LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED")

# Checked again after they are locked.
_WIPE = text(
    "UPDATE argosy.launch o SET token_sealed = NULL, token_wiped = true "
    f"WHERE gid = ANY (CAST(:gids AS uuid[])) AND {_ENDED}"
)


def wipe_tokens(connection: Connection, limit: int = 100) -> int:
    """Wipe the tokens of launches that have ended on all clusters and whose Secrets are gone.

    The condition is checked again after the launches are locked, because a retry may have committed in between: it needs the token. Retries
    lock the launch first.

    Returns:
        How many.
    """
    gids = connection.execute(_WIPEABLE, {"limit": limit}).scalars()
    return connection.execute(_WIPE, {"gids": list(gids)}).rowcount
