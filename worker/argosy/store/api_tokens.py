"""Tokens of the gateway's own: made once, shown once, kept as a hash.

A token is 32 random bytes, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would slow down.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, text

from argosy.errors import NotFound

PREFIX = "argosy_"
"""How each begins, so that people and scanners for secrets know one."""


@dataclass(frozen=True)
class ApiToken:
    """What a token may do. `projects` and `organizations` None mean all; `sealed` is the platform's token for launches."""

    id: int
    name: str
    user: int
    role: str
    projects: Sequence[int] | None
    organizations: Sequence[int] | None
    sealed: bytes | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


_COLUMNS = 'id, name, user_id AS "user", role, projects, organizations, sealed, expires_at, revoked_at, created_at'

_CREATE = text(
    "INSERT INTO argosy.api_token (digest, name, user_id, role, projects, organizations, sealed, expires_at) "
    "VALUES (:digest, :name, :user, :role, :projects, :organizations, :sealed, "
    f"clock_timestamp() + make_interval(days => :days)) RETURNING {_COLUMNS}"
)


def create(
    connection: Connection,
    *,
    name: str,
    user: int,
    role: str,
    projects: Sequence[int] | None,
    organizations: Sequence[int] | None,
    days: int | None,
    sealed: bytes | None,
) -> tuple[ApiToken, str]:
    """Make a token.

    Args:
        connection: In a transaction.
        name: What people call it.
        user: On whose behalf it acts.
        role: What it may do in its projects.
        projects: Those; None means all.
        organizations: Whose clusters it may manage; None means all.
        days: How long it is good; None means until it is revoked.
        sealed: The platform's token for its launches, sealed.

    Returns:
        The token as kept, and its text, which nobody can be told again.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    fields = {"name": name, "user": user, "role": role, "days": days, "sealed": sealed}
    lists = {"projects": _listed(projects), "organizations": _listed(organizations)}
    row = connection.execute(_CREATE, fields | lists | {"digest": _digest(secret)}).one()
    return ApiToken(**row._mapping), secret


def _listed(ids: Sequence[int] | None) -> list[int] | None:
    return None if ids is None else list(ids)


_FIND = text(
    f"SELECT {_COLUMNS} FROM argosy.api_token WHERE digest = :digest AND revoked_at IS NULL "
    "AND (expires_at IS NULL OR expires_at > clock_timestamp())"
)


def find(connection: Connection, secret: str) -> ApiToken | None:
    """The token with this text; None where there is none, or it is over."""
    row = connection.execute(_FIND, {"digest": _digest(secret)}).one_or_none()
    return None if row is None else ApiToken(**row._mapping)


_ALL = text(f"SELECT {_COLUMNS} FROM argosy.api_token ORDER BY id")


def every(connection: Connection) -> list[ApiToken]:
    """All tokens, those that are over included."""
    return [ApiToken(**row._mapping) for row in connection.execute(_ALL)]


_REVOKE = text(
    "UPDATE argosy.api_token SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = :id RETURNING id"
)


def revoke(connection: Connection, number: int) -> None:
    """End a token.

    Raises:
        NotFound: There is none with this id.
    """
    if connection.execute(_REVOKE, {"id": number}).one_or_none() is None:
        raise NotFound(f"token {number} does not exist; see: argosy token list")


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()
