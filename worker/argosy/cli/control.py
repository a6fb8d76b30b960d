"""`argosy cancel`, `delete`, `retry`: end jobs, hide them, try them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli import arguments, output
from argosy.cli import launch_options as options
from argosy.cli.arguments import Yes
from argosy.cli.boundary import UsageError
from argosy.cli.jobs import Identifier, MaybeIdentifier
from argosy.cli.session import client
from argosy.cli.text import SHORT, counted_jobs

if TYPE_CHECKING:
    from uuid import UUID

    from argosy.client import Client
    from argosy.shapes.shown import CancelShape, OutdatedShape, SplitShape


def cancel(
    identifier: MaybeIdentifier = None,
    project: Annotated[int | None, typer.Option(help="Without an id: all jobs of this project.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Without an id: all jobs that run on this cluster or wait for it alone.", metavar="NAME"),
    ] = None,
    yes: Yes = False,
) -> None:
    """Cancel a job, a launch, or all jobs of a project or a cluster; works even while a cluster is not reachable."""
    if identifier is not None and cluster is not None:
        raise UsageError("--cluster: goes without an id; it takes all jobs of the cluster")
    if cluster is not None:
        with client() as opened:
            cancel_on(opened, cluster, yes, project)
        return
    if identifier is None and project is None:
        raise UsageError(
            "say which: the id of a job or a launch, or --project ID or --cluster NAME for all of a project or a cluster"
        )
    if identifier is None:
        arguments.confirmed(f"Cancel all unfinished jobs of project {project}?", yes)
    with client() as opened:
        _tell(opened.cancel(identifier, project=project))


def cancel_on(opened: Client, cluster: str, yes: bool, project: int | None = None, waiting: bool = True) -> None:
    """Cancel the jobs of a cluster, after asking with their number.

    Args:
        opened: The client.
        cluster: Its name.
        yes: Whether not to ask.
        project: Only those of this project.
        waiting: Also those that are queued for this cluster alone.
    """
    from argosy.shapes.filters import JobFilter

    name = opened.cluster(cluster).name
    where = JobFilter(
        cluster=name,
        project=() if project is None else (project,),
        status=() if waiting else ("Submitting", "Pending", "Running", "Cancelling"),
    )
    chosen = opened.prepare("cancel", where, user=0)
    if not chosen.count:
        output.note(f"nothing to cancel on cluster {name}")
        return
    of = "" if project is None else f" of project {project}"
    arguments.confirmed(f"Cancel {counted_jobs(chosen.count)}{of} on cluster {name}?", yes)
    done = opened.act(chosen.id)
    left = f"; {counted_jobs(done.not_done)} had ended or changed meanwhile" if done.not_done else ""
    output.note(
        f"{counted_jobs(done.done)} on cluster {name} cancelled, or Cancelling until it has ended their workflows{left}"
    )


def delete(identifier: Identifier, project: options.Guard = None, yes: Yes = False) -> None:
    """Cancel a job or a launch and hide it from lists; its record stays and `argosy get` shows it."""
    arguments.confirmed(f"Cancel {identifier}, and hide it from lists?", yes)
    with client() as opened:
        _tell(opened.delete(identifier, project=project))


def retry(
    identifier: Identifier,
    project: options.Guard = None,
    all_: options.Everything = False,
    error: options.Alike = None,
    status: options.Statuses = None,
    media: options.Holding = None,
    split: options.Split = False,
    latest: options.Latest = False,
    param: options.Instead = None,
    token_file: options.RetryToken = None,
) -> None:
    """Retry jobs that failed, were lost, deleted or cancelled; old attempts stay: argosy get UID --attempt 1."""
    where: Any = {  # the client checks it
        "error": error,
        "status": [each.capitalize() for each in status or ()] or None,
        "media_ids": None if media is None else arguments.media(media),
    }
    request: Any = {
        "project": project,
        "failed_only": not all_,
        "where": where,
        "token": None if token_file is None else arguments.secret(token_file, "--token-file"),
        "latest": latest,
        "extra_params": arguments.parameters(param or []),
    }
    with client() as opened:
        outdated = None if latest else opened.outdated(identifier, project=project)
        made = opened.split(identifier, **request) if split else None
        count = opened.retry(identifier, **request) if made is None else made.queued
    if made is not None:
        _tell_split(made)
    if outdated is not None and (count or (made is not None and made.new)):
        output.note(_outdated(outdated, identifier))
    if count:
        output.note(f"{counted_jobs(count)} queued again; follow: argosy watch {identifier}")
    elif made is None or made.gid is None:
        output.note(
            f"nothing to retry: no job there has ended and matches; what failed: argosy get {identifier}"
            if any(where.values())
            else "nothing to retry: no job there has failed" + ("" if all_ else " (--all also takes what succeeded)")
        )


def _outdated(found: OutdatedShape, identifier: UUID) -> str:
    """That something else is registered now than what is run again."""
    ran = ", ".join(digest[:SHORT] for digest in found.ran)
    other = (
        f"another manifest of {found.algorithm} is registered now ({found.registered[:SHORT]}) than these jobs run ({ran})"
        if found.ran != [found.registered]
        else f"other parameters of {found.algorithm} are registered now than these jobs have"
    )
    return f"{other}; to run what is registered: argosy retry {identifier} --latest"


def _tell_split(made: SplitShape) -> None:
    if made.gid is not None:
        typer.echo(str(made.gid))
        words = (
            "of one medium each in a new launch"
            if made.new
            else "of one medium each are in a launch that was there already"
        )
        output.note(f"{counted_jobs(made.jobs)} {words}; follow: argosy watch {made.gid}")


def _tell(done: CancelShape) -> None:
    parts = []
    if done.launches:
        many = done.launches != 1
        words = "launches cancelled before they were" if many else "launch cancelled before it was"
        parts.append(f"{done.launches} {words} cut into jobs")
    if done.cancelled:
        parts.append(f"{counted_jobs(done.cancelled)} cancelled")
    if done.cancelling:
        parts.append(f"{counted_jobs(done.cancelling)} Cancelling until the cluster has ended their workflows")
    if done.ended:
        parts.append(f"{counted_jobs(done.ended)} had ended before")
    output.note("; ".join(parts) or "nothing to cancel")
