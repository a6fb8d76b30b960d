"""`argosy doctor`: is everything there that this installation needs? `argosy status`: how it is, on one screen."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from argosy.cli import output
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client, configured
from argosy.cli.times import Time, ago
from argosy.errors import NotConfigured
from argosy.telling import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.client import Client
    from argosy.processes.doctor import Finding
    from argosy.shapes.status import ClusterStatusShape, ProcessShape, StatusShape, TroubleShape

T = TypeVar("T")

_EVERY = 2.0
"""Seconds between two looks of `--watch`."""


def doctor(output_format: Output = Format.TABLE) -> None:
    """Check what this installation needs: settings, database, schema, clock, Redis, keys, clusters, processes. Exit 1 if a check failed.

    It changes nothing and asks no cluster; `argosy cluster check NAME` does that.
    """
    from argosy.processes.doctor import CheckState

    found = _findings()
    if output.structured(output_format):
        output.data([asdict(finding) for finding in found], output_format)
    elif output_format is Format.NAME:
        output.lines([finding.check for finding in found if finding.state is CheckState.FAILED])
    else:
        output.table(found, _COLUMNS)
    if any(finding.state is CheckState.FAILED for finding in found):
        raise typer.Exit(1)


def _findings() -> Sequence[Finding]:
    from argosy.processes.doctor import CheckState, Finding, examine

    try:
        settings = configured()
    except NotConfigured as error:
        return [Finding("settings", CheckState.FAILED, str(error))]
    return [Finding("settings", CheckState.OK, "can be read"), *examine(settings)]


_COLUMNS: list[Column[Finding]] = [
    Column("CHECK", lambda finding, _: finding.check),
    Column("STATE", lambda finding, _: finding.state),
    Column("FINDING", lambda finding, _: f"{finding.text}; {finding.do}" if finding.do else finding.text),
]


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Show the installation on one screen: queue, clusters with their leases, processes, what went wrong last."""
    with client(remind=False) as opened:
        _show(opened.status(), output_format)
        while watch:
            time.sleep(_EVERY)
            _look(opened, output_format)


def _look(opened: Client, output_format: Format) -> None:
    """Look again. Somebody who watches goes on to watch while the database is away."""
    from sqlalchemy.exc import OperationalError

    from argosy.store.database import away

    try:
        found = opened.status()
    except OperationalError as error:
        output.note(str(away(error)))
        return
    if output.console().is_terminal:
        output.console().clear()
    _show(found, output_format)


def _show(found: StatusShape, output_format: Format) -> None:
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
        return
    if output_format is Format.NAME:
        output.lines([f"{process.kind} {process.host}/{process.pid}" for process in found.processes])
        return
    output.facts(_facts(found))
    _part("CLUSTERS", found.clusters, _CLUSTERS)
    _part("PROCESSES", found.processes, _PROCESSES)
    _part("LAST ERRORS", found.errors, _ERRORS)


def _part(title: str, items: Sequence[T], columns: Sequence[Column[T]]) -> None:
    if items:
        output.console().print(f"\n{title}", style="bold")
        output.table(items, columns)


def _facts(found: StatusShape) -> dict[str, str]:
    newest = "" if found.schema_revision == found.newest_revision else f", this argosy knows {found.newest_revision}"
    waiting = f"{found.waiting_launches}, the oldest since {span(found.oldest_launch_seconds)}"
    unsent = f"{found.notifications}, the oldest since {span(found.oldest_notification_seconds)}"
    return {
        "schema": found.schema_revision + newest,
        "missing": ", ".join(f"a {kind} (argosy {kind})" for kind in found.missing),
        "jobs": ", ".join(f"{count} {state.capitalize()}" for state, count in found.jobs.items()) or "none",
        "launches to cut": waiting if found.waiting_launches else "none",
        "notifications to send": unsent if found.notifications else "none",
    }


_CLUSTERS: list[Column[ClusterStatusShape]] = [
    Column("NAME", lambda cluster, _: cluster.name),
    Column("HEALTH", lambda cluster, _: cluster.health),
    Column("AS OF", lambda cluster, now: ago(cluster.as_of, now)),
    Column("ACTIVE", lambda cluster, _: f"{cluster.active}/{cluster.capacity}"),
    Column("QUEUED", lambda cluster, _: str(cluster.queued)),
    Column("OLDEST", lambda cluster, _: span(cluster.oldest_seconds) if cluster.queued else ""),
    Column("TRACKER", lambda cluster, _: cluster.tracker or "nobody"),
    Column("NOTE", lambda cluster, _: cluster.closed or cluster.health_message),
]

_PROCESSES: list[Column[ProcessShape]] = [
    Column("KIND", lambda process, _: process.kind),
    Column("PROCESS", lambda process, _: f"{process.host}/{process.pid}"),
    Column("VERSION", lambda process, _: process.version),
    Column("STARTED", lambda process, now: ago(process.started_at, now)),
    Column("READY", lambda process, _: process.trouble or "ok"),
]

_ERRORS: list[Column[TroubleShape]] = [
    Column("AT", lambda trouble, now: ago(trouble.at, now)),
    Column("WHERE", lambda trouble, _: trouble.where),
    Column("WHAT", lambda trouble, _: trouble.text),
]
