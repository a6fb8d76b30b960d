"""What is told about launches that ended: written into the outbox together with the launch's mark that this end is told.

Housekeeping does it when all jobs of a launch have ended, so it also tells of launches that never had a job. A receiver is told again after
a retry if that ends otherwise than what this receiver was told last; what an end has overtaken is not sent any more.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from psycopg.errors import QueryCanceled
from pydantic import ValidationError
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from argosy.shapes.history import FailureShape
from argosy.shapes.mails import EmailSpec
from argosy.shapes.shown import LaunchShape
from argosy.store import outbox, summaries
from argosy.store.conditions import ended

log = structlog.stdlib.get_logger(__name__)

_AT_ONCE = 10
"""Launches of which the end is told in one transaction: their rows are locked until it ends."""

# What a launch with very many failures may cost.
_BRIEF = text("SET LOCAL statement_timeout = '3s'")

_FAILURES = 10
"""Groups of failures that are told."""

# Launches that ended, and whose end somebody wants to know and was not told; locked, so that no retry comes between.
_ENDED = text(
    "SELECT l.gid, l.webhook, l.success_email, l.failure_email, l.token_sealed FROM argosy.launch l "
    f"WHERE l.untold AND {ended('l')} ORDER BY l.created_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED"
)

# Asked again under the lock.
_STILL = text(
    f"SELECT l.gid FROM argosy.launch l WHERE l.gid = ANY (CAST(:gids AS uuid[])) AND l.untold AND {ended('l')}"
)

_OVERTAKEN_WHY = "overtaken by a later end"

# What each receiver of a launch was told last; nobody knows whether what was overtaken arrived.
_TOLD_LAST = text(
    "SELECT DISTINCT ON (kind, recipient) kind, recipient, "
    "CASE WHEN sent_at IS NULL AND reason = :overtaken THEN '' ELSE split_part(key, '.', 2) END AS ended, "
    "count(*) OVER (PARTITION BY kind, recipient) AS many "
    "FROM argosy.outbox WHERE gid = :gid ORDER BY kind, recipient, id DESC"
)

# Another end of the same launch is not sent any more.
_OVERTAKEN = text(
    "UPDATE argosy.outbox SET open = false, reason = :overtaken, token_sealed = NULL "
    "WHERE gid = :gid AND open AND split_part(key, '.', 2) <> :ended"
)

# Their end is told.
_TOLD = text("UPDATE argosy.launch SET untold = false WHERE gid = ANY (CAST(:gids AS uuid[]))")


def fill(connection: Connection) -> int:
    """Write what is to be told about launches that ended. Returns how many launches these are."""
    found = {row.gid: row for row in connection.execute(_ENDED, {"most": _AT_ONCE})}
    gids = list(connection.execute(_STILL, {"gids": list(found)}).scalars()) if found else []
    for gid in gids:
        try:
            with connection.begin_nested():
                _fill_of(connection, found[gid])
        except (DataError, IntegrityError, ValueError):
            # What a caller's own SQL may write: an address that no index takes, for example. It keeps nobody else's end from being told.
            log.exception("the end of a launch cannot be told", gid=str(gid))
    connection.execute(_TOLD, {"gids": gids})
    return len(gids)


def _fill_of(connection: Connection, told: Row[Any]) -> None:
    """Write what is to be told about one launch."""
    gid = told.gid
    last = {
        (row.kind, row.recipient): row
        for row in connection.execute(_TOLD_LAST, {"gid": gid, "overtaken": _OVERTAKEN_WHY})
    }
    (launch,) = summaries.launches(connection, gid=gid)
    end = _end(launch)
    new = []
    for row in _rows(told, launch, end, _failures(connection, gid)):
        before = last.get((row["kind"], row["recipient"]))
        if before is None or before.ended != end:
            number = f".{before.many + 1}" if before is not None else ""
            new.append(row | {"key": f"{gid}.{end}{number}"})
    connection.execute(_OVERTAKEN, {"gid": gid, "ended": end, "overtaken": _OVERTAKEN_WHY})
    outbox.put(connection, new)


def _end(launch: LaunchShape) -> str:
    """How a launch ended, in a word."""
    return "succeeded" if launch.state == "expanded" and launch.counts.keys() <= {"Succeeded"} else "failed"


def _rows(
    told: Row[Any], launch: LaunchShape, end: str, failures: list[FailureShape] | None
) -> Iterator[dict[str, Any]]:
    """One row for each receiver of an end; their keys come later."""
    if told.webhook is not None:
        shown = launch.model_dump(mode="json", exclude={"notifications"})
        groups = None if failures is None else [each.model_dump(mode="json") for each in failures]
        body = {
            "type": f"launch.{end}",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": shown | {"failures": groups},
        }
        common = {"gid": launch.gid, "project": launch.project, "kind": "webhook"}
        yield common | {"recipient": told.webhook, "body": body}
    spec = told.success_email if end == "succeeded" else told.failure_email
    if spec is None:
        return
    try:
        mail = EmailSpec.model_validate(spec)
    except ValidationError:  # written by a version that did not look at it
        return
    signed = mail.model_copy(update={"text": f"{mail.text}\n\n-- \n{_summary(launch, failures)}"})
    yield from outbox.mails(signed, launch.project, "", told.token_sealed, launch.gid)


def _summary(launch: LaunchShape, failures: list[FailureShape] | None) -> str:
    """What stands below a mail's own text."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(launch.counts.items()))
    lines = [
        f"Launch {launch.gid} of algorithm {launch.algorithm} in project {launch.project}: "
        + (counts or f"{launch.state}, no jobs"),
        *([launch.reason] if launch.reason else []),
    ]
    for each in failures or ():
        code = "" if each.exit_code is None else f", exit code {each.exit_code}"
        lines.append(f"{each.count} {each.status}{code}: {each.message}")
    return "\n".join(lines)


def _failures(connection: Connection, gid: UUID) -> list[FailureShape] | None:
    """What failed, in groups; None if there is so much that it would keep others waiting."""
    apart = connection.begin_nested()
    try:
        connection.execute(_BRIEF)
        found = summaries.failures(connection, gid)
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return None
    finally:
        apart.rollback()  # nothing was written; the time-out is as it was
    return list(found[:_FAILURES])
