"""Dead letters: messages for which no retry can help, each with the reason. They lie in Redis beside their queues, for a week.

Dramatiq keeps such a message and not why; a hash beside it says that. Like all in Redis it may be gone at any time, and the log has it too.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

from pydantic import BaseModel

from argosy.errors import NotFound
from argosy.inputs import clean
from argosy.processes.wakeups import QUEUES, Broker


class DeadLetter(BaseModel):
    """A message that was put aside. `gid` is that of its launch request, if it can be read."""

    id: str
    queue: str
    at: datetime
    reason: str
    gid: UUID | None
    message: str


def letters(broker: Broker) -> Iterator[DeadLetter]:
    """All dead letters, queue by queue, the oldest first."""
    for queue in QUEUES:
        found = cast(
            list[tuple[bytes, float]],
            broker.client.zrangebyscore(_dead(broker, queue), "-inf", "+inf", withscores=True),
        )
        for message_id, milliseconds in found:
            yield _letter(broker, queue, message_id.decode(), milliseconds)


def letter(broker: Broker, message_id: str) -> DeadLetter:
    """One dead letter.

    Raises:
        NotFound: There is none with this id.
    """
    for found in letters(broker):
        if found.id == message_id:
            return found
    raise NotFound(f"{message_id[:100]} is no dead letter; see: argosy dead-letters list")


def drop(broker: Broker, found: DeadLetter) -> None:
    """Forget a dead letter."""
    _move(broker, found, again=False)


def retry(broker: Broker, found: DeadLetter) -> None:
    """Put a dead letter back into its queue."""
    _move(broker, found, again=True)


def _move(broker: Broker, found: DeadLetter, again: bool) -> None:
    """Into its queue first: a message that is there twice hurts nobody."""
    dead, client = _dead(broker, found.queue), broker.client
    if again and (data := client.hget(f"{dead}.msgs", found.id)) is not None:
        client.hset(f"{broker.namespace}:{found.queue}.msgs", found.id, cast(str, data))
        client.rpush(f"{broker.namespace}:{found.queue}", found.id)
    client.zrem(dead, found.id)
    client.hdel(f"{dead}.msgs", found.id)
    client.hdel(broker.why(found.queue), found.id)


def _letter(broker: Broker, queue: str, message_id: str, milliseconds: float) -> DeadLetter:
    data = cast(bytes, broker.client.hget(f"{_dead(broker, queue)}.msgs", message_id) or b"")
    reason = cast(bytes | None, broker.client.hget(broker.why(queue), message_id))
    return DeadLetter(
        id=message_id,
        queue=queue,
        at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        reason="not known any more" if reason is None else reason.decode(),
        gid=_gid(data),
        message=clean(data.decode("utf-8", "replace"), limit=100_000),
    )


def _gid(data: bytes) -> UUID | None:
    with suppress(ValueError, RecursionError, AttributeError, TypeError, IndexError, KeyError):
        message = json.loads(data)
        request = message["args"][0] if message["args"] else message["kwargs"]
        return UUID(request["gid"])
    return None


def _dead(broker: Broker, queue: str) -> str:
    return f"{broker.namespace}:{queue}.XQ"
