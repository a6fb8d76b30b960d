"""Logging: one JSON object a line for machines, colours for people.

structlog over the standard library, so that Dramatiq's and SQLAlchemy's lines have the same form. What Python itself would print
(exceptions that nobody catches, warnings) goes the same way. Every line says which process wrote it. A line about a job names its
`workflow`, from which its `uid` and `attempt` follow; `gid` is its launch, and `cluster` is always a name. Tracebacks never contain local
variables: a token may be among them. A warning that repeats is logged at once and then less and less often, because loops retry every
second.
"""

import logging
import os
import socket
import sys
import threading
import time
from importlib.metadata import version
from threading import Lock
from types import TracebackType

import structlog
from structlog.typing import EventDict

from argosy.inputs import clean
from argosy.labels import attempt_of
from argosy.settings import Settings


def configure(settings: Settings) -> None:
    """Set up the logging of this process. Call it once, before anything else."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _of_job,
        _of_process,
    ]
    if settings.log_format == "json":
        final: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        final = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final]
        )
    )
    handler.addFilter(_latest)
    handler.addFilter(_Sparse())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # At DEBUG it logs the headers of answers, and a server may repeat in them what it was sent.
    logging.getLogger("httpcore").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def last_line(event: str, reason: str | None) -> None:
    """Write why this process ends, as JSON: it may be before `configure`, and other handlers do not matter any more.

    Args:
        event: What.
        reason: Why, in one line; None for the traceback of the exception that is handled.
    """
    render: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _of_process,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    fields = {"exc_info": True} if reason is None else {"reason": reason}
    structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=render).critical(
        event, logger=__name__, **fields
    )


VERSION = version("argosy")


def _of_process(_: object, __: str, fields: EventDict) -> EventDict:
    """Which process writes the line; a pool's processes are forked after this is set up, so it is asked each time."""
    fields.update(pid=os.getpid(), host=_HOST, version=VERSION)
    return fields


_HOST = socket.gethostname()


def _of_job(_: object, __: str, fields: EventDict) -> EventDict:
    """The job of a line about a workflow."""
    if isinstance(name := fields.get("workflow"), str) and (attempt := attempt_of(name)) is not None:
        fields["uid"], fields["attempt"] = attempt
    if "gid" in fields:
        fields["gid"] = None if fields["gid"] is None else str(fields["gid"])
    return fields


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Log what nobody has caught. Ctrl-C says nothing."""
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        exc_info = (kind, error or kind(), trace)
        structlog.stdlib.get_logger(__name__).critical("an exception that nobody has caught", exc_info=exc_info)


class _Latest(logging.Filter):
    """Remembers the last warning or error."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.at = "", None  # type: str, float | None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            fields = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
            said = (fields.get(name) for name in ("event", "cluster", "gid", "uid", "reason"))
            self.text, self.at = clean(": ".join(str(each) for each in said if each), limit=_LONG), time.monotonic()
        return True


_LONG = 500
"""Characters of the last error that are told."""

_latest = _Latest()


def latest() -> tuple[str, float | None]:
    """The last warning or error of this process, and when by the monotonic clock; empty and None if there was none."""
    return _latest.text, _latest.at


_SELDOM = 60.0
"""The longest time between two equal warnings, in seconds. After this time without it, a warning counts as new."""

_MANY = 1_000
"""How many different warnings are remembered."""


class _Sparse(logging.Filter):
    """Logs a warning at once, and the same one again after 1, 2, 4 … 60 s. `repeated` says how often it came in between.

    Two warnings are the same if their event, fields and class of exception are equal; the reason may differ.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._given: dict[str, list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        fields = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
        same = sorted((k, str(v)) for k, v in fields.items() if k not in _VARYING)
        key = f"{record.name} {_kind(fields.get('exc_info') or record.exc_info)} {same}"
        now = time.monotonic()
        with self._lock:
            if len(self._given) > _MANY:
                self._given.clear()
            until, wait, unsaid, last = self._given.get(key, (0.0, 0.0, 0, -_SELDOM))
            if now - last >= _SELDOM and now >= until:
                self._given[key] = [now + 1, 1, 0, now]
                return True
            if now < until:
                self._given[key] = [until, wait, unsaid + 1, now]
                return False
            wait = min(wait * 2, _SELDOM)
            self._given[key] = [now + wait, wait, 0, now]
        if unsaid and isinstance(record.msg, dict):
            record.msg["repeated"] = int(unsaid)
        return True


def _kind(exc_info: object) -> object:
    """The class of a line's exception, in each of the ways in which it may be given."""
    if isinstance(exc_info, tuple):
        return exc_info[0]
    return type(exc_info) if isinstance(exc_info, BaseException) else sys.exc_info()[0] if exc_info else None


_VARYING = {"reason", "count", "exc_info", "timestamp"}
