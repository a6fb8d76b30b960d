"""Messages on the queue, as any language sends them."""

import json
from collections.abc import Iterator
from uuid import uuid1, uuid4

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO, CurrentMessage, Retries

from argosy.processes.wakeups import LAUNCH, Broker, broker
from argosy.processes.worker import Boot, declare
from argosy.settings import Settings


@pytest.fixture
def pool(settings: Settings, valkey: str) -> Iterator[Broker]:
    """A worker of two threads on all queues of an empty Redis."""
    configured = settings.model_copy(update={"redis_url": settings.redis_url.__class__(valkey)})
    boot = Boot(configured)
    made = broker(configured, [Retries(max_retries=0), CurrentMessage(), AsyncIO(), boot])
    made.client.flushall()
    declare(made, boot)
    worker = dramatiq.Worker(made, worker_threads=2, worker_timeout=100)
    worker.start()
    yield made
    worker.stop()


def push(pool: Broker, data: bytes, queue: str = LAUNCH, message_id: str = "") -> str:
    """As a producer in another language would: the bytes under an id, the id into the queue."""
    message_id = message_id or str(uuid4())
    pool.client.hset(f"argosy:{queue}.msgs", message_id, data)
    pool.client.rpush(f"argosy:{queue}", message_id)
    return message_id


def envelope(queue: str, args: list[object]) -> tuple[str, bytes]:
    message_id = str(uuid4())
    return message_id, json.dumps(
        {
            "queue_name": queue,
            "actor_name": queue,
            "args": args,
            "kwargs": {},
            "options": {"redis_message_id": message_id},
            "message_id": str(uuid4()),
            "message_timestamp": 0,
        }
    ).encode()


def send(pool: Broker, queue: str, args: list[object]) -> str:
    message_id, message = envelope(queue, args)
    return push(pool, message, queue, message_id)


def request(**fields: object) -> dict[str, object]:
    return {"gid": str(uuid1()), "project": 1, "user": 7, "algorithm_name": "hello", "media_ids": [1]} | fields
