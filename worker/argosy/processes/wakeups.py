"""Wake-ups: Dramatiq messages that say "look in the database". Losing one loses nothing.

Redis is not part of our transactions, so no state is kept there: every message only names a row, and housekeeping sends lost ones again
(F25). One kind of message does contain data: a caller's launch request. Our promises hold for it as soon as a worker has committed it.

The broker's settings are not Dramatiq's defaults: with these, the messages of a dead worker stay unprocessed for half an hour on an idle
system (only other commands on the same queue start maintenance, with a probability of 0.1 %).
"""

import re
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import dramatiq
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import DecodeError
from redis.exceptions import RedisError

from argosy.errors import NotConfigured
from argosy.inputs import clean
from argosy.metrics import DEAD_LETTERS, REDIS_ERRORS, REDIS_SECONDS
from argosy.settings import Settings

LAUNCH, EXPAND, SUBMIT = "launch", "expand", "submit"
QUEUES = (LAUNCH, EXPAND, SUBMIT)
"""One queue per actor of the same name: a flood of launches must not delay submits."""

_IDLE = 200
"""The most milliseconds between two polls of an idle consumer; a launch on an idle system waits for two of them."""

_MAINTENANCE_CHANCE = 4_000
"""After how many of a million commands maintenance runs. An idle consumer polls about five times a second, so messages of dead workers come
back in a minute or two. Housekeeping finds the same work earlier."""

_HEARTBEAT = 30_000
"""Milliseconds after which a silent worker's messages are given to others. It is no problem if the worker was only slow: actors are
idempotent."""

_PILE = 1_000
"""The longest queue of one kind of wake-ups in Redis. More would not tell the workers anything new."""

log = structlog.stdlib.get_logger(__name__)


_FIELDS: dict[str, Any] = {
    "queue_name": str,
    "actor_name": str,
    "args": list,
    "kwargs": dict,
    "options": dict,
    "message_id": str,
    "message_timestamp": int,
}


class StrictEncoder(JSONEncoder):
    """JSON that refuses everything that is not a correct Dramatiq message in every field, so that nothing else can stop a consumer."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """Decode a message.

        Raises:
            DecodeError: It is not a correct message.
        """
        try:
            message: object = super().decode(data)
        except (DecodeError, ValueError, RecursionError) as error:  # nested too deeply, or a number of 5,000 digits
            raise DecodeError(f"not readable as JSON: {str(error)[:200]}", data, error) from None
        if not isinstance(message, dict):
            raise DecodeError("not a JSON object", data, None)
        for name, kind in _FIELDS.items():
            if not isinstance(message.get(name), kind):
                raise DecodeError(f"field {name!r} is missing or not {kind.__name__}", data, None)
        if not isinstance(message["options"].get("redis_message_id"), str):
            raise DecodeError("options.redis_message_id is missing", data, None)
        return {name: message[name] for name in _FIELDS}


class Broker(RedisBroker):
    """Dramatiq's Redis broker, but its consumers dead-letter a message that they cannot read, instead of restarting for ever because of
    it."""

    @property
    def consumer_class(self) -> Any:
        """The consumer."""
        return _Consumer

    def ask(self) -> None:
        """Ask whether Redis takes wake-ups, by a key that goes at once: a full Redis and a replica answer a PING, too. Raises the client's
        errors."""
        self.client.set(f"{self.namespace}:asked", b"", px=1)

    def why(self, queue: str) -> str:
        """The key of the hash that says why messages of a queue were put aside."""
        return f"{self.namespace}:{queue}.XQ.why"

    def note(self, queue: str, message_id: str, reason: str) -> None:
        """Write down why a message is about to be put aside, for as long as Dramatiq keeps it."""
        self.client.hset(self.why(queue), message_id, clean(reason))
        self.client.pexpire(self.why(queue), self.dead_message_ttl)

    def _dispatch(self, command: str) -> Any:
        """A function that sends a command; it is timed."""
        send = super()._dispatch(command)  # type: ignore[no-untyped-call]

        def timed(*args: Any) -> Any:
            with REDIS_SECONDS.time(), REDIS_ERRORS.count_exceptions(RedisError):
                return send(*args)

        return timed


class _Consumer(_RedisConsumer):
    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, min(timeout, _IDLE))  # type: ignore[no-untyped-call]

    def __next__(self) -> Any:
        while True:
            try:
                return super().__next__()  # type: ignore[no-untyped-call]
            except DecodeError as error:
                self._bury(error)

    def _bury(self, error: DecodeError) -> None:
        """Move an unreadable message to the dead letters. Its id is found as the key whose value is the message's bytes."""
        DEAD_LETTERS.labels(self.queue_name).inc()
        key = f"{self.broker.namespace}:{self.queue_name}.msgs"
        ids = [mid.decode() for mid, data in self.broker.client.hscan_iter(key) if data == error.data]
        log.error("message not readable, dead-lettered", queue=self.queue_name, ids=ids, reason=str(error))
        for message_id in ids:
            self.broker.do_nack(self.queue_name, message_id)
            self.broker.note(self.queue_name, message_id, str(error))


def words_of(error: RedisError) -> str:
    """Why Redis cannot be used, without the library's own words around it."""
    return re.sub(r"^Error -?\d+ connecting to (\S+)\. (.*?)\.?$", r"\1: \2", str(error))


def broker(settings: Settings, middleware: list[dramatiq.Middleware] | None = None) -> Broker:
    """A broker with argosy's queues declared.

    Args:
        settings: Where Redis is.
        middleware: For workers; not needed for sending only.

    Raises:
        NotConfigured: The address cannot be used.
    """
    dramatiq.set_encoder(StrictEncoder())
    try:
        url = urlsplit(settings.redis_url.get_secret_value())
        if url.scheme != "unix":
            int(url.path.strip("/") or 0)  # the client silently uses database 0 if it is not a number
        made = Broker(  # type: ignore[no-untyped-call]
            url=url.geturl() or "empty",
            middleware=middleware or [],
            namespace="argosy",
            maintenance_chance=_MAINTENANCE_CHANCE,
            heartbeat_timeout=_HEARTBEAT,
        )
        made.client.connection_pool.make_connection()  # checks the options in the address; does not connect
    except (ValueError, TypeError):
        # The message does not contain the address: a password may be in it.
        raise NotConfigured(
            "ARGOSY_REDIS_URL: write redis://user:password@host:port/database, rediss:// for TLS, or unix:///path"
        ) from None
    made.client.connection_pool.connection_kwargs.update(socket_connect_timeout=3, socket_timeout=10)
    for name in QUEUES:
        made.declare_queue(name)
    return made


class WakeUps:
    """Sends wake-ups.

    Args:
        broker: From `broker`.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def expand(self, gid: UUID) -> None:
        """Have a worker expand a launch."""
        self._send(EXPAND, str(gid))

    def submit(self, cluster_id: int) -> None:
        """Have a worker submit a cluster's queue."""
        self._send(SUBMIT, cluster_id)

    def _send(self, name: str, argument: str | int) -> None:
        if self._broker.do_qsize(name) >= _PILE:
            return
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=name,
            actor_name=name,
            args=(argument,),
            kwargs={},
            options={},
            message_id=str(uuid4()),
            message_timestamp=current_millis(),
        )
        self._broker.enqueue(message)
