"""Error handling for loops of a process that must not stop: what it does with an error in one round of its work.

If the database or Redis is not reachable, or an `ArgosyError` was raised, the operator gets one line in the log, and the next round
follows. Any other exception is a bug of argosy: it is logged with its traceback and counted in a metric with an alert, and the next round
follows too (F23).
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
    """Log any error of one round of a loop, and go on.

    Args:
        loop: Name of the loop; a label of `argosy_loop_errors_total`.
        waits: What is not done because of it, as log message: "wake-ups not sent".
        context: Fields of the log line.
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
