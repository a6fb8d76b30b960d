"""`argosy launch`, `list`, `get`, `watch`: run an algorithm on media and see how each job goes."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.cli import arguments, output
from argosy.cli.boundary import UsageError
from argosy.cli.listing import JOB_COLUMNS, counted
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import ago, cut, plain, ranges, span, took, used
from argosy.errors import ArgosyError, NotFound
from argosy.states import ENDED_EARLY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.client import Client, Launched
    from argosy.shapes.history import FailureShape
    from argosy.shapes.shown import JobShape, LaunchShape

LAUNCH_EXAMPLES = """Examples:

argosy launch hello --project 1 --user 7 --media 1,2,5-9 --watch

argosy launch hello --project 1 --user 7 --query 'type=3&section=12' --param threshold=0.5

argosy launch hello --project 1 --user 7 --media-file ids.txt --token-file token

argosy launch hello --project 1 --user 7 --media 1-100 --skip-done

argosy launch report --project 1 --user 7 --media 1-100 --after GID"""

_LOOK = 0.2
"""Seconds between two checks whether a launch is expanded."""

_GRACE = 1.0
"""Seconds after which a launch that waits for another one is left to wait; if that one has ended, a worker has noticed by then."""

_PAGE = 1000

_WHICH: Any = typer.Argument(
    help="Id of a job (uid) or of a launch (gid), or its first 8 letters; GID/17 is the launch's job with that index.",
    metavar="UID|GID",
    parser=arguments.identifier,
)
Identifier = Annotated[UUID, _WHICH]
MaybeIdentifier = Annotated[UUID | None, _WHICH]


class Unsuccessful(ArgosyError):
    """The launch was rejected, or some of its jobs did not succeed."""


def launch(
    algorithm: Annotated[str, typer.Argument(help="Name of a registered algorithm.", metavar="ALGORITHM")],
    project: Annotated[int, typer.Option(help="Id of the project whose media are worked on.")],
    user: Annotated[int, typer.Option(help="Id of the user who launches.")],
    media: Annotated[str | None, typer.Option(help="Media ids in their order, e.g. 1,2,5-9.")] = None,
    media_file: Annotated[
        Path | None, typer.Option(help="File of media ids, by commas or lines; - reads standard input.")
    ] = None,
    query: Annotated[str | None, typer.Option(help="Query string of the API server's media list instead.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE that workflows receive; repeatable.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the user's API token for the workflows; - reads standard input.")
    ] = None,
    gid: Annotated[
        UUID | None, typer.Option(help="Version-1 UUID of the launch; launching the same one again changes nothing.")
    ] = None,
    priority: Annotated[
        int, typer.Option(help="Before (or, below 0, behind) the user's other jobs of the project.", min=-100, max=100)
    ] = 0,
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Leave out media on which the algorithm has Succeeded already.")
    ] = False,
    after: Annotated[
        UUID | None, typer.Option(help="gid of a launch of the project: begin when all its jobs have Succeeded.")
    ] = None,
    after_any: Annotated[bool, typer.Option("--after-any", help="Begin after it however its jobs end.")] = False,
    cancel_with: Annotated[
        bool, typer.Option("--cancel-with", help="Cancelled with that launch, as long as it waits for it.")
    ] = False,
    webhook: Annotated[
        str | None, typer.Option(help="URL that gets a signed POST when all its jobs have ended.", metavar="URL")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait until it is cut into jobs.", min=0)] = 10,
    watch: Annotated[bool, typer.Option("--watch", help="Follow its jobs until all have ended.")] = False,
) -> None:
    """Run an algorithm on media, or on all media of the project; prints the launch's gid."""
    arguments.one_of(media=media, media_file=media_file, query=query)
    arguments.one_input(("--media-file", media_file), ("--token-file", token_file))
    if after is None and (after_any or cancel_with):
        raise UsageError("--after-any and --cancel-with go together with --after GID")
    request: dict[str, Any] = {
        "media_ids": _media(media, media_file),
        "media_query": query,
        "extra_params": arguments.parameters(param or []),
        "token": None if token_file is None else arguments.secret(token_file, "--token-file"),
        "skip_done": skip_done,
        "after": after,
        "after_if": "any" if after_any else "ok",
        "cancel_with": cancel_with,
        "webhook": webhook,
    }
    with client() as opened:
        launched = opened.launch(algorithm, project=project, user=user, gid=gid, priority=priority, **request)
        _tell_written(launched, project)
        if watch:
            _watch_launch(opened, launched.gid)
        else:
            _tell(_expanded(opened, launched.gid, wait), wait)


