"""Nothing this package starts outlives the process that started it, even when that process is killed with SIGKILL.

PR_SET_PDEATHSIG would be the short way, but it fires when the *thread* that forked ends (a pytest fixture, `asyncio.to_thread`),
needs code between fork and exec, and leaves the directory behind. So a guard process leads a process group that every child is
started into, and holds the read end of a pipe whose write end only the starter has: end of file means the starter is gone,
however it went. No child is ever unguarded, because it is in the group before its first instruction.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE, PAUSE_SECONDS = 200, 0.05
"""How often, and in which distance, something that is still in use is removed again."""


class Guard:
    """A process group that is killed, and a directory that is removed, when this object is closed or its process ends.

    Args:
        directory: Removed, with everything in it, after the group has been killed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cgroups: list[Path] = []
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(directory)], stdin=subprocess.PIPE, process_group=0
        )

    @property
    def group(self) -> int:
        """The process group to start children into: `subprocess.Popen(..., process_group=guard.group)`."""
        return self._process.pid

    def also(self, cgroups: list[Path]) -> None:
        """Have directories of cgroups removed as well: whatever runs in them ends with the group."""
        assert self._process.stdin is not None  # noqa: S101 -- it was asked for
        self._cgroups += cgroups
        self._process.stdin.write("".join(f"{cgroup}\n" for cgroup in cgroups).encode())
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill the group and remove the directory; closing twice is allowed."""
        if self._process.returncode is None:
            os.killpg(self.group, signal.SIGKILL)
            self._process.communicate()
        for cgroup in self._cgroups:
            _remove(cgroup, _without_groups)
        _remove(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _remove(directory: Path, how: Callable[[Path], None] = shutil.rmtree) -> None:
    """Remove a directory in which processes that were just killed may still be finishing a write, or be."""
    for _ in range(PATIENCE):
        with suppress(OSError):
            how(directory)
        if not directory.exists():
            return
        time.sleep(PAUSE_SECONDS)
    how(directory)


def _without_groups(cgroup: Path) -> None:
    """Remove a cgroup and those in it: their files go with them."""
    for inner, _, _ in os.walk(cgroup, topdown=False):
        Path(inner).rmdir()


def _guard(directory: Path) -> None:
    """Wait for the starter's end, then kill the group, this process with it; a child outside the group cleans up."""
    cgroups = [Path(line) for line in sys.stdin.buffer.read().decode().splitlines()]
    group = os.getpgrp()
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.killpg(group, signal.SIGKILL)
        for cgroup in cgroups:
            _remove(cgroup, _without_groups)
        _remove(directory)
    else:
        signal.pause()


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
