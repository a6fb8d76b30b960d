"""The `argosy` command as tests run it."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import typer.testing
from rich.console import Console
from typer.testing import Result

from argosy.client import Client
from argosy.demo.simulator import SimulatedConnection
from tests.conftest import ROOT

SECRET = "eyJ-token-that-must-never-come-out"
HELLO = str(ROOT / "manifests" / "hello.yaml")

Run = Callable[..., Result]

# Typer's runner makes all commands anew for each that it runs, which takes longer than most of them.
typer.testing._get_command = cache(typer.testing._get_command)  # type: ignore[attr-defined]


def error(result: Result, code: int) -> str:
    """Why a command ended with this code: its one line on standard error, or the reason in it if the command is a process that logs."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    if line.startswith("{"):
        return str(orjson.loads(line)["reason"])
    assert line.startswith("argosy: error: ")
    return line.removeprefix("argosy: error: ")


def executable() -> str:
    """Where the command is installed."""
    return str(Path(sys.executable).parent / "argosy")


@contextmanager
def started(*args: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the command; killed with all its children at the end."""
    process = subprocess.Popen(
        [executable(), *args],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def command_output(args: str, environment: Mapping[str, str], seconds: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command."""
    process = await asyncio.create_subprocess_exec(
        executable(), *args.split(), env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(seconds):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def printed(what: Any) -> list[str]:
    """What a terminal shows, in lines."""
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def add(client: Client, connection: SimulatedConnection) -> None:
    """Register a simulated cluster."""
    client.add_cluster(
        name="simulated",
        host=connection.host,
        port=connection.port,
        cert=connection.ca,
        token=connection.token,
        namespace=connection.namespace,
        default=True,
    )


def token_of(client: Client, name: str) -> str:
    """The token that a cluster is registered with."""
    from sqlmodel import Session

    from argosy.access import access_of
    from argosy.store import registry

    with Session(client.engine) as session:
        return access_of(registry.cluster(session, name), client.settings).token


def system_ca() -> str:
    """A CA that is none of ours."""
    import ssl

    return Path(str(ssl.get_default_verify_paths().cafile)).read_text()
