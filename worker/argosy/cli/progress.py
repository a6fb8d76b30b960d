"""The live view of `argosy watch`: a launch's jobs with their nodes, until all have ended.

A launch may have 33,000 jobs, so each update reads only the counts and a small window of jobs, which moves on past jobs that have ended. On
a terminal the view is redrawn in place; elsewhere (a log, CI) each change is one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from threading import Event
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from argosy.cli.text import COLOURS, plain, ranges, span, took
from argosy.errors import NotFound
from argosy.history.tree import held, said
from argosy.states import ENDED_EARLY
from argosy.states import FINAL as FINAL_STATES

if TYPE_CHECKING:
    from uuid import UUID

    from argosy.client import Client
    from argosy.shapes.shown import JobShape, LaunchShape, NodeShape

FINAL = frozenset(str(state).capitalize() for state in FINAL_STATES)
"""Statuses of a job that has ended."""

_EVERY = 0.5
"""Seconds between two updates."""

_WINDOW = 20
"""Jobs shown one by one."""

_PAGE = 1000

_DEEPEST = 12
"""Levels of a tree; deeper nodes are shown on the last one, because beyond the edge of a terminal there is none."""


@dataclass(frozen=True)
class _Frame:
    launch: LaunchShape | None
    jobs: list[JobShape]
    ended: bool


def live(client: Client, gid: UUID, *, console: Console, stop: Event | None = None) -> list[JobShape]:
    """Follow a launch until all its jobs have ended or it has ended without any.

    Args:
        client: Where to read.
        gid: The launch.
        console: Where to draw; a console that is not a terminal gets plain lines.
        stop: Event that ends it early.

    Returns:
        All jobs of the launch with their nodes, as they are at the end. Empty if it was rejected, or cancelled before it had any.

    Raises:
        NotFound: There is no such launch.
    """
    _play(_launch_frames(client, gid), console, stop)
    return all_jobs(client, gid)


def live_job(client: Client, uid: UUID, *, console: Console, stop: Event | None = None) -> JobShape:
    """Follow one job until it has ended; as `live`."""
    _play(_job_frames(client, uid), console, stop)
    return client.get(uid)


def all_jobs(client: Client, gid: UUID, nodes: bool = True) -> list[JobShape]:
    """All jobs of a launch, read in pages."""
    found: list[JobShape] = []
    while True:
        page = client.list(gid=gid, limit=_PAGE, offset=len(found), nodes=nodes, hidden=True)
        found += page
        if len(page) < _PAGE:
            return found


def node_tree(job: JobShape, now: datetime) -> Tree:
    """A job and its nodes as a tree: steps and DAGs contain the nodes that run in them."""
    top = Tree(_job_line(job, now))
    by_id = {node.id: node for node in job.nodes}
    below = held(job.nodes)
    waiting = [(id, top, 0) for id in reversed(below[""])]
    while waiting:
        id, parent, depth = waiting.pop()
        branch = parent.add(_node_line(by_id[id], now))
        inner = branch if depth < _DEEPEST else parent
        waiting += ((child, inner, depth + 1) for child in reversed(below[id]))
    return top


def summary(launch: LaunchShape) -> str:
    """A launch's jobs by status: `4 jobs: 2 Succeeded, 2 Running`."""
    if launch.state != "expanded":
        return f"{launch.state}: {launch.reason}" if launch.reason else launch.state
    if not launch.jobs:
        return launch.reason
    counts = ", ".join(f"{number} {status}" for status, number in sorted(launch.counts.items()))
    return f"{launch.jobs} job{'s' * (launch.jobs != 1)}: {counts}"


def _launch_frames(client: Client, gid: UUID) -> Iterator[_Frame]:
    offset = 0
    while True:
        found = client.launches(gid=gid)
        if not found:
            raise NotFound(f"launch {gid} does not exist; see: argosy list --launches")
        launch = found[0]
        jobs = client.list(gid=gid, limit=_WINDOW, offset=offset, hidden=True)
        yield _Frame(launch, jobs, launch_ended(launch))
        if offset + len(jobs) < launch.jobs:
            offset += sum(1 for _ in takewhile(lambda job: job.status in FINAL, jobs))


