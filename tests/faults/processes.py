"""Real argosy processes that a test starts, kills, freezes and wakes up, on a real control plane.

A fault that falls between two statements is made in the process that runs them: `ARGOSY_FAILPOINTS` names the place (failpoints.py). A
worker is a Dramatiq pool, so the process that dies or freezes is a child of the one that was started; each pool is therefore a process
group of its own, led by a guard (clusters/local/guard.py), and nothing of it outlives its test, whatever ends the test.
"""

import os
import signal
import socket
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from argosy.demo.embedded import free_ports
from clusters.local.guard import Guard
from tests.conftest import ROOT
from tests.support.forks import Forked
from tests.support.stack import until

SHORT = {
    "ARGOSY_CLAIM_LEASE": "4",
    "ARGOSY_TRACKER_LEASE": "3",
    "ARGOSY_HOUSEKEEPING_INTERVAL": "0.5",
    "ARGOSY_REQUEST_TIMEOUT": "2",
}
"""Leases that end while a test waits."""

_CHILD_KILLED = "exited unexpectedly (code -9)"
"""What Dramatiq says of a pool when it ends it because one of its processes was killed."""

_AT_START = {"LD_PRELOAD", "PYTHONPATH"}
"""What only a process that is not forked follows: the loader and the interpreter read it at their start."""

_TAIL = 6000

_NUMBERS = count(1)
"""An audit starts thousands of processes in one directory: no two may have one name."""


class Process:
    """One `argosy` process and all that it started.

    Args:
        command: What follows `argosy`.
        environment: Added to this process's.
        directory: Where its log and its metrics go.
    """

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = f"{command[0]}-{next(_NUMBERS)}"
        self.log = directory / f"{self.name}.log"
        self.port = free_ports(1)[0]
        metrics = directory / self.name
        metrics.mkdir()
        self._guard = Guard(metrics)
        own = {"ARGOSY_METRICS_DIRECTORY": str(metrics), "ARGOSY_METRICS_PORT": str(self.port)}
        with self.log.open("wb") as log:
            given = os.environ | environment | own
            if _AT_START.isdisjoint(environment):
                self._process: Forked | subprocess.Popen[bytes] = Forked(command, given, ROOT, log, self._guard.group)
            else:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "argosy.cli", *command],
                    env=given,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=self._guard.group,
                )
        self.pid = self._process.pid

    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def pids(self) -> set[int]:
        """Of all its processes."""
        return set(self._members())

    async def ended(self, seconds: float = 30) -> int:
        """How it ended, once it has."""
        code = await until(self._process.poll, lambda code: code is not None, seconds)
        assert code is not None
        return code

    async def killed(self, seconds: float = 30) -> None:
        """Once its failpoint has killed it, or the process of its pool that came by."""
        code = await self.ended(seconds)
        died = code == -signal.SIGKILL or _CHILD_KILLED in self.log.read_text()
        assert died, f"{self.name} was not killed, it ended with {code}: {self.tail()}"

    def terminate(self) -> None:
        """Ask it to end, as a pod is asked."""
        self._process.terminate()

    async def stopped(self) -> None:
        """Once it has ended as a pod is ended: what it was about is finished or handed back."""
        self.terminate()
        code = await self.ended()
        assert code == 0, f"{self.name} ended with {code}: {self.tail()}"

    async def frozen(self, seconds: float = 30) -> int:
        """The process whose failpoint has frozen it, once it has."""
        (pid,) = await until(self._frozen, bool, seconds)
        return pid

    def resume(self) -> None:
        """Wake what is frozen."""
        for pid in self._frozen():
            os.kill(pid, signal.SIGCONT)

    def freeze(self) -> None:
        """Freeze all of it, wherever it is."""
        for pid in self._members():
            os.kill(pid, signal.SIGSTOP)

    async def said(self, words: str, seconds: float = 30) -> None:
        """Once its log has these words."""
        await until(self.log.read_text, lambda told: words in told, seconds)

    async def answers(self, seconds: float = 30) -> None:
        """Once it serves its metrics."""

        def reached() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        await until(reached, bool, seconds)

    async def probed(self, path: str, code: int, seconds: float = 30) -> str:
        """What a probe says, once it says it with this code."""

        def asked() -> tuple[int, str]:
            try:
                answer = httpx.get(f"http://127.0.0.1:{self.port}/{path}", timeout=5)
            except httpx.HTTPError as error:
                return 0, str(error)
            return answer.status_code, answer.text

        return (await until(asked, lambda told: told[0] == code, seconds))[1]

    def kill(self) -> None:
        """SIGKILL, all of it at once; killing twice is allowed."""
        self._guard.close()
        self._process.wait()

    def tail(self) -> str:
        """The end of its log."""
        return f"\n--- {self.name}\n{self.log.read_text(errors='replace')[-_TAIL:]}"

    def _frozen(self) -> list[int]:
        return [pid for pid, state in self._members().items() if state == "T"]

    def _members(self) -> dict[int, str]:
        """State of every process of its group but the guard."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if int(fields[2]) == self._guard.group and int(entry.parent.name) != self._guard.group:
                found[int(entry.parent.name)] = fields[0]
        return found


class Fleet:
    """The argosy processes of one test.

    Args:
        environment: Of all of them.
        directory: Where their logs go.
        quiet: Don't show the ends of their logs at the end.
    """

    def __init__(self, environment: dict[str, str], directory: Path, quiet: bool = False) -> None:
        self._environment, self._directory, self._quiet = environment, directory, quiet
        self._processes: list[Process] = []

    def set(self, **environment: str) -> None:
        """Change what is in the environment of those that start from now on."""
        self._environment = self._environment | environment

    def worker(self, failpoints: str = "", **environment: str) -> Process:
        """Start a pool of one process."""
        return self._start(["worker", "--processes", "1", "--threads", "4"], failpoints, environment)

    def tracker(self, failpoints: str = "", **environment: str) -> Process:
        """Start a tracker."""
        return self._start(["tracker"], failpoints, environment)

    def command(self, *words: str, failpoints: str = "") -> Process:
        """Start any other argosy command."""
        return self._start(list(words), failpoints, {})

    def _start(self, command: list[str], failpoints: str, environment: dict[str, str]) -> Process:
        own = environment | {"ARGOSY_FAILPOINTS": failpoints}
        self._processes.append(Process(command, self._environment | own, self._directory))
        return self._processes[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            if self._quiet:
                continue
            sys.stderr.write(process.tail())  # pytest shows it of a test that failed
