"""`argosy events`, `explain`: what happened, and why a job is where it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.batches import JobUids
from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.jobs import Identifier, MaybeIdentifier
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import plain, used
from argosy.cli.times import Time, ago, at

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.history import EventShape, ReasonShape

_LOOK = 1.0
"""Seconds between two looks of somebody who follows."""

_SHOWN = 5
"""Of a long list of resources."""


def events(
    identifier: MaybeIdentifier = None,
    cluster: Annotated[str | None, typer.Option(help="Instead: what happened to this cluster.", metavar="NAME")] = None,
    limit: Annotated[int, typer.Option(help="The most to show, of the newest.", min=1)] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Show what happened to a job, to a launch with all its jobs, or to a cluster, in order."""
    if (identifier is None) == (cluster is None):
        raise UsageError("say which: the id of a job or a launch, or --cluster NAME")
    if follow and output_format is Format.YAML:
        raise UsageError("--follow cannot be combined with -o yaml; -o json prints one event a line")
    with client() as opened:
        if follow:
            _follow(opened, identifier, cluster, limit, output_format)
            return
        found = opened.events(identifier, cluster=cluster, limit=limit).events
    output.show(found, output_format, columns=COLUMNS, name=lambda event: str(event.id))
    if not found and not output.structured(output_format):
        output.note("nothing is recorded of it")


def _follow(opened: Client, identifier: UUID | None, cluster: str | None, limit: int, output_format: Format) -> None:
    page = opened.events(identifier, cluster=cluster, limit=limit)
    shown: set[tuple[int, int]] = set()
    while True:
        for event in page.events:
            if (event.id, event.times) not in shown:
                _line(event, output_format)
        shown = {(event.id, event.times) for event in page.events} or shown
        time.sleep(_LOOK)
        page = opened.events(identifier, cluster=cluster, after=page.cursor)


def _line(event: EventShape, output_format: Format) -> None:
    if output_format is Format.JSON:
        text = event.model_dump_json()
    elif output_format is Format.NAME:
        text = str(event.id)
    else:
        when = at(event.last_at)
        text = "  ".join(filter(None, (when, _of(event), event.kind, _who(event), _what(event))))
    typer.echo(plain(text))


def explain(
    identifier: Identifier,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Say where a job is, since when, why, and what may be done about it."""
    with client() as opened:
        found = opened.explain(_job_of(opened, identifier))
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
        return
    if output_format is Format.NAME:
        output.lines([reason.code for reason in found.reasons])
        return
    now = datetime.now(UTC)
    output.facts(
        {
            "uid": str(found.uid),
            "gid": str(found.gid),
            "algorithm": found.algorithm,
            "project": str(found.project),
            "status": found.status,
            "since": ago(found.since, now),
            "attempt": str(found.attempt or ""),
            "cluster": found.cluster or "",
            "as of": ago(found.as_of, now),
        }
    )
    show_reasons(found.reasons)


def show_reasons(reasons: Sequence[ReasonShape]) -> None:
    """Print why a job is where it is, and what may be done about it."""
    for reason in reasons:
        typer.echo(f"\n- {plain(reason.text)}" + (f"\n  do: {plain(reason.do)}" if reason.do else ""))


def _job_of(opened: Client, identifier: UUID) -> UUID:
    """The job with this id; of a launch, the first that has not succeeded."""
    if not opened.launches(gid=identifier, limit=1):
        return identifier
    from argosy.cli.progress import all_jobs

    jobs = all_jobs(opened, identifier, nodes=False)
    first = next(
        (job.uid for job in jobs if job.status != "Succeeded"), jobs[0].uid if jobs else JobUids(identifier, 1)[0]
    )
    output.note(f"that is a launch; of its jobs: {first}")
    return first


def _of(event: EventShape) -> str:
    if event.uid is None:
        return ""
    task = event.detail.get("task")
    return f"{event.uid}/{event.attempt}" + (f" {task}" if task else "")


def _who(event: EventShape) -> str:
    return f"by {event.actor}" if event.actor else ""


def _what(event: EventShape) -> str:
    """Its message, and what is known besides."""
    parts = [event.message, f"on {event.cluster}" if event.cluster and event.kind in ("submitting", "pending") else ""]
    parts += [words(event.detail[name]) for name, words in _DETAILS.items() if name in event.detail]
    if (code := event.detail.get("exit_code")) is not None and f"exit code {code}" not in event.message:
        parts.append(f"exit code {code}")
    parts += [f"{event.times} times, first {at(event.at)}"] if event.times > 1 else []
    return "; ".join(filter(None, parts))


_DETAILS: dict[str, Callable[[Any], str]] = {
    "jobs": lambda jobs: f"{jobs} job{'s' * (jobs != 1)}",
    "pod": lambda pod: f"pod {pod}",
    "host": lambda host: f"on node {host}",
    "resources": lambda found: (
        "used " + ", ".join(f"{name} {seconds}" for name, seconds in list(used(found).items())[:_SHOWN])
    ),
    "not_before": lambda when: f"not before {at(datetime.fromisoformat(when))}",
}


COLUMNS: list[Column[EventShape]] = [
    Column("AT", lambda event, _: at(event.last_at)),
    Column("OF", lambda event, _: _of(event)),
    Column("WHAT", lambda event, _: event.kind),
    Column("BY", lambda event, _: plain(event.actor)),
    Column("CLUSTER", lambda event, _: event.cluster or "", wide=True),
    Column("WHY", lambda event, _: plain(_what(event))),
]
