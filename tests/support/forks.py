"""`argosy` processes that start in a fraction of the time: forked from one that has imported what they would import.

Most of the processor time that a test with processes takes is their import of the same code. Only prometheus-client, which decides at its
import where metrics go, and what imports it, is still imported by each process itself, and failpoints.py is read anew. A keeper stands
between the two: it says which process it has started, waits for its end and says how it ended.
"""

import functools
import gc
import importlib
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import orjson

import argosy
from argosy import failpoints

_LIBRARIES = (
    *(
        "aiohttp",
        "cryptography.fernet",
        "dramatiq.brokers.redis",
        "dramatiq.cli",
        "fastapi",
        "httpcore",
        "kubernetes.aio.client",
        "orjson",
    ),
    *(
        "psycopg",
        "psycopg_pool",
        "pydantic_settings",
        "redis",
        "rich.console",
        "rich.table",
        "sqlalchemy.dialects.postgresql.psycopg",
    ),
    *("sqlmodel", "structlog", "typer", "yaml", "yarl"),
)

_APART = ("argosy.demo", "argosy.cli.__main__", "argosy.store.migrations")
"""What a process runs, or does not need."""

_ROOT = Path(__file__).parents[2]

_FRAME = 100_000
"""The most bytes of a request, which holds the environment."""


class Forked:
    """One process, with the part of `subprocess.Popen` that tests use.

    Args:
        command: What follows `argosy`.
        environment: All of it.
        directory: Where it works.
        log: Where its output goes.
        group: The process group that it joins.
    """

    def __init__(
        self, command: list[str], environment: Mapping[str, str], directory: Path, log: IO[bytes], group: int
    ) -> None:
        self.returncode: int | None = None
        wanted = {"command": command, "environment": dict(environment), "directory": str(directory), "group": group}
        self._keeper, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(_source(), [orjson.dumps(wanted)], [theirs.fileno(), log.fileno()])
        self.pid = self._told()

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        with suppress(BlockingIOError):
            self.wait(socket.MSG_DONTWAIT)
        return self.returncode

    def wait(self, flags: int = 0) -> int:
        """How it ended, once it has."""
        if self.returncode is None:
            self.returncode = self._told(flags)
            self._keeper.close()
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _told(self, flags: int = 0) -> int:
        told = self._keeper.recv(_FRAME, flags)
        assert told, "the process that forks others is gone"
        return int(told)


@functools.cache
def _source() -> socket.socket:
    """Where processes are asked for; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0)
    return ours


def _serve(asked: socket.socket) -> None:
    """Fork a keeper for each process that is asked for, until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave nothing behind
    _import_most()
    gc.freeze()  # or a collection in a process would copy all of it
    while True:
        frame, files, _, _ = socket.recv_fds(asked, _FRAME, 2)
        if not frame:
            return
        if os.fork() == 0:
            asked.close()
            _keep(socket.socket(fileno=files[0]), files[1], orjson.loads(frame))
        for file in files:
            os.close(file)


class _NoMetrics:
    """Finds no prometheus-client."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name)


def _import_most() -> None:
    """Import everything that can be without prometheus-client."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    sys.meta_path.insert(0, finder := _NoMetrics())
    for module in pkgutil.walk_packages(argosy.__path__, "argosy."):
        if not module.name.startswith(_APART):
            with suppress(ModuleNotFoundError):
                importlib.import_module(module.name)
    sys.meta_path.remove(finder)
    assert "prometheus_client" not in sys.modules


def _keep(told: socket.socket, log: int, wanted: dict[str, Any]) -> NoReturn:
    """Start a process and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        told.close()
        _become(log, wanted)
    os.setpgid(pid, wanted["group"])  # before anybody knows of it
    told.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # who asked is gone
        told.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(log: int, wanted: dict[str, Any]) -> NoReturn:
    """Be the process, as if its command had been typed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for file in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(log, file)
    os.close(log)
    os.chdir(wanted["directory"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    importlib.reload(failpoints)
    sys.argv = ["argosy", *wanted["command"]]
    runpy.run_module("argosy.cli", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
