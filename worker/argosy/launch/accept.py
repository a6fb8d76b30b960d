"""Writing a launch into the database: in a transaction of its own, or in the caller's, together with the caller's other rows or not at
all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from sqlalchemy import Engine

from argosy import crypto
from argosy.errors import Conflict, InvalidRequest, NotConfigured
from argosy.failpoints import failpoint
from argosy.inputs import clean
from argosy.settings import Settings
from argosy.shapes.given import LaunchRequest, Origin
from argosy.store import cursors, database, requests


def seal(settings: Settings, token: str | None) -> bytes | None:
    """A launch's API token, sealed; None if it has none.

    Raises:
        NotConfigured: There is no public key.
    """
    if token is None:
        return None
    if settings.token_public_key is None:
        raise NotConfigured("ARGOSY_TOKEN_PUBLIC_KEY is not set: a launch's token cannot be sealed; see: argosy keys")
    return crypto.seal_token(token, settings.token_public_key)


def accept(
    engine: Engine,
    settings: Settings,
    request: LaunchRequest,
    connection: Any = None,
    judge: requests.Judge | None = None,
) -> requests.WrittenLaunch:
    """Write a launch into the database.

    Args:
        engine: Where the rows are.
        settings: How old its gid may be.
        request: The launch.
        connection: A DB-API connection, SQLAlchemy connection or session, or Django connection. The launch is written in its transaction,
            and its owner commits. Default: a transaction of its own, committed on return.
        judge: Asked before it is written, and raises what is wrong with it.

    Raises:
        Conflict: Its gid belongs to another launch.
        InvalidRequest: Its gid's time or its webhook cannot be used, or the connection has no transaction.
        NotAllowed: The connection's user may not launch.
        NotFound: Its project has no launch after which it is to run.
        QueueFull: Its project has too many queued jobs.
    """
    _check_webhook(settings, request)
    if connection is not None:
        with cursors.cursor(connection) as cursor, _savepoint(cursor):
            return requests.insert(cursor, request, settings.retention_days, judge)
    with engine.begin() as own:
        written = requests.insert(cursors.OwnCursor(own), request, settings.retention_days, judge)
    failpoint("launch.accepted")
    return written


def _check_webhook(settings: Settings, request: LaunchRequest) -> None:
    url = urlsplit(request.webhook or "")
    if url.scheme == "http" and url.hostname not in settings.webhook_hosts:
        raise InvalidRequest("webhook: must be https://…; hosts of your own network are listed in ARGOSY_WEBHOOK_HOSTS")


def refuse(engine: Engine, payload: object, reason: str) -> None:
    """Write down why a launch message was refused, if it says whose it is: its gid then leads to the reason."""
    try:
        sender = Origin.model_validate(payload)
    except ValidationError:
        return
    with suppress(Conflict), engine.begin() as own:
        requests.refuse(cursors.OwnCursor(own), sender, clean(reason))


@contextmanager
def _savepoint(cursor: cursors.Cursor) -> Iterator[None]:
    """A savepoint: after an error the caller's transaction is as it was before, and usable.

    Raises:
        InvalidRequest: There is no transaction.
        NotAllowed: The connection's user may not launch.
    """
    try:
        cursor.execute("SAVEPOINT argosy_launch")
    except Exception as error:
        # An error of any driver: psycopg's own, or Django's.
        if any(getattr(one, "sqlstate", None) == "25P01" for one in (error, error.__cause__)):
            raise InvalidRequest(
                "connection: it is in autocommit and has no transaction; begin one (Django: transaction.atomic()), or leave the "
                "connection out"
            ) from error
        raise
    try:
        yield
    except Exception as error:
        cursor.execute("ROLLBACK TO SAVEPOINT argosy_launch")
        cursor.execute("RELEASE SAVEPOINT argosy_launch")
        if refused := database.denied(error):
            raise refused from error
        raise
    # Who was cancelled has a connection that may be in the middle of a statement: only its owner can end that.
    cursor.execute("RELEASE SAVEPOINT argosy_launch")