def _job_frames(client: Client, uid: UUID) -> Iterator[_Frame]:
    while True:
        job = client.get(uid)
        yield _Frame(None, [job], job.status in FINAL)


def launch_ended(launch: LaunchShape) -> bool:
    """Whether a launch has ended, with all its jobs."""
    if launch.state in ENDED_EARLY:
        return True
    done = sum(number for status, number in launch.counts.items() if status in FINAL)
    return launch.state == "expanded" and done >= launch.jobs


def _play(frames: Iterator[_Frame], console: Console, stop: Event | None) -> None:
    stop = stop or Event()
    screen = _drawn if console.is_terminal else _written
    with screen(console) as show:
        for frame in frames:
            show(frame)
            if frame.ended or stop.wait(_EVERY):
                return


@contextmanager
def _drawn(console: Console) -> Iterator[Callable[[_Frame], None]]:
    started = time.monotonic()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as screen:
        yield lambda frame: screen.update(_picture(frame, time.monotonic() - started), refresh=True)


@contextmanager
def _written(console: Console) -> Iterator[Callable[[_Frame], None]]:
    started = time.monotonic()
    last: dict[str, str] = {}

    def say(subject: str, text: str) -> None:
        if last.get(subject) != text:
            last[subject] = text
            console.print(Text(f"{span(time.monotonic() - started):>7}  {text}"), soft_wrap=True)

    def show(frame: _Frame) -> None:
        if frame.launch is not None:
            say("launch", plain(summary(frame.launch)))
        if frame.launch is None or frame.launch.jobs <= _WINDOW:
            for job in frame.jobs:
                say(str(job.uid), plain(f"job {job.uid} {job.status} {_progress(job)} {job.message}"))

    yield show


def _picture(frame: _Frame, elapsed: float) -> Group:
    now = datetime.now(UTC)
    parts: list[Text | Tree] = []
    if frame.launch is not None:
        head = Text.assemble((plain(frame.launch.algorithm), "bold"), f"  {span(elapsed)}  ")
        head.append(plain(summary(frame.launch)), COLOURS.get(frame.launch.state, "") if not frame.jobs else "")
        parts.append(head)
    quiet = frame.launch is not None
    for job in frame.jobs:
        done = quiet and job.status in {"Succeeded", "Queued"}
        parts.append(_job_line(job, now) if done else node_tree(job, now))
    if frame.launch is not None and frame.launch.jobs > len(frame.jobs):
        parts.append(Text(f"… of {frame.launch.jobs} jobs", "dim"))
    return Group(*parts)


def _job_line(job: JobShape, now: datetime) -> Text:
    line = Text.assemble((f"{job.status:10}", COLOURS.get(job.status, "")), f" {job.uid} ", (_progress(job), "dim"))
    line.append(f"  media {_short(ranges(job.media_ids))}" if job.media_ids else "", "dim")
    line.append(f"  {took(job.start_time, job.stop_time, now)}")
    line.append(f"  {plain(job.message)}" if job.message else "", "red" if job.status in {"Failed", "Error"} else "")
    return line


def _node_line(node: NodeShape, now: datetime) -> Text:
    line = Text.assemble((f"{node.status:10}", COLOURS.get(node.status, "")), f" {plain(node.task)}")
    line.append(f"  {took(node.start_time, node.stop_time, now)}", "dim")
    line.append(f"  exit code {node.exit_code}" if node.exit_code else "", "red")
    line.append(
        f"  {plain(words)}" if (words := said(node)) else "", "red" if node.status in {"Failed", "Error"} else "dim"
    )
    return line


def _progress(job: JobShape) -> str:
    ended = sum(1 for node in job.nodes if node.stop_time is not None)
    return f"{ended}/{len(job.nodes)} nodes" if job.nodes else ""


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:23] + "…"
