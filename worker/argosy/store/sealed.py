"""What lies sealed in the database, and by which keys: credentials of clusters, tokens of launches, the platform's tokens that argosy's
own API tokens launch with, and those with which mails fetch what they attach. Nothing is opened here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, text


class Kind(StrEnum):
    """Where something sealed lies; in words, before its name."""

    CLUSTER = "cluster"
    LAUNCH = "launch"
    API_TOKEN = "API token"  # noqa: S105 -- a word
    MAIL = "mail"


@dataclass(frozen=True)
class Sealed:
    """A sealed secret. `name` is for people."""

    kind: Kind
    key: Any
    name: str
    secret: bytes


_PLACES = {
    Kind.CLUSTER: ("argosy.cluster", "id", "name", "token_sealed", 0),
    Kind.LAUNCH: ("argosy.launch", "gid", "gid::text", "token_sealed", "00000000-0000-0000-0000-000000000000"),
    Kind.API_TOKEN: ("argosy.api_token", "id", "name", "sealed", 0),
    Kind.MAIL: ("argosy.outbox", "id", "key", "token_sealed", 0),
}
"""Table, key, name, column, and a key before all others."""

# The next rows that have something sealed, in the order of their keys.
_PAGE = {
    kind: text(
        f"SELECT {key} AS key, {name} AS name, {column} AS secret FROM {table} WHERE {column} IS NOT NULL AND {key} > :after "
        f"ORDER BY {key} LIMIT :limit"
    )
    for kind, (table, key, name, column, _) in _PLACES.items()
}

# The same, locked, without those that somebody else has locked at this moment: so nobody waits for anybody.
_LOCKED = {
    kind: text(f"{statement.text} FOR NO KEY UPDATE SKIP LOCKED") for kind, statement in _PAGE.items()
}  # fmt: skip

# Another seal of the same secret.
_RESEAL = {
    kind: text(f"UPDATE {table} SET {column} = :sealed WHERE {key} = :key").bindparams(bindparam("sealed"))
    for kind, (table, key, _, column, _) in _PLACES.items()
}


def page(
    connection: Connection, kind: Kind, after: Sealed | None, limit: int = 100, locked: bool = False
) -> Sequence[Sealed]:
    """The rows of one kind that follow a row.

    Args:
        connection: In a transaction.
        kind: Which.
        after: The last row of the page before; None to begin.
        limit: The most rows.
        locked: Lock them, and leave out those that others have locked.
    """
    values = {"after": _PLACES[kind][-1] if after is None else after.key, "limit": limit}
    rows = connection.execute((_LOCKED if locked else _PAGE)[kind], values)
    return [Sealed(kind, row.key, row.name, bytes(row.secret)) for row in rows]


def reseal(connection: Connection, row: Sealed, sealed: bytes) -> None:
    """Replace what `page` has locked in this transaction."""
    connection.execute(_RESEAL[row.kind], {"key": row.key, "sealed": sealed})


@dataclass(frozen=True)
class KeyMarks:
    """By which keys this installation seals: something that its newest key has sealed, and the public key of its launch tokens. None until
    the first process with keys has begun."""

    keys_mark: bytes | None
    token_key: str | None


# The table has one row.
_MARKS = text("SELECT keys_mark, token_key FROM argosy.installation")

# The first one to begin says which keys there are.
_MARK = text(
    "UPDATE argosy.installation SET keys_mark = coalesce(keys_mark, :keys_mark), token_key = coalesce(token_key, :token_key)"
)

# No other rotation meanwhile; the lock is the session's.
_ALONE = text("SELECT pg_try_advisory_lock(hashtext('argosy secrets'))")
_NO_LONGER = text("SELECT pg_advisory_unlock(hashtext('argosy secrets'))")

# Whoever seals with a key waits for whoever ends a rotation, and the other way round.
_HOLD = {
    shared: text(f"SELECT FROM argosy.installation FOR {how}")
    for shared, how in ((True, "SHARE"), (False, "NO KEY UPDATE"))
}

# Other keys seal from now on.
_REMARK = text(
    "UPDATE argosy.installation SET keys_mark = :keys_mark, token_key = coalesce(CAST(:token_key AS text), token_key)"
)


def marks(connection: Connection) -> KeyMarks:
    """By which keys this installation seals."""
    row = connection.execute(_MARKS).one()
    return KeyMarks(None if row.keys_mark is None else bytes(row.keys_mark), row.token_key)


def mark(connection: Connection, own: KeyMarks) -> KeyMarks:
    """Say by which keys this installation seals, where nobody has said so yet. Returns what holds now."""
    connection.execute(_MARK, vars(own))
    return marks(connection)


@contextmanager
def alone(engine: Engine) -> Iterator[bool]:
    """Whether nobody else rotates; nobody else begins to until the end of the block."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        got = bool(connection.execute(_ALONE).scalar_one())
        try:
            yield got
        finally:
            if got:
                connection.execute(_NO_LONGER)


def hold(connection: Connection, *, shared: bool) -> KeyMarks:
    """By which keys this installation seals; that does not change until the transaction ends.

    Args:
        connection: In a transaction.
        shared: Others may seal at the same time. Without it, they wait.
    """
    connection.execute(_HOLD[shared])
    return marks(connection)


def remark(connection: Connection, own: KeyMarks) -> None:
    """Say by which keys this installation seals from now on; without a `token_key` the present one stays."""
    connection.execute(_REMARK, vars(own))
