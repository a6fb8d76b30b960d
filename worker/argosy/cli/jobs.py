"""`argosy get` and `watch`: see how a launch or a job goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.cli import arguments, completion, output
from argosy.cli.launching import going_on, judge, watch_launch
from argosy.cli.listing import JOB_COLUMNS, counted
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import SHORT, cut, plain, ranges, span, took, used
from argosy.cli.times import Time, ago
from argosy.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.client import Client
    from argosy.history.failed import FailedStep
    from argosy.shapes.history import FailureShape
    from argosy.shapes.shown import JobShape, LaunchShape

_FAILED = {"Failed", "Error"}

_WHICH: Any = typer.Argument(
    help="Id of a job (uid) or of a launch (gid), or its first 8 letters; GID/17 is the launch's job with that index.",
    metavar="UID|GID",
    parser=arguments.identifier,
    autocompletion=completion.identifiers,
)
Identifier = Annotated[UUID, _WHICH]
MaybeIdentifier = Annotated[UUID | None, _WHICH]


def get(
    identifier: Identifier,
    attempt: Annotated[int | None, typer.Option(help="An older attempt of the job.", min=1)] = None,
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Show a job with its nodes, or a launch with its jobs."""
    from argosy.cli.progress import all_jobs

    with client() as opened:
        found = None if attempt is not None else launch_of(opened, identifier)
        if found is None:
            _show_job(job_of(opened, identifier, attempt), output_format, attempt is None)
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
        if launch_of(opened, identifier) is not None:
            watch_launch(opened, identifier)
            return
        from argosy.cli.progress import live_job

        job_of(opened, identifier, None)
        with going_on(identifier):
            ended = live_job(opened, identifier, console=output.console())
        judge([ended])


def launch_of(opened: Client, gid: UUID) -> LaunchShape | None:
    """The launch with this id; None if there is none."""
    found = opened.launches(gid=gid)
    return found[0] if found else None


def job_of(opened: Client, uid: UUID, attempt: int | None) -> JobShape:
    """The job with this id, or an older attempt of it.

    Raises:
        NotFound: There is none.
    """
    try:
        return opened.get(uid, attempt=attempt)
    except NotFound as error:
        what = f"a job {uid} with attempt {attempt}" if attempt else f"a job or launch {uid}"
        raise NotFound(f"{what} does not exist; see: argosy list") from error


def _show_failures(gid: UUID, failures: Sequence[FailureShape]) -> None:
    if not failures:
        return
    typer.echo("")
    output.table(failures, _FAILURE_COLUMNS)
    output.note(f"retry the jobs of one of these: argosy retry {gid} --error KEY")
    typer.echo("")


def _show_job(job: JobShape, output_format: Format, newest: bool) -> None:
    if output.structured(output_format):
        output.data(output.dump(job), output_format)
    elif output_format is Format.NAME:
        output.lines([str(job.uid)])
    else:
        from argosy.cli.progress import node_tree
        from argosy.history.failed import failed_step

        failed = failed_step(job.nodes) if job.status in _FAILED else None
        output.facts(_facts_of_job(job, failed))
        if job.nodes:
            output.console().print(node_tree(job, datetime.now(UTC)))
        if failed is not None:
            attempt = "" if newest else f" --attempt {job.attempt}"
            output.note(f"what it wrote: {failed.logs(job.uid)}{attempt}; to run it again: argosy retry {job.uid}")


def _facts_of_launch(launch: LaunchShape) -> dict[str, str]:
    return {
        "gid": str(launch.gid),
        "algorithm": launch.algorithm,
        "project": str(launch.project),
        "user": str(launch.user),
        "status": launch.status,
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


def _facts_of_job(job: JobShape, failed: FailedStep | None) -> dict[str, str]:
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
        "where": "" if failed is None else failed.where,
        "attempt": f"{job.attempt}" + (" (the ones before: --attempt N)" if job.attempt > 1 else ""),
        "cluster": job.cluster or "",
        "manifest": job.manifest_digest[:SHORT],
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