def get(
    identifier: Identifier,
    attempt: Annotated[int | None, typer.Option(help="An older attempt of the job.", min=1)] = None,
    output_format: Output = Format.TABLE,
) -> None:
    """Show a job with its nodes, or a launch with its jobs."""
    from argosy.cli.progress import all_jobs

    with client() as opened:
        found = None if attempt is not None else _launch(opened, identifier)
        if found is None:
            _show_job(_job(opened, identifier, attempt), output_format)
            return
        jobs = all_jobs(opened, identifier, nodes=output.structured(output_format))
        failures = opened.failures(identifier)
    if output.structured(output_format):
        parts = {"jobs": jobs, "failures": failures}
        shown = {name: [output.dump(each) for each in part] for name, part in parts.items()}
        output.data({"launch": output.dump(found), **shown}, output_format)
        return
    if output_format is not Format.NAME:
        output.facts(_facts_of_launch(found))
        _show_failures(found.gid, failures)
    if jobs or output_format is Format.NAME:
        output.show(jobs, output_format, columns=JOB_COLUMNS, name=lambda job: str(job.uid))


def watch(identifier: Identifier) -> None:
    """Follow a job or a launch until it has ended; exit 1 unless everything succeeded."""
    with client() as opened:
        if _launch(opened, identifier) is not None:
            _watch_launch(opened, identifier)
            return
        from argosy.cli.progress import live_job

        _job(opened, identifier, None)
        _judge([live_job(opened, identifier, console=output.console())])


def _tell_written(launched: Launched, project: int) -> None:
    typer.echo(str(launched.gid))
    if not launched.new:
        output.note("this launch was there already; nothing was added")
    elif launched.position:
        output.note(f"jobs of project {project} that were queued before it: {launched.position}")


def _media(media: str | None, media_file: Path | None) -> list[int] | None:
    if media is not None:
        return arguments.media(media)
    if media_file is not None:
        return arguments.media(arguments.contents(media_file, "--media-file"), "--media-file")
    return None


def _expanded(opened: Client, gid: UUID, wait: float) -> LaunchShape:
    """The launch as soon as it is expanded or has ended without jobs; else as it is after `wait` seconds, or sooner if it waits for another
    one."""
    began = time.monotonic()
    while True:
        (launch,) = opened.launches(gid=gid)
        patience = min(wait, _GRACE) if launch.waiting else wait
        if launch.state in {"expanded", *ENDED_EARLY} or time.monotonic() >= began + patience:
            return launch
        time.sleep(_LOOK)


def _tell(launch: LaunchShape, waited: float) -> None:
    if launch.state in ENDED_EARLY:
        raise Unsuccessful(f"launch {launch.gid} was {launch.state}: {launch.reason}")
    if launch.state == "expanded" and not launch.jobs:
        output.note(launch.reason)
    elif launch.state == "expanded":
        jobs = f"{launch.jobs} job{'' if launch.jobs == 1 else 's'}"
        without = f", {launch.skipped} media left out because they are done" if launch.skipped else ""
        output.note(f"expanded into {jobs}{without}; follow them: argosy watch {launch.gid}")
    elif launch.waiting:
        output.note(f"{launch.reason}; follow: argosy watch {launch.gid}")
    else:
        reason = f" ({launch.reason})" if launch.reason else ""
        output.note(
            f"{launch.state}, not yet cut into jobs after {waited:g} s{reason}. It is stored and will not get lost; are a worker "
            f"(argosy worker) and a tracker (argosy tracker) running? Look again: argosy get {launch.gid}"
        )


def _launch(opened: Client, gid: UUID) -> LaunchShape | None:
    found = opened.launches(gid=gid)
    return found[0] if found else None


def _job(opened: Client, uid: UUID, attempt: int | None) -> JobShape:
    try:
        return opened.get(uid, attempt=attempt)
    except NotFound as error:
        what = f"a job {uid} with attempt {attempt}" if attempt else f"a job or launch {uid}"
        raise NotFound(f"{what} does not exist; see: argosy list") from error


