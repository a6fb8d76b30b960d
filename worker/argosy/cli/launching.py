"""`argosy launch`: run an algorithm on media, and say what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer

from argosy.cli import arguments, output
from argosy.cli import launch_options as options
from argosy.cli.boundary import UsageError
from argosy.cli.output import Format, Output
from argosy.cli.session import client
from argosy.cli.text import counted_jobs
from argosy.errors import ArgosyError
from argosy.states import ENDED_EARLY

if TYPE_CHECKING:
    from argosy.client import Client, Launched
    from argosy.shapes.shown import JobShape, LaunchShape

EXAMPLES = """Examples:

argosy launch hello --project 1 --user 7 --media 1,2,5-9 --watch

argosy launch hello --project 1 --user 7 --query 'type=3&section=12' --param threshold=0.5

argosy launch hello --project 1 --user 7 --media-file ids.txt --token-file token

argosy launch hello --project 1 --user 7 --media 1-100 --skip-done

argosy launch report --project 1 --user 7 --media 1-100 --after GID

argosy launch --failed-of GID"""

_LOOK = 0.2
"""Seconds between two checks whether a launch is expanded."""

_GRACE = 1.0
"""Seconds after which a launch that waits for another one is left to wait; if that one has ended, a worker has noticed by then."""


class Unsuccessful(ArgosyError):
    """The launch was rejected, or some of its jobs did not succeed."""


def launch(
    algorithm: options.Algorithm = None,
    project: options.Project = None,
    user: options.User = None,
    media: options.Media = None,
    media_file: options.MediaFile = None,
    query: options.Query = None,
    all_: options.All = False,
    failed_of: options.FailedOf = None,
    param: options.Params = None,
    token_file: options.LaunchToken = None,
    gid: options.Gid = None,
    priority: options.Priority = 0,
    skip_done: options.SkipDone = False,
    after: options.After = None,
    after_any: options.AfterAny = False,
    cancel_with: options.CancelWith = False,
    webhook: options.Webhook = None,
    wait: options.Wait = 10,
    watch: options.Watch = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Run an algorithm on media; prints the launch's gid."""
    arguments.one_of(media=media, media_file=media_file, query=query, all=all_, failed_of=failed_of)
    if failed_of is None:
        _check_whole(algorithm, project, user, media or media_file or query or all_)
    arguments.one_input(("--media-file", media_file), ("--token-file", token_file))
    if after is None and (after_any or cancel_with):
        raise UsageError("--after-any and --cancel-with go together with --after GID")
    given = {"algorithm_name": algorithm, "project": project, "user": user}
    request: dict[str, Any] = {name: value for name, value in given.items() if value is not None} | {
        "media_ids": _media(media, media_file),
        "extra_params": arguments.parameters(param or []),
        "media_query": query,
        "gid": gid,
        "priority": priority,
        "token": None if token_file is None else arguments.secret(token_file, "--token-file"),
        "skip_done": skip_done,
        "after": after,
        "after_if": "any" if after_any else "ok",
        "cancel_with": cancel_with,
        "webhook": webhook,
    }
    with client() as opened:
        whole = request if failed_of is None else _of_failed(opened, failed_of, request)
        launched = opened.launch(**whole)
        _tell_written(launched, whole["project"], output_format)
        if watch:
            watch_launch(opened, launched.gid)
        else:
            _tell(_expanded(opened, launched.gid, wait), wait, output_format)


def _check_whole(algorithm: str | None, project: int | None, user: int | None, media: object) -> None:
    """Check that a launch that takes nothing from another one is whole."""
    options = {"ALGORITHM": algorithm, "--project": project, "--user": user}
    missing = [option for option, value in options.items() if value is None]
    if missing:
        raise UsageError(f"missing: {', '.join(missing)}; see: argosy launch --help")
    if not media:
        raise UsageError(
            f"say which media: --media, --media-file, --query or --failed-of GID; or --all for all media of project {project}"
        )


def _of_failed(opened: Client, gid: UUID, request: dict[str, Any]) -> dict[str, Any]:
    """A request for the media of what failed of a launch, with what that one has where the request says nothing else."""
    failed = opened.failed(gid)
    if not failed.media_ids:
        raise UsageError(f"--failed-of: nothing of launch {gid} has failed; how it stands: argosy get {gid}")
    named = {each["name"] for each in request["extra_params"]}
    before = [each.model_dump() for each in failed.extra_params if each.name not in named]
    given = {"algorithm_name": failed.algorithm, "project": failed.project, "user": failed.user} | request
    return given | {"media_ids": failed.media_ids, "extra_params": [*before, *request["extra_params"]]}


def _tell_written(launched: Launched, project: int, output_format: Format) -> None:
    if not output.structured(output_format):
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


def _tell(launch: LaunchShape, waited: float, output_format: Format = Format.TABLE) -> None:
    if output.structured(output_format):
        output.data(output.dump(launch), output_format)
    if launch.state in ENDED_EARLY:
        raise Unsuccessful(f"launch {launch.gid} was {launch.state}: {launch.reason}")
    if launch.state == "expanded" and not launch.jobs:
        output.note(launch.reason)
    elif launch.state == "expanded":
        without = f", {launch.skipped} media left out because they are done" if launch.skipped else ""
        output.note(f"expanded into {counted_jobs(launch.jobs)}{without}; follow them: argosy watch {launch.gid}")
    elif launch.waiting:
        output.note(f"{launch.reason}; follow: argosy watch {launch.gid}")
    else:
        reason = f" ({launch.reason})" if launch.reason else ""
        output.note(
            f"{launch.state}, not yet cut into jobs after {waited:g} s{reason}. It is stored and will not get lost; are a worker "
            f"(argosy worker) and a tracker (argosy tracker) running? Look again: argosy get {launch.gid}"
        )


@contextmanager
def going_on(identifier: UUID) -> Iterator[None]:
    """Where a person who watches may stop to do so: what is watched goes on, and that is said."""
    try:
        yield
    except KeyboardInterrupt:
        output.note(
            f"it goes on without you; follow again: argosy watch {identifier}; end it: argosy cancel {identifier}"
        )
        raise


def watch_launch(opened: Client, gid: UUID) -> None:
    """Follow a launch until all its jobs have ended.

    Raises:
        Unsuccessful: It was rejected, or some of its jobs did not succeed.
    """
    from argosy.cli.progress import live

    with going_on(gid):
        jobs = live(opened, gid, console=output.console())
    if not jobs:
        (launch,) = opened.launches(gid=gid)
        _tell(launch, 0)
    judge(jobs)


def judge(jobs: list[JobShape]) -> None:
    """Check that all these jobs, which have ended, succeeded.

    Raises:
        Unsuccessful: Some did not.
    """
    bad = [job for job in jobs if job.status != "Succeeded"]
    if bad:
        counts = ", ".join(
            f"{number} {status}" for status, number in sorted(Counter(job.status for job in bad).items())
        )
        raise Unsuccessful(
            f"{len(bad)} of {len(jobs)} jobs did not succeed ({counts}); first: argosy get {bad[0].uid}: {bad[0].message}"
        )
