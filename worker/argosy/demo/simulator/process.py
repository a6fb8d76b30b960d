"""A simulated cluster as a process of its own: how the demo, the tests and `python -m argosy.demo.simulator` make one.

It is a process and not a thread, so that it does not use the caller's CPU time and can be killed. It ends with its parent, even if the
parent is killed, because its standard input is a pipe from the parent.
"""

import subprocess
import sys
from dataclasses import dataclass, field
from threading import Timer
from types import TracebackType
from typing import Self

import orjson

from argosy.demo.simulator.controller import POD_SECONDS
from argosy.errors import ArgosyError

_START_SECONDS = 120.0
_STOP_SECONDS = 5.0


class SimulatorFailed(ArgosyError):
    """The simulator did not start."""


@dataclass(frozen=True)
class SimulatedConnection:
    """How to reach it.

    Args:
        kind: Always `simulated`.
        host: Address.
        port: Port of its API.
        ca: PEM text of its CA.
        token: The token for argosy.
        namespace: Where workflows run.
        admin_token: A token that may do everything; for tests and people, never for argosy.
    """

    kind: str
    host: str
    port: int
    ca: str = field(repr=False)
    token: str = field(repr=False)
    namespace: str
    admin_token: str = field(repr=False)


class SimulatedCluster:
    """A simulated JobCluster while the `with` block runs; `connection` says how to reach it.

    Args:
        pod_seconds: How long a pod runs by default.
        powerless_token: A token that is known and may do nothing; None for none.
        namespace: Where workflows run.
    """

    connection: SimulatedConnection

    def __init__(
        self, pod_seconds: float = POD_SECONDS, powerless_token: str | None = None, namespace: str = "argosy"
    ) -> None:
        self._command = [sys.executable, "-m", "argosy.demo.simulator", "--until-stdin-ends"]
        self._command += [f"--pod-seconds={pod_seconds}", f"--namespace={namespace}"]
        self._command += [f"--powerless-token={powerless_token}"] if powerless_token else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int | None:
        """Id of its process, while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and return when it can be called.

        Raises:
            SimulatorFailed: It ended, or did not print how to reach it.
        """
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._process = process
        patience = Timer(_START_SECONDS, process.kill)
        patience.start()
        try:
            line = process.stdout.readline() if process.stdout else b""
        finally:
            patience.cancel()
        if not line:
            self.stop()
            raise SimulatorFailed(
                f"the simulator ended with {process.returncode} before it was ready; see standard error"
            )
        self.connection = SimulatedConnection(**orjson.loads(line))

    def stop(self) -> None:
        """End it; stopping twice is allowed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
