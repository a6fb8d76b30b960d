"""Which launch has, or may have, a Secret on which cluster: written down before it is made, so that none is ever forgotten.

A database that became an older one has forgotten some all the same, so what is on the clusters is looked for now and then.
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
    f"AND NOT {holds.in_hold('o')}"
)
"""Launches `o` whose token nobody needs any more. An automatic retry is written together with the end that it follows, or, where no cluster
could take it, later: it needs the token then. While a cluster is held, its rows may be older than what runs there."""

_NEEDLESS = (
    f"NOT EXISTS (SELECT FROM argosy.cluster c WHERE c.id = o.cluster_id AND {holds.HELD}) AND "
    "(o.deleting OR NOT EXISTS (SELECT FROM argosy.attempt a WHERE a.gid = o.gid "
    f"AND coalesce(a.cluster_id, o.cluster_id) = o.cluster_id AND {_UNFINISHED}) "
    "AND NOT EXISTS (SELECT FROM argosy.stray s WHERE s.gid = o.gid AND s.cluster_id = o.cluster_id))"
)
"""Secrets `o` that nobody needs any more: nothing unfinished that a row knows, and nothing that no row knows."""


@dataclass(frozen=True)
class Debt:
    """A Secret whose launch has ended on its cluster."""

    gid: UUID
    cluster_id: int


# Said before it is made, so that it is removed whatever happens.
_INTEND = text("INSERT INTO argosy.launch_secret (gid, cluster_id) VALUES (:gid, :cluster) ON CONFLICT DO NOTHING")

# Whether it may be made.
_INTENT = text(
    "SELECT s.deleting, l.token_sealed, c.removed_at FROM argosy.launch_secret s JOIN argosy.launch l USING (gid) "
    "JOIN argosy.cluster c ON c.id = s.cluster_id WHERE s.gid = :gid AND s.cluster_id = :cluster FOR UPDATE OF s"
)


def intend(engine: Engine, gid: UUID, cluster_id: int) -> bytes | None:
    """Commit that a launch's Secret is about to be made on a cluster.

    Returns:
        The launch's sealed token, None where it has none.

    Raises:
        Conflict: The Secret is being deleted right now, try again later; or the cluster was removed.
    """
    with engine.begin() as connection:
        connection.execute(_INTEND, {"gid": gid, "cluster": cluster_id})
        row = connection.execute(_INTENT, {"gid": gid, "cluster": cluster_id}).one_or_none()
        # Where it is gone, its deletion was settled between the two statements.
        if row is None or row.deleting:
            raise Conflict(f"the Secret of launch {gid} is being deleted; it is made again when that is done")
        if row.removed_at is not None:
            raise Conflict("the cluster was removed")  # or nobody would ever delete what is written down now
        token: bytes | None = row.token_sealed
        return token


# Clusters on which there may be Secrets that nobody noted.
_LOOK = text(f"SELECT id FROM argosy.cluster WHERE health = 'ok' AND removed_at IS NULL AND NOT ({holds.HELD})")


def look(connection: Connection) -> list[int]:
    """The clusters on which Secrets may be looked for: those that are followed, so that what they have is known to be ours."""
    rows = connection.execute(_LOOK)
    return list(rows.scalars())


# The cluster stays until this transaction ends.
_REGISTERED = text("SELECT id FROM argosy.cluster WHERE id = :cluster AND removed_at IS NULL FOR SHARE")

# Those of launches that we know.
_NOTE = text(
    "INSERT INTO argosy.launch_secret (gid, cluster_id) SELECT l.gid, :cluster FROM argosy.launch l "
    "WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND NOT EXISTS (SELECT FROM argosy.launch_secret s WHERE s.gid = l.gid) "
    "ON CONFLICT DO NOTHING"
)


def found(connection: Connection, cluster_id: int, gids: Collection[UUID]) -> int:
    """Write down the Secrets that are on a cluster and that no row knows; they go as all others do, when nobody needs them.

    Only those of launches that are here and have none anywhere: one of a lost launch may be needed by what runs of it, and one that
    is written down elsewhere may be seen through an address that leads to that place.

    Returns:
        How many.
    """
    there = _REGISTERED
    if connection.execute(there, {"cluster": cluster_id}).one_or_none() is None:
        return 0
    return connection.execute(_NOTE, {"cluster": cluster_id, "gids": list(gids)}).rowcount


# Secrets of launches without work, on clusters that can be asked.
_DUE = text(
    "SELECT d.* FROM argosy.cluster c CROSS JOIN LATERAL (SELECT gid, cluster_id FROM argosy.launch_secret o "
    f"WHERE o.cluster_id = c.id AND {_NEEDLESS} ORDER BY random() LIMIT :limit FOR UPDATE SKIP LOCKED) d "
    "WHERE c.removed_at IS NULL"
)

# Nobody makes them again meanwhile.
_DELETING = text(
    "UPDATE argosy.launch_secret o SET deleting = true FROM json_to_recordset(CAST(:secrets AS json)) "
    f"AS d (gid uuid, cluster_id int) WHERE o.gid = d.gid AND o.cluster_id = d.cluster_id AND {_NEEDLESS} "
    "RETURNING o.gid, o.cluster_id"
)


def due(connection: Connection, limit: int = 100) -> list[Debt]:
    """Mark and return the Secrets that nobody needs any more: every job of the launch on that cluster has ended.

    Asked twice, the second time under the rows' locks, for which `intend` waits: else a job that is claimed in between would be told to go
    ahead and find its Secret gone. So many of each cluster, in no order: one that cannot be deleted keeps no other waiting.
    """
    needless = [row._asdict() for row in connection.execute(_DUE, {"limit": limit})]
    marked = connection.execute(_DELETING, {"secrets": rows.recordset(needless)})
    return [Debt(**row._mapping) for row in marked]


# Nobody needed it again.
_STILL_DUE = text("SELECT FROM argosy.launch_secret WHERE gid = :gid AND cluster_id = :cluster AND deleting")


def still_due(connection: Connection, debt: Debt) -> bool:
    """Whether a Secret that was read just now is one that nobody needs: one that is made anew is another object."""
    found = connection.execute(_STILL_DUE, {"gid": debt.gid, "cluster": debt.cluster_id})
    return found.one_or_none() is not None


# It is gone.
_SETTLE = text("DELETE FROM argosy.launch_secret WHERE gid = :gid AND cluster_id = :cluster AND deleting")


def settle(connection: Connection, debt: Debt) -> None:
    """The Secret is surely gone."""
    connection.execute(_SETTLE, {"gid": debt.gid, "cluster": debt.cluster_id})


# Launches that need their token no more.
_WIPEABLE = text(f"SELECT gid FROM argosy.launch o WHERE {_ENDED} LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED")

# Asked again under their locks.
_WIPE = text(
    "UPDATE argosy.launch o SET token_sealed = NULL, token_wiped = true "
    f"WHERE gid = ANY (CAST(:gids AS uuid[])) AND {_ENDED}"
)


def wipe_tokens(connection: Connection, limit: int = 100) -> int:
    """Forget the tokens of launches that have ended everywhere and whose Secrets are gone.

    Asked twice, the second time under the launches' locks, which a retry takes first: else one that commits in between would find its
    token gone.

    Returns:
        How many.
    """
    gids = connection.execute(_WIPEABLE, {"limit": limit}).scalars()
    return connection.execute(_WIPE, {"gids": list(gids)}).rowcount
