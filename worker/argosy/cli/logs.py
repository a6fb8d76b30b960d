"""`argosy logs`: what the containers of jobs wrote. Lines go to standard output, what is to be said about them to standard error."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.jobs import Identifier
from argosy.cli.session import client
from argosy.cli.text import printable
from argosy.errors import NotFound
from argosy.labels import workflow_name

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.shown import LogShape

_MAIN = "main"
"""The container of a pod that has only one of the tenant's."""


def logs(
    identifier: Identifier,
    node: Annotated[
        str | None, typer.Option(help="Only this node, by its name or id, or containers of this name.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the jobs have ended.")] = False,
    tail: Annotated[int | None, typer.Option(help="Only the last lines of each container, so many.", min=1)] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only nodes that failed; of a launch: its failed jobs.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(help="An older attempt of the job.", min=1)] = None,
) -> None:
    """Show what a job's containers wrote, or those of a launch's running jobs; where a pod is gone, what was kept of its failure."""
    if follow and failed:
        raise UsageError("--follow is for jobs that run, --failed for those that failed; give only one of them")
    with client() as opened:
        jobs = _jobs(opened, identifier, failed, attempt)
        if follow:
            _follow(opened, jobs, node, tail, attempt)
            return
        shown, unread = 0, False
        for uid in jobs:
            found = opened.logs(uid, node=node, attempt=attempt, tail=tail, failed=failed)
            _show(found, len(jobs) > 1, tail is not None)
            shown += len(found.logs)
            if found.note:
                output.note(f"job {uid}: {found.note}")
                unread = True
    if unread and not shown:
        raise NotFound(f"no logs of {identifier} could be read, and none were kept (a simulated cluster has none)")
    if not shown:
        raise NotFound(
            f"there are no logs of {identifier}: its pods wrote nothing, or are gone and nothing was kept of them "
            "(a simulated cluster has none)"
        )


def _jobs(opened: Client, identifier: UUID, failed: bool, attempt: int | None) -> list[UUID]:
    """The job, or those of a launch."""
    if not opened.launches(gid=identifier):
        return [identifier]
    if attempt is not None:
        raise UsageError("--attempt is for one job; name it by its uid")
    found, more = opened.jobs_with_logs(identifier, failed=failed)
    if not found:
        none = "no job of it has failed" if failed else "no job of it runs; those that failed: --failed"
        raise NotFound(f"launch {identifier}: {none}; a job that ended is shown by its uid")
    if more:
        output.note(f"only the first {len(found)} jobs; others by their uid: argosy list --gid {identifier}")
    return list(found)


def _show(found: LogShape, several: bool, tailed: bool) -> None:
    prefixed = several or len(found.logs) > 1
    for each in found.logs:
        name = _name(found.uid, each.task, each.container)
        if each.source == "kept":
            output.note(f"{name}: kept when it failed, the pod is gone or was not asked")
        if each.cut and not tailed:
            output.note(f"{name}: earlier lines are left out")
        _write(found.uid, name, each.text, several, prefixed)
    sys.stdout.flush()


def _follow(opened: Client, jobs: list[UUID], node: str | None, tail: int | None, attempt: int | None) -> None:
    """Write lines as they come, each with its container's name; without it where the whole job is one container."""
    with closing(opened.follow_logs(jobs, node=node, attempt=attempt, tail=tail)) as lines:
        for said in lines:
            if not said.task:
                output.note(f"job {said.uid}: {said.text}")
                continue
            name = _name(said.uid, said.task, said.container)
            _write(said.uid, name, said.text, len(jobs) > 1, name != _MAIN)
            sys.stdout.flush()


def _name(uid: UUID, task: str, container: str) -> str:
    """How a container is named before its lines. The node of a workflow with one pod has the workflow's name, which says nothing."""
    if task.startswith(workflow_name(uid, 0)[:-1]):
        return container
    return task if container == _MAIN else f"{task}/{container}"


def _write(uid: UUID, name: str, text: str, several: bool, prefixed: bool) -> None:
    prefix = f"{str(uid)[:8]} {printable(name)}: " if several else f"{printable(name)}: " if prefixed else ""
    # Not `splitlines`: it takes other characters for line ends, too.
    lines = text.removesuffix("\n").split("\n") if text else []
    sys.stdout.writelines(f"{prefix}{printable(line)}\n" for line in lines)
