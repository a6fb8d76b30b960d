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
from pathlib import Path
from types import TracebackType
from typing import Self


class Guard:
    """A process group that is killed, and a directory that is removed, when this object is closed or its process ends.

    Args:
        directory: Removed, with everything in it, after the group has been killed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(directory)], stdin=subprocess.PIPE, process_group=0
        )

    @property
    def group(self) -> int:
        """The process group to start children into: `subprocess.Popen(..., process_group=guard.group)`."""
        return self._process.pid

    def close(self) -> None:
        """Kill the group and remove the directory; closing twice is allowed."""
        if self._process.returncode is None:
            os.killpg(self.group, signal.SIGKILL)
            self._process.communicate()
        _remove(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _remove(directory: Path) -> None:
    """Remove a directory in which processes that were just killed may still be finishing a write."""
    for _ in range(100):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(directory)


def _guard(directory: Path) -> None:
    """Wait for the starter's end, then kill the group, this process with it; a child outside the group cleans up."""
    sys.stdin.buffer.read()
    group = os.getpgrp()
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.killpg(group, signal.SIGKILL)
        _remove(directory)
    else:
        signal.pause()


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
