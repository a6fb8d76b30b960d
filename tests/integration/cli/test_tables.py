"""Tables as people see them at 60, 80 and 120 columns, without colour and in a pipe. `golden/` has what they are to look like; where
that is to change, look at what the test prints, and copy it."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from rich.console import Console

from argosy.cli import bulks, output
from argosy.cli.listing import JOB_COLUMNS, LAUNCH_COLUMNS
from argosy.cli.output import Column, Format
from argosy.shapes.bulk import Refused
from argosy.shapes.shown import FoundJob, LaunchShape

T = TypeVar("T")

GOLDEN = Path(__file__).parent / "golden"
GID = UUID("108a5bda-ebcd-11f1-a427-02fc00000001")
AGO = datetime.now(UTC) - timedelta(hours=2, minutes=1)


def job(index: int, status: str, message: str = "") -> FoundJob:
    return FoundJob(
        uid=UUID(int=GID.int + (index + 1 << 96)),
        gid=GID,
        index=index,
        id=f"job-{index}",
        project=1,
        user=7,
        algorithm="hello",
        status=status,
        message=message,
        created_at=AGO,
        start_time=AGO,
        stop_time=AGO + timedelta(seconds=90),
        media_ids=[1, 2, 3],
        attempt=1,
        cluster="north",
        manifest_digest="3fa2" * 16,
        as_of=AGO,
    )


JOBS = [
    job(0, "Succeeded"),
    job(1, "Failed", "hello: exit code 3: no such file or directory: /data/video-4711.mp4\nsecond line \x1b[31m"),
]

REFUSED = [
    Refused(
        gid=GID,
        uid=each.uid,
        index=each.index,
        why="it has a newer attempt, or ended in another way, since it was chosen",
    )
    for each in JOBS
]

LAUNCHES = [
    LaunchShape(
        gid=GID,
        project=1,
        user=7,
        algorithm="hello",
        state="expanded",
        reason="",
        jobs=2,
        skipped=0,
        parent_gid=None,
        after=None,
        waiting=False,
        created_at=AGO,
        counts={"Failed": 1, "Succeeded": 1},
        done=2,
        rate=None,
        seconds_left=None,
        resources=None,
        webhook=None,
        notifications=None,
        splits=None,
    )
]


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    items: Sequence[T],
    columns: Sequence[Column[T]],
    width: int | None,
    form: Format = Format.TABLE,
) -> str:
    """A table on a terminal of a width; None: in a pipe."""
    file = io.StringIO()
    if width is None:
        monkeypatch.setattr("sys.stdout", file)
    else:
        screen = Console(file=file, width=width, force_terminal=True, highlight=False)
        monkeypatch.setattr(output, "console", lambda: screen)
    output.show(items, form, columns=columns, name=str)
    monkeypatch.undo()
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("what", ["jobs", "launches", "refused"])
def test_a_table_on_a_terminal_looks_like_this(monkeypatch: pytest.MonkeyPatch, what: str, width: int) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = (
        drawn(monkeypatch, JOBS, JOB_COLUMNS, width)
        if what == "jobs"
        else drawn(monkeypatch, LAUNCHES, LAUNCH_COLUMNS, width)
        if what == "launches"
        else drawn(monkeypatch, REFUSED, bulks.COLUMNS, width)
    )
    shown = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    print(shown)
    assert "\x1b" not in shown
    assert (
        "\n".join(line.rstrip() for line in shown.splitlines()) + "\n" == (GOLDEN / f"{what}-{width}.txt").read_text()
    )
    flat = "".join(shown.split())
    assert all(str(each.uid) in flat for each in JOBS) or what == "launches"
    assert str(GID) in flat or what == "refused"


def test_a_table_in_a_pipe_is_whole_and_not_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(monkeypatch, JOBS, JOB_COLUMNS, None, Format.WIDE)
    print(shown)
    header, first, second = shown.splitlines()
    assert "\x1b" not in shown
    assert all(line == line.rstrip() for line in (header, first, second))
    assert len(first) < 300
    assert (str(JOBS[0].uid) in first, JOBS[1].message.split("\n")[0] in second) == (True, True)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[31mFailed" in drawn(monkeypatch, JOBS, JOB_COLUMNS, 200)
