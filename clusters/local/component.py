"""One process of the control plane, which tests stop, kill, freeze and start again while the others go on."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from argosy.errors import ArgosyError
from clusters.local.guard import Guard

REPOSITORY = Path(__file__).parent.parent.parent
START_SECONDS = 180.0
POLL_SECONDS = 0.05
LOG_LINES = 15


class ClusterError(ArgosyError):
    """A part of the local cluster did not start or did not answer."""


class Component:
    """One process of the control plane.

    Args:
        name: What people call it; names its log file.
        command: What to run.
        guard: Whose group it joins.
        log: Its output is appended here.
        environment: Added to this process's.
        ready: Whether it does its work; asked until it says yes.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        guard: Guard,
        log: Path,
        environment: dict[str, str] | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._guard = guard
        self._environment = os.environ | (environment or {})
        self._ready = ready

    def launch(self) -> None:
        """Start the process and don't wait for it."""
        if self.process is not None:
            raise ClusterError(f"{self.name} already runs (pid {self.process.pid}); stop it first")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.group,
            )

    def wait_until_ready(self) -> None:
        """Return when it does its work.

        Raises:
            ClusterError: It ended, or was not ready within START_SECONDS; with the last lines of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            self._check_alive()
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{self.name} was not ready after {START_SECONDS:.0f} s; its log ends:\n{self._tail()}"
                )
            time.sleep(POLL_SECONDS)
        self._check_alive()

    def start(self) -> None:
        """Start the process and return when it does its work."""
        self.launch()
        self.wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process and return when it is gone; stopping what does not run is allowed.

        Args:
            how: SIGKILL, the crash; SIGTERM, the orderly end, which a kube-apiserver with open watches may take a minute for.
        """
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait()
        self.process = None

    def restart(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop and start, on the same port and data."""
        self.stop(how)
        self.start()

    def _check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise ClusterError(f"{self.name} ended with {code}; its log ends:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
