"""The worker: Dramatiq actors, each a thin call of one stage. `argosy worker` runs `dramatiq argosy.processes.worker:setup`.

Actors are idempotent and keep no state that matters: a message may come twice, late or never. If an actor fails, the database still knows
the unfinished work, so actors are retried only a few times: housekeeping sends the wake-up again (F25).
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from types import FrameType
from typing import TypeVar
from uuid import UUID

import dramatiq
import structlog
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import (
    AsyncIO,
    CurrentMessage,
    Middleware,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from argosy import settings
from argosy.access import Clusters
from argosy.errors import ArgosyError, Conflict, InvalidRequest, NotConfigured, NotFound, QueueFull
from argosy.inputs import validated
from argosy.launch.accept import accept, refuse
from argosy.launch.expand import Launching
from argosy.launch.expander import Expander
from argosy.launch.media import RestMediaSource
from argosy.metrics import DEAD_LETTERS
from argosy.processes import garbage, log
from argosy.processes.heart import Heart
from argosy.processes.pool import answer_probes, directory
from argosy.processes.wakeups import EXPAND, LAUNCH, SUBMIT, Broker, WakeUps, broker
from argosy.shapes.given import LaunchRequest
from argosy.store import database
from argosy.store.installation import identity
from argosy.store.processes import WORKER
from argosy.submit.run import Submitter

_HOUR = 3_600_000
"""Milliseconds: the time limit of an actor. A long queue may take that long. Calls that hang are ended by their own deadlines. Dramatiq's
default of ten minutes would interrupt work that goes well."""

_TRIES = 3
"""How often a message that failed is tried again."""

T = TypeVar("T", UUID, int)

logger = structlog.stdlib.get_logger(__name__)


class Unprocessable(ArgosyError):
    """A message for which no retry can help; it goes to the dead letters."""


class _TooEarly(ArgosyError):
    """A launch whose predecessor is not there yet; its message is tried again."""


_FINAL = (Unprocessable, NotFound)
"""Errors that stay the same however often the message is tried."""


class _Stages:
    """Objects that the actors of one process share."""

    def __init__(self, configured: settings.Settings, wakeups: WakeUps) -> None:
        self.settings, self.wakeups = configured, wakeups
        self.engine = database.engine(configured, pool_size=8)
        worker = f"{socket.gethostname()}/{os.getpid()}"
        self.expander = Expander(
            Launching(self.engine, configured, RestMediaSource(configured), worker), wakeups.submit
        )
        self.submitter = Submitter(
            self.engine,
            configured,
            Clusters(self.engine, configured),
            identity(self.engine),
            worker=worker,
        )


class Boot(Middleware):
    """Makes the stages after a worker process has started, because neither connection pools nor event loops survive a fork. The process's
    heart beats from then on.

    Args:
        configured: The settings of this process.
    """

    def __init__(self, configured: settings.Settings) -> None:
        self.settings = configured
        self.stages: _Stages | None = None
        self._broker: Broker | None = None
        self._making = Lock()
        self._heart: Heart | None = None
        self._beat: Future[None] | None = None

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Functions that Dramatiq runs, each in a process of its own, once for the pool."""
        return [answer_probes]

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """Called by Dramatiq in each worker process when its signal handlers are set. Makes the process ignore a second signal to end.

        A process manager sends the signal to the whole group, and the pool's first process sends it to the others too. At a second signal
        Dramatiq stops at once, by an exception in the main thread; but the other threads go on, and the process never ends.
        """
        numbers = (signal.SIGTERM, signal.SIGHUP)
        end = signal.getsignal(signal.SIGTERM)
        assert callable(end)  # noqa: S101 -- Dramatiq's

        def once(number: int, frame: FrameType | None) -> None:
            for ignored in numbers:
                signal.signal(ignored, signal.SIG_IGN)
            end(number, frame)

        for number in numbers:
            signal.signal(number, once)

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Called by Dramatiq in each worker process. Dramatiq ignores exceptions here, so if the stages cannot be made now, `get` makes
        them for a later message. Else a worker that was started while the database was away would never work, and never end."""
        assert isinstance(broker, Broker)  # noqa: S101 -- `setup` made it
        self._broker = broker
        event_loop = get_event_loop_thread()
        assert event_loop is not None  # noqa: S101 -- the middleware AsyncIO comes before this one
        self._heart = Heart(self.settings, WORKER, self._parts, {"Redis": broker.ask}, directory())
        self._heart.start()
        self._beat = asyncio.run_coroutine_threadsafe(self._heart.beat(), event_loop.loop)
        try:
            self.get()
        except ArgosyError as error:
            logger.warning("worker not ready yet, tries again with its next message", reason=str(error))

    def before_nack(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        """Called by Dramatiq when a message becomes a dead letter."""
        assert isinstance(broker, Broker)  # noqa: S101 -- `setup` made it
        broker.note(message.queue_name, message.options["redis_message_id"], str(message._exception or ""))

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Called by Dramatiq when the process is told to end: claimed work is finished or given back."""
        if self.stages is not None:
            self.stages.submitter.stop()
            self.stages.expander.stop()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Called by Dramatiq after its threads have ended and before its event loop ends."""
        if self.stages is not None:
            event_loop = get_event_loop_thread()
            assert event_loop is not None  # noqa: S101 -- the middleware AsyncIO comes before this one
            event_loop.run_coroutine(self.stages.submitter.drained())
            self.stages.engine.dispose()
        if self._heart is not None and self._beat is not None:
            self._beat.cancel()
            self._heart.stop()

    def _parts(self) -> list[str]:
        return [] if self.stages is not None else ["it begins when the database answers"]

    def get(self) -> _Stages:
        """The stages of this process.

        Raises:
            NotConfigured: They are not made yet, and the database is not reachable.
        """
        with self._making:
            if self.stages is None:
                assert self._broker is not None  # noqa: S101 -- Dramatiq boots a worker before it gives it messages
                self.stages = _Stages(self.settings, WakeUps(self._broker))
            return self.stages


def setup() -> None:
    """Make the broker and its actors; called by Dramatiq in each process."""
    configured = settings.load()
    log.configure(configured)
    boot = Boot(configured)
    made = broker(
        configured,
        [
            TimeLimit(time_limit=_HOUR),
            # Actors are not interrupted: they only hand work over, and a submitter that is told to stop ends by itself.
            ShutdownNotifications(notify_shutdown=False),
            # A few quick tries, if the database or Redis is away for a moment. After that, housekeeping sends the wake-up again.
            Retries(max_retries=_TRIES, min_backoff=500, max_backoff=5_000),
            CurrentMessage(),
            AsyncIO(),
            boot,
        ],
    )
    dramatiq.set_broker(made)
    declare(made, boot)
    garbage.collect_rarely()


def declare(made: Broker, boot: Boot) -> None:
    """Declare the actors on a broker. They take any arguments, so that a malformed message is refused by name, not by a TypeError."""

    def run_launch(*args: object, **kwargs: object) -> None:
        """A caller's launch request: commit it, then expand it as after a wake-up."""
        stages = boot.get()
        payload: object = args[0] if len(args) == 1 and not kwargs else kwargs
        try:
            request = validated(LaunchRequest, payload)
        except InvalidRequest as error:
            refuse(stages.engine, payload, str(error))
            raise _unprocessable(LAUNCH, str(error)) from error
        try:
            accept(stages.engine, stages.settings, request)
        except (Conflict, InvalidRequest, QueueFull) as error:
            raise _unprocessable(LAUNCH, str(error)) from error
        except NotFound as error:
            # Two messages may overtake each other: the launch that comes first may be here in a moment.
            if _tried() < _TRIES:
                raise _TooEarly(str(error)) from error
            refuse(stages.engine, payload, str(error))
            raise _unprocessable(LAUNCH, str(error)) from error
        stages.wakeups.expand(request.gid)

    def run_expand(*args: object, **kwargs: object) -> None:
        """Wake-up: expand one launch, in threads of the expander, because Dramatiq's threads must deliver all other messages."""
        boot.get().expander.start(_argument(EXPAND, UUID, args, kwargs))

    async def run_submit(*args: object, **kwargs: object) -> None:
        """Wake-up: submit one cluster's queue."""
        boot.get().submitter.start(_argument(SUBMIT, int, args, kwargs))

    dramatiq.actor(actor_name=LAUNCH, queue_name=LAUNCH, broker=made, throws=_FINAL, retry_when=_again)(run_launch)
    dramatiq.actor(actor_name=EXPAND, queue_name=EXPAND, broker=made, throws=_FINAL)(run_expand)
    dramatiq.actor(actor_name=SUBMIT, queue_name=SUBMIT, broker=made, throws=_FINAL)(run_submit)


def _again(retries: int, error: BaseException) -> bool:
    """Whether a launch request is tried again. The request is only in its message, so it is retried as long as the database is away."""
    return isinstance(error, OperationalError | RedisError | NotConfigured) or retries < _TRIES


def _tried() -> int:
    """How often the present message was tried before."""
    message = CurrentMessage.get_current_message()
    return 0 if message is None else int(message.options.get("retries", 0))


def _argument(queue: str, kind: type[T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
    try:
        (value,) = args
        return kind(str(value))
    except ValueError as error:
        raise _unprocessable(
            queue, f"expected one {kind.__name__}, got {len(args)} arguments {sorted(kwargs)}"
        ) from error


def _unprocessable(queue: str, reason: str) -> Unprocessable:
    message = CurrentMessage.get_current_message()
    DEAD_LETTERS.labels(queue).inc()
    logger.error(
        "message refused, dead-lettered", queue=queue, message_id=getattr(message, "message_id", ""), reason=reason
    )
    return Unprocessable(f"message on queue {queue!r}: {reason}")
