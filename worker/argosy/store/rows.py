"""Values as PostgreSQL reads them from text: what is large is sent as it is stored, and not item by item."""

from collections.abc import Sequence

import orjson


def array(ids: Sequence[int] | None) -> str | None:
    """A bigint[] as PostgreSQL reads it; drivers take far longer to write a long list."""
    return None if ids is None else f"{{{orjson.dumps(ids)[1:-1].decode()}}}"


def json(value: object) -> str | None:
    """A json or jsonb; None is NULL."""
    return None if value is None else orjson.dumps(value).decode()
