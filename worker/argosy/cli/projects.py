"""`argosy project`: how tenants share the clusters: weight, caps, pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.commands import App
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client, configured
from argosy.cli.text import plain, used

if TYPE_CHECKING:
    from argosy.shapes.shown import ProjectShape

app = App(help="Set how projects share the clusters.")

_EXAMPLES = """Examples:

argosy project set 7 --weight 2 --max-queued 10000

argosy project set 7 --max-active 50 --cluster north

argosy project pause 7 --reason 'quota talks'"""

Project = Annotated[int, typer.Argument(help="Id of the project.", metavar="PROJECT")]
Reason = Annotated[str, typer.Option(help="Shown with the jobs that wait.")]


@app.command("set", epilog=_EXAMPLES)
def set_(
    project: Project,
    weight: Annotated[
        float | None, typer.Option(help="Its part of each cluster's slots, relative to other projects'; default 1.")
    ] = None,
    max_queued: Annotated[int | None, typer.Option(help="Refuse launches beyond so many queued jobs.", min=0)] = None,
    no_max_queued: Annotated[bool, typer.Option("--no-max-queued", help="Remove that cap.")] = False,
    max_active: Annotated[
        int | None, typer.Option(help="Most unfinished workflows at a time on --cluster.", min=0)
    ] = None,
    no_max_active: Annotated[bool, typer.Option("--no-max-active", help="Remove that limit.")] = False,
    cluster: Annotated[str | None, typer.Option(help="For which cluster --max-active is.", metavar="NAME")] = None,
) -> None:
    """Change what is given and leave the rest; it takes effect with the next claim."""
    limited = max_active is not None or no_max_active
    if limited != (cluster is not None):
        raise UsageError("--max-active and --no-max-active go together with --cluster NAME")
    fields = {"weight": weight, "max_queued": max_queued}
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if no_max_queued:
        given["max_queued"] = None
    if not given and not limited:
        raise UsageError("nothing to change; see: argosy project set --help")
    with client() as opened:
        if cluster is not None:
            opened.limit_project(project, cluster, max_active)
        if given:
            opened.set_project(project, **given)
    output.note(f"project {project} is changed")


@app.command()
def pause(project: Project, reason: Reason = "") -> None:
    """Submit no new jobs of a project; jobs that run continue."""
    with client() as opened:
        opened.pause(project=project, reason=reason)
    output.note(f"project {project} is paused; to end the pause: argosy project resume {project}")


@app.command()
def resume(project: Project) -> None:
    """Submit jobs of a paused project again."""
    with client() as opened:
        opened.resume(project=project)
    output.note(f"project {project} is no longer paused")


@app.command("webhook-key")
def webhook_key(project: Project) -> None:
    """Print the key with which receivers check a project's webhooks. It is of no use for other projects'.

    It is made from ARGOSY_WEBHOOK_KEY, which must be that of the trackers; the database is not asked.
    """
    from base64 import b64encode

    from argosy.crypto import webhook_keys

    newest, *_ = webhook_keys(configured().webhook_key, project)
    output.lines([f"whsec_{b64encode(newest).decode()}"])


@app.command("list")
def list_(output_format: Output = Format.TABLE) -> None:
    """List the projects that have settings or unfinished jobs."""
    with client() as opened:
        found = opened.projects()
    output.show(found, output_format, columns=_COLUMNS, name=lambda project: str(project.id))


@app.command()
def get(project: Project, output_format: Output = Format.TABLE) -> None:
    """Show one project."""
    with client() as opened:
        found = opened.project(project)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
    else:
        output.show([found], output_format, columns=_COLUMNS, name=lambda project: str(project.id))


_COLUMNS: list[Column[ProjectShape]] = [
    Column("PROJECT", lambda project, _: str(project.id)),
    Column("WEIGHT", lambda project, _: f"{project.weight:g}"),
    Column("ACTIVE", lambda project, _: str(project.active)),
    Column("QUEUED", lambda project, _: str(project.queued)),
    Column("MAX-QUEUED", lambda project, _: "" if project.max_queued is None else str(project.max_queued)),
    Column("MAX-ACTIVE", lambda project, _: ",".join(f"{name}={limit}" for name, limit in project.max_active.items())),
    Column("PAUSED", lambda project, _: plain(project.paused_reason or "yes") if project.paused_at else ""),
]


@app.command()
def usage(
    project: Project,
    days: Annotated[int, typer.Option(help="Of attempts that ended within so many days.", min=0, max=3650)] = 30,
    output_format: Output = Format.TABLE,
) -> None:
    """Show what its jobs used, as Argo counts it: seconds of a CPU, of 100 MiB of memory, of other resources."""
    with client() as opened:
        found = opened.usage(project, days=days)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
        return
    if output_format is Format.NAME:
        output.lines([str(project)])
        return
    output.facts(
        {"project": str(project), "within": f"{days} days", "attempts": str(found.attempts)} | used(found.resources)
    )
