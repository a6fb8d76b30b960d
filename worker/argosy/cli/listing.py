"""`argosy list`: find jobs and launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.cli import filter_options as options
from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import SHORT, cut, plain, took
from argosy.cli.times import Time, age, ago

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.filters import JobFilter
    from argosy.shapes.shown import FoundJob, Hit, LaunchShape

_PAGE = 1000


@options.choosing
def list_(
    chosen: dict[str, Any],
    sort: options.Order = "newest",
    limit: Annotated[int, typer.Option(help="The most to show.", min=1, max=100_000)] = 100,
    after: options.After = None,
    nodes: Annotated[bool, typer.Option("--nodes", help="With their nodes; for -o json, jsonl and yaml.")] = False,
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Also those that were deleted; goes with --project, --gid and --media.")
    ] = False,
    launches: Annotated[bool, typer.Option("--launches", help="Show launches; goes with --project and --gid.")] = False,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Find jobs, those of the newest launch first."""
    chosen |= {"sort": sort, "cursor": after}
    if launches or deleted:
        _refuse_others(chosen, launches)
    where = options.filter_of(chosen)
    with client() as opened:
        if launches:
            found = opened.launches(project=_one(where.project), gid=where.gid, limit=limit, hidden=deleted)
            output.show_items(found, output_format, columns=LAUNCH_COLUMNS, name=lambda launch: str(launch.gid))
            return
        jobs, cursor = (_with_deleted if deleted else _found)(opened, where, limit, nodes)
    _show(jobs, cursor, output_format, nodes, where.gid)


def search(
    text: Annotated[
        str,
        typer.Argument(help="An id or its first 8 letters, GID/17, a workflow or pod, a medium, a user, NAME=VALUE."),
    ],
    project: options.Projects = None,
    output_format: Output = Format.TABLE,
) -> None:
    """Find launches and jobs by a word."""
    with client() as opened:
        found = opened.search(text, projects=frozenset(project) if project else None)
    output.show_items(found, output_format, columns=_HIT_COLUMNS, name=lambda hit: str(hit.uid or hit.gid))
    if not found and not output.structured(output_format):
        output.note(f"nothing is found for {text[:80]!r}")


def _refuse_others(chosen: dict[str, Any], launches: bool) -> None:
    """Check that no filter is given that would not be looked at."""
    allowed = {"project", "gid"} if launches else {"project", "gid", "media"}
    others = [
        f"--{'after' if name == 'cursor' else name}"
        for name, value in chosen.items()
        if name not in allowed and value not in (None, "newest")
    ]
    if others:
        raise UsageError(f"{'--launches' if launches else '--deleted'} cannot be combined with {' or '.join(others)}")


def _one(project: Sequence[int]) -> int | None:
    if project and len(project) > 1:
        raise UsageError("--launches and --deleted go with one --project at most")
    return project[0] if project else None


def _found(opened: Client, where: JobFilter, limit: int, nodes: bool) -> tuple[list[FoundJob], str | None]:
    """So many jobs, read in pages, and the cursor of those after them."""
    found: list[FoundJob] = []
    cursor = where.cursor
    while True:
        page = opened.find(where.but(limit=min(limit - len(found), _PAGE), cursor=cursor), nodes=nodes)
        found += page.items
        cursor = page.cursor
        if cursor is None or len(found) == limit:
            return found, cursor


def _with_deleted(opened: Client, where: JobFilter, limit: int, nodes: bool) -> tuple[list[FoundJob], None]:
    """So many jobs, with those that were deleted."""
    found = opened.list(
        project=_one(where.project), gid=where.gid, media_id=where.media, limit=limit, hidden=True, nodes=nodes
    )
    return [*found], None


def _show(jobs: list[FoundJob], cursor: str | None, output_format: Format, nodes: bool, gid: UUID | None) -> None:
    output.show_items(
        jobs,
        output_format,
        columns=JOB_COLUMNS,
        name=lambda job: str(job.uid),
        cursor=cursor,
        but=() if nodes else ("nodes",),
    )
    if output.structured(output_format):
        return
    if cursor is not None:
        output.note(f"there are more: --limit, or --after {cursor}")
    if gid is not None and not jobs:
        output.note(f"launch {gid} has no such job; to see its state: argosy get {gid}")


def counted(launch: LaunchShape) -> str:
    """A launch's jobs by status."""
    counts = ", ".join(f"{number} {status}" for status, number in sorted(launch.counts.items()))
    return f"{launch.jobs} ({counts})" if counts else ""


JOB_COLUMNS: list[Column[FoundJob]] = [
    Column("UID", lambda job, _: str(job.uid)),
    Column("GID", lambda job, _: str(job.gid)),
    Column("INDEX", lambda job, _: str(job.index)),
    Column("ALGORITHM", lambda job, _: job.algorithm),
    Column("STATUS", lambda job, _: job.status),
    Column("MEDIA", lambda job, _: str(len(job.media_ids))),
    Column("AGE", lambda job, now: age(job.created_at, now), by_clock="LAUNCHED"),
    Column("TOOK", lambda job, now: took(job.start_time, job.stop_time, now)),
    Column("STARTED", lambda job, now: ago(job.start_time, now), wide=True),
    Column("PROJECT", lambda job, _: str(job.project), wide=True),
    Column("USER", lambda job, _: str(job.user), wide=True),
    Column("CLUSTER", lambda job, _: job.cluster or "", wide=True),
    Column("WORKFLOW", lambda job, _: job.id or "", wide=True),
    Column("ATTEMPT", lambda job, _: str(job.attempt), wide=True),
    Column("MANIFEST", lambda job, _: job.manifest_digest[:SHORT], wide=True),
    Column("AS-OF", lambda job, now: age(job.as_of, now), wide=True),
    Column("MESSAGE", lambda job, _: cut(plain(job.message), 120)),
]

LAUNCH_COLUMNS: list[Column[LaunchShape]] = [
    Column("GID", lambda launch, _: str(launch.gid)),
    Column("ALGORITHM", lambda launch, _: launch.algorithm),
    Column("STATUS", lambda launch, _: launch.status),
    Column("JOBS", lambda launch, _: counted(launch)),
    Column("CREATED", lambda launch, now: ago(launch.created_at, now)),
    Column("PROJECT", lambda launch, _: str(launch.project), wide=True),
    Column("USER", lambda launch, _: str(launch.user), wide=True),
    Column("REASON", lambda launch, _: cut(plain(launch.reason), 120)),
]

_HIT_COLUMNS: list[Column[Hit]] = [
    Column("KIND", lambda hit, _: hit.kind),
    Column("ID", lambda hit, _: str(hit.uid or hit.gid)),
    Column("ALGORITHM", lambda hit, _: hit.algorithm),
    Column("STATUS", lambda hit, _: hit.status),
    Column("PROJECT", lambda hit, _: str(hit.project)),
    Column("USER", lambda hit, _: str(hit.user)),
    Column("WHY", lambda hit, _: hit.why),
]
