"""The worker: Dramatiq actors, each a thin call of one stage. `argosy worker` runs `dramatiq argosy.processes.worker:setup`.

Actors are idempotent and hold no state that matters: a message may come twice, late or never. What fails is left to the database, which
knows what is unfinished, so actors are retried only a little: housekeeping sends the wake-up again (F25).
"""

import os
import signal
import socket
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
from dramatiq.middleware.prometheus import Prometheus
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from argosy import settings
from argosy.access import Clusters
from argosy.errors import ArgosyError, Conflict, InvalidRequest, NotConfigured, NotFound, QueueFull
from argosy.inputs import validated
from argosy.launch.accept import accept
from argosy.launch.expand import Launching
from argosy.launch.expander import Expander
from argosy.launch.media import RestMediaSource
from argosy.metrics import DEAD_LETTERS
from argosy.processes import garbage, log
from argosy.processes.wakeups import EXPAND, LAUNCH, SUBMIT, Broker, WakeUps, broker
from argosy.shapes.given import LaunchRequest
from argosy.store import database
from argosy.store.installation import identity
from argosy.submit.run import Submitter

_HOUR = 3_600_000
"""Milliseconds. A long queue may take that long; what hangs is ended by the deadlines of its own network calls. Dramatiq's ten
minutes would cut work that goes well."""

_TRIES = 3
"""Tries after the first of a message that fails."""

T = TypeVar("T", UUID, int)

logger = structlog.stdlib.get_logger(__name__)


class Unprocessable(ArgosyError):
    """A message that no retry will make right; it goes to the dead letters."""


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
    """Makes the stages when a worker process has booted, not before: neither pools nor event loops survive a fork.

    Args:
        configured: The settings of this process.
    """

    def __init__(self, configured: settings.Settings) -> None:
        self.settings = configured
        self.stages: _Stages | None = None
        self._broker: Broker | None = None
        self._making = Lock()

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """Called by Dramatiq in each worker process, when its signal handlers are set: told to end once more, it goes on ending.

        A process manager tells the whole group, and the pool's first process tells the others too. Dramatiq takes the second time as an
        order to drop everything, by an exception in the main thread, which the other threads outlive for ever.
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
        """Called by Dramatiq in each worker process, which survives whatever is raised here: what cannot be made now is made for the first
        message for which it can. A worker that was started while the database was away would else never work, and never end."""
        assert isinstance(broker, Broker)  # noqa: S101 -- `setup` made it
        self._broker = broker
        try:
            self.get()
        except ArgosyError as error:
            logger.warning("this worker begins when it can", reason=str(error))

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Called by Dramatiq when the process is told to end: what is claimed is finished or handed back."""
        if self.stages is not None:
            self.stages.submitter.stop()
            self.stages.expander.stop()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Called by Dramatiq when its threads have ended, and before its event loop does."""
        if self.stages is not None:
            event_loop = get_event_loop_thread()
            assert event_loop is not None  # noqa: S101 -- the middleware AsyncIO stands before this one
            event_loop.run_coroutine(self.stages.submitter.drained())
            self.stages.engine.dispose()

    def get(self) -> _Stages:
        """The stages of this process.

        Raises:
            NotConfigured: The database is away, and they were never made.
        """
        with self._making:
            if self.stages is None:
                assert self._broker is not None  # noqa: S101 -- Dramatiq boots a worker before it has it work
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
            Prometheus(),
            TimeLimit(time_limit=_HOUR),
            # Nothing is interrupted: actors hand work over, and a submitter that is told to stop ends by itself.
            ShutdownNotifications(notify_shutdown=False),
            # A few quick tries for a database or Redis that blinks; the rest is housekeeping's.
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
        """A caller's launch request: commit it, then go on as after any wake-up."""
        request = _request(args, kwargs)
        stages = boot.get()
        try:
            accept(stages.engine, stages.settings, request)
        except (Conflict, InvalidRequest, QueueFull) as error:
            raise _unprocessable(LAUNCH, str(error)) from error
        stages.wakeups.expand(request.gid)

    def run_expand(*args: object, **kwargs: object) -> None:
        """Wake-up: expand one launch, in threads of its own: those of Dramatiq deliver all other messages."""
        boot.get().expander.start(_argument(EXPAND, UUID, args, kwargs))

    async def run_submit(*args: object, **kwargs: object) -> None:
        """Wake-up: submit one cluster's queue."""
        boot.get().submitter.start(_argument(SUBMIT, int, args, kwargs))

    dramatiq.actor(actor_name=LAUNCH, queue_name=LAUNCH, broker=made, throws=_FINAL, retry_when=_again)(run_launch)
    dramatiq.actor(actor_name=EXPAND, queue_name=EXPAND, broker=made, throws=_FINAL)(run_expand)
    dramatiq.actor(actor_name=SUBMIT, queue_name=SUBMIT, broker=made, throws=_FINAL)(run_submit)


def _again(retries: int, error: BaseException) -> bool:
    """Whether a launch request is tried again: it is nowhere but in its message, which outlasts a database that is away."""
    return isinstance(error, OperationalError | RedisError | NotConfigured) or retries < _TRIES


def _request(args: tuple[object, ...], kwargs: dict[str, object]) -> LaunchRequest:
    payload: object = args[0] if len(args) == 1 and not kwargs else kwargs
    try:
        return validated(LaunchRequest, payload)
    except InvalidRequest as error:
        raise _unprocessable(LAUNCH, str(error)) from error


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
