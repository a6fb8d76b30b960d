"""The outermost loop, once: what a process that must go on does with what went wrong in one round of its work.

That the database or Redis is away, or that something said no in our own words, is for the one who runs argosy: one line, and the next
round. Anything else is a defect of argosy's: it is logged with its traceback, counted where an alert looks, and survived too (F23).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from argosy.errors import ArgosyError
from argosy.metrics import LOOP_ERRORS

log = structlog.stdlib.get_logger(__name__)


@contextmanager
def surviving(loop: str, waits: str, **context: object) -> Iterator[None]:
    """Survive whatever goes wrong in one round of a loop, and say so.

    Args:
        loop: Which; the label of `argosy_loop_errors_total`.
        waits: What is not done because of it, for people: "wake-ups wait".
        context: What it was about; fields of the log line.
    """
    try:
        yield
    except* (OperationalError, psycopg.OperationalError) as group:
        log.warning(f"database away, {waits}", reason=reason_of(group), **context)
    except* RedisError as group:
        log.warning(f"Redis away, {waits}", reason=reason_of(group), **context)
    except* ArgosyError as group:
        log.warning(waits, reason=reason_of(group), **context)
    except* Exception:
        LOOP_ERRORS.labels(loop).inc()
        log.exception(f"defect, {waits}", loop=loop, **context)


def reason_of(error: BaseException) -> str:
    """Text of an exception without the SQL that SQLAlchemy adds; of a group, the first one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error.orig) if isinstance(error, OperationalError) and error.orig is not None else str(error)
