"""`argosy describe`, `top`, `wait`, `version`: all that is known of one thing, who uses the clusters now, and when something has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import history, jobs, output
from argosy.cli.jobs import Identifier
from argosy.cli.launching import Unsuccessful, going_on, judge
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client, configured
from argosy.cli.times import Time, age

if TYPE_CHECKING:
    from uuid import UUID

    from argosy.client import Client
    from argosy.shapes.shown import JobShape, SlotsShape

_LOOK = 0.5
"""Seconds between two looks of somebody who waits."""

_EVENTS = 50
"""Of the newest events."""


def describe(identifier: Identifier, _time: Time = None) -> None:
    """Show all that is known of a job or a launch: how it stands, why, and what happened."""
    jobs.get(identifier, None, Format.TABLE)
    with client(remind=False) as opened:
        explained = None if opened.launches(gid=identifier, limit=1) else opened.explain(identifier)
        found = opened.events(identifier, limit=_EVENTS).events
    if explained is not None:
        history.show_reasons(explained.reasons)
    if found:
        typer.echo("")
        output.table(found, history.COLUMNS)


def top(
    project: Annotated[int | None, typer.Option(help="Only of this project.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option(help="The most to show.", min=1, max=10_000)] = 30,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Show what uses the slots of clusters now, those who use most first."""
    with client() as opened:
        found = opened.slots(project=project, limit=limit)
    output.show(found, output_format, columns=_COLUMNS, name=lambda each: each.algorithm)
    if not found and not output.structured(output_format):
        output.note("no cluster has an unfinished workflow; what waits: argosy status")


def wait(
    identifier: Identifier,
    timeout: Annotated[
        float | None, typer.Option(help="Give up after so many seconds; default: never.", min=0, metavar="SECONDS")
    ] = None,
) -> None:
    """Wait without a word until a job or a launch has ended; exit 1 unless everything succeeded."""
    until = None if timeout is None else time.monotonic() + timeout
    with client() as opened, going_on(identifier):
        while (ended := _ended(opened, identifier)) is None:
            if until is not None and time.monotonic() >= until:
                raise Unsuccessful(
                    f"{identifier} has not ended after {timeout:g} s; how it stands: argosy get {identifier}"
                )
            time.sleep(_LOOK)
        judge(ended)


def _ended(opened: Client, identifier: UUID) -> list[JobShape] | None:
    """The jobs of what has ended; None if it has not."""
    from argosy.cli.progress import FINAL, all_jobs, launch_ended

    launch = jobs.launch_of(opened, identifier)
    if launch is None:
        job = jobs.job_of(opened, identifier, None)
        return [job] if job.status in FINAL else None
    if not launch_ended(launch):
        return None
    found = all_jobs(opened, identifier, nodes=False)
    if not found and launch.state != "expanded":
        raise Unsuccessful(f"launch {launch.gid} was {launch.state}: {launch.reason}")
    return found


def version() -> None:
    """Print the versions of argosy, of the schema that it knows, and of the one in the database."""
    from importlib.metadata import version as installed

    from sqlalchemy.exc import OperationalError

    from argosy.errors import ArgosyError
    from argosy.store import database, schema

    found = {"argosy": installed("argosy"), "knows schema": schema.NEWEST}
    try:
        engine = database.engine(configured(), 1)
        try:
            with engine.connect() as connection:
                found["database"] = f"schema {schema.revision(connection) or 'none'}"
        except OperationalError as error:
            raise database.away(error) from error
        finally:
            engine.dispose()
    except ArgosyError as error:
        found["database"] = str(error)
    output.facts(found)


_COLUMNS: list[Column[SlotsShape]] = [
    Column("CLUSTER", lambda each, _: each.cluster),
    Column("PROJECT", lambda each, _: str(each.project)),
    Column("USER", lambda each, _: str(each.user)),
    Column("SLOTS", lambda each, _: str(each.slots)),
    Column("RUNNING", lambda each, _: str(each.running)),
    Column("LAUNCHES", lambda each, _: str(each.launches)),
    Column("OLDEST", lambda each, now: age(each.oldest, now)),
    Column("ALGORITHM", lambda each, _: each.algorithm),
]
