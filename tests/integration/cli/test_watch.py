"""The live view, on a cluster."""

import asyncio
import io
from uuid import UUID

from rich.console import Console

from argosy.cli.progress import live
from argosy.client import Client
from argosy.settings import Settings
from tests.support.cli import (
    command_output,
)
from tests.support.stack import running


async def test_watch_follows_a_launch_to_its_end(
    ready: Client, settings: Settings, environment: dict[str, str]
) -> None:
    async with running(settings):
        code, out, err = await command_output("launch hello --project 1 --user 7 --media 1-10 --watch", environment)
        assert (code, err) == (0, "")
        gid, *lines = out.splitlines()
        assert "4 jobs: 4 Succeeded" in out
        jobs = ready.list(gid=UUID(gid))
        for job in jobs:
            assert any(f"job {job.uid} Succeeded" in line for line in lines)
        code, out, _ = await command_output(f"watch {jobs[0].uid}", environment)
        assert (code, len(out.splitlines())) == (0, 1)
        code, out, err = await command_output("launch fails --project 1 --user 7 --media 1-4 --watch", environment)
        assert code == 1
        assert "2 of 2 jobs did not succeed (2 Failed)" in err
        assert len(err.splitlines()) == 1


async def test_the_live_view_draws_the_nodes_of_jobs_on_a_terminal(ready: Client, settings: Settings) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=60)
    async with running(settings):
        gid = ready.launch("fails", project=1, user=7, media_ids=range(1, 5)).gid
        jobs = await asyncio.to_thread(live, ready, gid, console=console)
    assert [job.status for job in jobs] == ["Failed", "Failed"]
    assert all(job.nodes for job in jobs)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 jobs: 2 Failed" in drawn
    for node in jobs[0].nodes:
        assert node.task in drawn or node.type == "StepGroup", "a group of one is that one"
