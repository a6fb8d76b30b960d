"""Where the commands of a page are run: the demo as its reader started it, and what the page takes for granted."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support import pages
from tests.support.stack import finished

_BIN = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Stage:
    """A running platform for the commands of pages."""

    client: Client
    environment: dict[str, str]

    async def run(self, block: pages.Block) -> str:
        """Run a block; GID is a launch that failed just now, UID a job of it, KEY the group of its failures."""
        launched = self.client.launch("fails", project=1, user=1, media_ids=range(1, 11))
        jobs = await finished(self.client, launched.gid, 120)
        (failure,) = self.client.failures(launched.gid)
        words = {"GID": str(launched.gid), "UID": str(jobs[0].uid), "KEY": failure.key}
        return await asyncio.to_thread(pages.run, block, self.environment, words)


@contextmanager
def demo() -> Iterator[Stage]:
    """The demo, started as the README says, with the second and third cluster that pages name."""
    (block,) = [block for block in pages.SHELL if (block.mark, block.stage) == ("start", "demo")]
    with ExitStack() as stack:
        environment = stack.enter_context(_started(block))
        environment["PATH"] = f"{_BIN}:{os.environ['PATH']}"
        fields: dict[str, Any] = {k.removeprefix("ARGOSY_").lower(): v for k, v in environment.items()}
        client = Client(Settings(**fields))
        stack.callback(client.close)
        for name in ("north", "south"):
            at = stack.enter_context(SimulatedCluster()).connection
            labels = {"gpu": "a100"} if name == "north" else {}
            client.add_cluster(name=name, host=at.host, port=at.port, cert=at.ca, token=at.token, labels=labels)
        yield Stage(client, environment)


@contextmanager
def _started(block: pages.Block) -> Iterator[dict[str, str]]:
    """Run a block that stays up, and take over the `export` lines that it prints."""
    process = subprocess.Popen(
        ["bash", "-euc", block.text], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    printed, exported = [], {}
    try:
        assert process.stderr is not None
        for line in process.stderr:
            printed.append(line)
            if found := re.match(r"\s+export (\w+)='(.*)'$", line):
                exported[found[1]] = found[2]
            elif exported:
                break
        assert exported, f"{block.page}:{block.line} ended: {''.join(printed)}"
        yield exported
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
