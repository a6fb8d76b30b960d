"""Who acts: the name that events (store/events.py) give to changes that a person or program asked for.

It is a context variable, because the functions between an entry and the database have no use for it. Each transaction that begins while a
name is set tells it to PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from argosy.inputs import clean

_LONGEST = 200

_ACTOR: ContextVar[str] = ContextVar("actor", default="")


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Name whoever asks for the changes that are made inside the block, for the history: `with acting("user 7"): client.cancel(uid)`."""
    before = _ACTOR.set(clean(who, limit=_LONGEST))
    try:
        yield
    finally:
        _ACTOR.reset(before)


def actor() -> str:
    """Who acts now; empty if nobody is named."""
    return _ACTOR.get()