def _watch_launch(opened: Client, gid: UUID) -> None:
    from argosy.cli.progress import live

    jobs = live(opened, gid, console=output.console())
    if not jobs:
        (launch,) = opened.launches(gid=gid)
        _tell(launch, 0)
    _judge(jobs)


def _judge(jobs: list[JobShape]) -> None:
    bad = [job for job in jobs if job.status != "Succeeded"]
    if bad:
        counts = ", ".join(
            f"{number} {status}" for status, number in sorted(Counter(job.status for job in bad).items())
        )
        raise Unsuccessful(
            f"{len(bad)} of {len(jobs)} jobs did not succeed ({counts}); first: argosy get {bad[0].uid}: {bad[0].message}"
        )


def _show_failures(gid: UUID, failures: Sequence[FailureShape]) -> None:
    if not failures:
        return
    typer.echo("")
    output.table(failures, _FAILURE_COLUMNS)
    output.note(f"retry the jobs of one of these: argosy retry {gid} --error KEY")
    typer.echo("")


def _show_job(job: JobShape, output_format: Format) -> None:
    if output.structured(output_format):
        output.data(output.dump(job), output_format)
    elif output_format is Format.NAME:
        output.lines([str(job.uid)])
    else:
        from argosy.cli.progress import node_tree

        output.facts(_facts_of_job(job))
        if job.nodes:
            output.console().print(node_tree(job, datetime.now(UTC)))


def _facts_of_launch(launch: LaunchShape) -> dict[str, str]:
    return {
        "gid": str(launch.gid),
        "algorithm": launch.algorithm,
        "project": str(launch.project),
        "user": str(launch.user),
        "state": launch.state + (", all its jobs have ended" if launch.jobs and launch.done == launch.jobs else ""),
        "reason": launch.reason,
        "created": ago(launch.created_at, datetime.now(UTC)),
        "jobs": counted(launch),
        "done": _done(launch),
        "used": ", ".join(f"{name} {seconds}" for name, seconds in used(launch.resources or {}).items()),
        "after": str(launch.after or ""),
        "split of": str(launch.parent_gid or ""),
        "split into": " ".join(map(str, launch.splits or ())),
        "told": _told(launch),
        "left out": f"{launch.skipped} media that are done" if launch.skipped else "",
    }


def _told(launch: LaunchShape) -> str:
    """Who is told how it ended, and what came of it last."""
    last = {(each.kind, each.recipient): each for each in launch.notifications or ()}
    if not last:
        return f"{launch.webhook}: sent when all jobs have ended" if launch.webhook else ""
    return "; ".join(
        f"{each.recipient}: {each.ended}, {each.state}"
        + (f" after {each.tries} {'try' if each.tries == 1 else 'tries'}: {each.reason}" if each.reason else "")
        for each in last.values()
    )


def _done(launch: LaunchShape) -> str:
    if not launch.jobs:
        return ""
    rate = "" if launch.rate is None else f", {launch.rate * 60:.3g} a minute"
    left = "" if launch.seconds_left is None else f", {span(launch.seconds_left)} left at that rate"
    return f"{launch.done} of {launch.jobs} ({launch.done / launch.jobs:.0%}){rate}{left}"


def _facts_of_job(job: JobShape) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "uid": str(job.uid),
        "gid": str(job.gid),
        "batch": str(job.index),
        "algorithm": job.algorithm,
        "project": str(job.project),
        "user": str(job.user),
        "status": job.status,
        "message": job.message,
        "attempt": f"{job.attempt}" + (" (the ones before: --attempt N)" if job.attempt > 1 else ""),
        "cluster": job.cluster or "",
        "workflow": job.id or "",
        "media": f"{len(job.media_ids)}: {cut(ranges(job.media_ids), 200)}" if job.media_ids else "",
        "started": ago(job.start_time, now),
        "took": took(job.start_time, job.stop_time, now),
        "as of": ago(job.as_of, now),
    }


_FAILURE_COLUMNS: list[Column[FailureShape]] = [
    Column("KEY", lambda failure, _: failure.key),
    Column("JOBS", lambda failure, _: str(failure.count)),
    Column("STATUS", lambda failure, _: failure.status),
    Column("EXIT", lambda failure, _: "" if failure.exit_code is None else str(failure.exit_code)),
    Column("FIRST", lambda failure, _: str(failure.jobs[0])),
    Column("MESSAGE", lambda failure, _: cut(plain(failure.message), 200)),
]
