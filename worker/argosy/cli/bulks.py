"""`argosy bulk`: cancel, retry or order all jobs that a filter chooses. First they are counted, and only these are touched.

Annotations are read when a command is called, so they are not texts here.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.cli import arguments, output
from argosy.cli import filter_options as options
from argosy.cli.arguments import Yes
from argosy.cli.commands import App
from argosy.cli.launch_options import Latest, RetryToken
from argosy.cli.launching import Unsuccessful
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import counted_jobs, plain

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.bulk import BulkShape, Refused, Verb

app = App(
    help="Cancel, retry or order all jobs that a filter chooses: counted first, then done with just those, then told."
)

Id = Annotated[UUID, typer.Argument(help="Id of the work, as it was printed before it began.", metavar="ID")]

_choosing = partial(options.choosing, needed=True)

_DONE = {
    "cancel": "cancelled, or Cancelling until their workflows have ended",
    "retry": "queued again",
    "retry_latest": "queued again, with what is registered now",
}


@app.command()
@_choosing
def cancel(chosen: dict[str, Any], yes: Yes = False, output_format: Output = Format.TABLE) -> None:
    """Cancel all unfinished jobs that fit, and launches without jobs yet."""
    with client() as opened:
        _prepared(opened, "cancel", chosen, yes, output_format)


@app.command()
@_choosing
def retry(
    chosen: dict[str, Any],
    latest: Latest = False,
    token_file: RetryToken = None,
    yes: Yes = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Retry all jobs that fit; without --status, --failed or --error those that failed, were lost, deleted or cancelled."""
    with client() as opened:
        _prepared(opened, "retry_latest" if latest else "retry", chosen, yes, output_format, token_file=token_file)


@app.command()
@_choosing
def priority(
    chosen: dict[str, Any],
    number: Annotated[int, typer.Argument(help="From -100 to 100; higher comes first.", metavar="N")],
    yes: Yes = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Give all queued jobs that fit another priority among those of their user."""
    with client() as opened:
        _prepared(opened, "priority", chosen, yes, output_format, priority=number)


@app.command()
def act(bulk: Id, token_file: RetryToken = None, output_format: Output = Format.TABLE) -> None:
    """Go on with what was interrupted. What is done is not done again."""
    with client() as opened:
        _tell(_done(opened, bulk, token_file), output_format)


@app.command()
def show(bulk: Id, output_format: Output = Format.TABLE) -> None:
    """Say what was chosen, and what came of it so far."""
    with client() as opened:
        _tell(opened.bulk(bulk), output_format)


def _prepared(
    opened: "Client",
    verb: "Verb",
    chosen: dict[str, Any],
    yes: bool,
    output_format: Format,
    priority: int | None = None,
    token_file: Path | None = None,
) -> None:
    """Count, ask, act and report."""
    bulk = opened.prepare(verb, options.filter_of(chosen), user=0, priority=priority)
    if not bulk.count and not bulk.launches:
        output.note("no job fits; what there is: argosy list with the same filter")
    else:
        asked = {"cancel": "Cancel", "retry": "Retry", "retry_latest": "Retry"}.get(
            verb, f"Give priority {priority} to"
        )
        how = " with what is registered now" if verb == "retry_latest" else ""
        arguments.confirmed(f"{asked} {_chosen(bulk)}{how}?", yes)
        output.note(f"begun; if it is interrupted, go on with: argosy bulk act {bulk.id}")
        bulk = _done(opened, bulk.id, token_file)
    _tell(bulk, output_format)
    if bulk.not_done and not bulk.done:
        raise Unsuccessful(f"none of {counted_jobs(bulk.not_done)} is done: {plain(bulk.refused[0].why)}")


def _done(opened: "Client", bulk: UUID, token_file: Path | None) -> "BulkShape":
    from argosy.launch.accept import seal

    token = None if token_file is None else arguments.secret(token_file, "--token-file")
    return opened.act(bulk, sealed=seal(opened.settings, token))


def _chosen(bulk: "BulkShape") -> str:
    counts = ", ".join(f"{count} {status}" for status, count in bulk.counts.items())
    jobs = f"{counted_jobs(bulk.count)} ({counts})" if bulk.count else ""
    launches = f"{bulk.launches} launch{'es' * (bulk.launches != 1)} without jobs yet" if bulk.launches else ""
    return " and ".join(filter(None, (jobs, launches)))


def _tell(bulk: "BulkShape", output_format: Format) -> None:
    if output.structured(output_format):
        output.data(output.dump(bulk), output_format)
        return
    if output_format is Format.NAME:
        output.lines([str(bulk.id)])
        return
    if not bulk.count and not bulk.launches:
        return
    words = _DONE.get(bulk.verb, f"have priority {bulk.priority}")
    left = bulk.count + bulk.launches - bulk.done - bulk.not_done
    output.facts(
        {
            "id": str(bulk.id),
            "chosen": _chosen(bulk),
            "state": bulk.state
            + (f", {left} left: argosy bulk act {bulk.id}" if left and bulk.state != "done" else ""),
            "done": f"{bulk.done} {words}",
            "not done": str(bulk.not_done or ""),
        }
    )
    if bulk.refused:
        typer.echo("")
        output.table(bulk.refused, COLUMNS)
    if bulk.not_done > len(bulk.refused):
        output.note(f"the first {len(bulk.refused)} of {bulk.not_done}")


COLUMNS: list[Column["Refused"]] = [
    Column("ID", lambda each, _: str(each.uid or each.gid)),
    Column("INDEX", lambda each, _: "" if each.index is None else str(each.index)),
    Column("GID", lambda each, _: str(each.gid), wide=True),
    Column("WHY", lambda each, _: plain(each.why)),
]
