"""`argosy demo`: runs a whole installation of argosy on a machine that only has Python.

Every part is the same as in production (PostgreSQL, Valkey, worker and tracker processes, a cluster behind TLS and a token), so that a
newcomer sees the real product. Everything is in temporary directories and ends with this process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

import argosy
from argosy.cli.boundary import UsageError
from argosy.errors import ArgosyError, InvalidRequest, NotConfigured

if TYPE_CHECKING:
    from rich.console import Console

    from argosy.client import Client

_ROOT = Path(argosy.__file__).parents[2]
"""The checkout of the repository, if argosy runs from one."""

_STOP = 15
"""Seconds that a process has to end before it is killed."""

_BEGINNING = 20.0
"""The most seconds that are waited for processes to begin."""

_LOOK = 0.1
"""Seconds between two looks."""

PROJECT, USER = 1, 1


class ClusterKind(StrEnum):
    """The kind of cluster that the demo runs on."""

    SIMULATED = "simulated"
    LOCAL = "local"


class DemoFormat(StrEnum):
    """Format of the demo's standard output."""

    TABLE = "table"
    JSON = "json"


class DemoFailed(ArgosyError):
    """A part of the demo did not start, or the launch did not end well."""


@dataclass(frozen=True)
class _Parts:
    """A running demo: where the cluster is, the environment that argosy commands need to reach it, and the page with a token for it."""

    connection: dict[str, Any]
    environment: dict[str, str]
    page: str
    token: str


def demo(
    cluster: Annotated[
        ClusterKind,
        typer.Option(
            help="simulated: ready in seconds. local: builds (about 8 minutes, once) and starts a real control plane."
        ),
    ] = ClusterKind.SIMULATED,
    node: Annotated[
        bool, typer.Option("--node", help="With --cluster local: run containers, on a real node; needs root.")
    ] = False,
    media: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many media to launch on.")] = 10,
    files_per_job: Annotated[int, typer.Option(min=1, help="How many media each job takes.")] = 3,
    algorithm: Annotated[str, typer.Option(help="Which example of manifests/ to run, e.g. fan-out.")] = "hello",
    output: Annotated[
        DemoFormat, typer.Option("-o", "--output", help="json: one object on standard output.")
    ] = DemoFormat.TABLE,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up after the launch, until Ctrl-C.")] = False,
) -> None:
    """Run everything on this machine: servers, worker, tracker and a cluster; launch an example and follow it until it ends."""
    examples = _examples()
    if algorithm not in examples:
        raise InvalidRequest(f"--algorithm {algorithm!r}: no such example; there are {', '.join(sorted(examples))}")
    if node and cluster is not ClusterKind.LOCAL:
        raise UsageError("--node: a real node belongs to a real control plane; add --cluster local")
    from rich.console import Console

    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _stop)
    with ExitStack() as stack:
        parts = _start(stack, cluster, node, console)
        jobs, gid = _run(parts, examples, algorithm, range(1, media + 1), files_per_job, console)
        if output is DemoFormat.JSON:
            document = {
                "gid": gid,
                "cluster": parts.connection["kind"],
                "jobs": [job.model_dump(mode="json") for job in jobs],
            }
            sys.stdout.write(orjson.dumps(document).decode() + "\n")
            sys.stdout.flush()
        bad = [job for job in jobs if job.status != "Succeeded"]
        for job in bad:
            console.print(f"[red]job {job.uid}: {job.status}[/] {job.message}")
        if keep:
            _tell(parts, console)
            signal.pause()
        if bad:
            raise DemoFailed(f"{len(bad)} of {len(jobs)} jobs did not succeed: {bad[0].status}: {bad[0].message}")
        console.print(f"[green]{len(jobs)} jobs Succeeded[/]")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _examples() -> dict[str, Path]:
    packaged = Path(argosy.__file__).parent / "examples"
    return {file.stem: file for file in (packaged if packaged.is_dir() else _ROOT / "manifests").glob("*.yaml")}


def _start(stack: ExitStack, kind: ClusterKind, node: bool, console: Console) -> _Parts:
    from argosy import crypto
    from argosy.demo import embedded
    from argosy.settings import Settings
    from argosy.store import migrate

    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-demo-")))
    with console.status("starting the cluster …"):
        connection = stack.enter_context(_cluster(kind, node))
    console.print(f"cluster     {connection['kind']}, https://{connection['host']}:{connection['port']}")
    environment = crypto.new_keys() | {
        "ARGOSY_DATABASE_URL": stack.enter_context(embedded.postgres()),
        "ARGOSY_REDIS_URL": stack.enter_context(embedded.valkey()),
        "ARGOSY_LOG_FORMAT": "console",
        "ARGOSY_METRICS_HOST": "127.0.0.1",
        "ARGOSY_TRUSTED_HOSTS": "127.0.0.1,localhost",
        "ARGOSY_WEBHOOK_HOSTS": "127.0.0.1,localhost",
    }
    migrate.upgrade(Settings(**_fields(environment)))
    console.print("database    PostgreSQL and Valkey are up, schema upgraded")
    served = str(_free_port())
    for command in (
        ["worker", "--processes", "1", "--threads", "4"],
        ["tracker"],
        ["api", "--port", served],
    ):
        port = str(_free_port())
        log = directory / f"{command[0]}.log"
        own = {"ARGOSY_METRICS_PORT": port, "ARGOSY_AUTH": "tokens"}
        stack.enter_context(_process(command, environment | own, log))
        console.print(f"{command[0]:11} started, metrics on http://127.0.0.1:{port}/metrics")
    return _Parts(connection, environment, f"http://127.0.0.1:{served}/ui", _token(environment))


def _await_processes(client: Client) -> None:
    """Until worker and tracker have said that they are there; what comes of one that does not is said by its jobs."""
    from argosy.store import processes

    ends = time.monotonic() + _BEGINNING
    while time.monotonic() < ends:
        with client.engine.connect() as connection:
            if {processes.WORKER, processes.TRACKER} <= processes.kinds(connection):
                return
        time.sleep(_LOOK)


def _token(environment: dict[str, str]) -> str:
    """A token of the demo's user, who may do everything."""
    from argosy.client import Client
    from argosy.settings import Settings
    from argosy.store import api_tokens

    with Client(Settings(**_fields(environment))) as client, client.engine.begin() as connection:
        _, secret = api_tokens.create(
            connection, name="demo", user=USER, role="full", projects=None, organizations=None, days=1, sealed=None
        )
    return secret


def _run(
    parts: _Parts, examples: dict[str, Path], algorithm: str, media: range, files_per_job: int, console: Console
) -> tuple[list[Any], str]:
    from argosy.cli.progress import live
    from argosy.client import Client
    from argosy.settings import Settings

    client = Client(Settings(**_fields(parts.environment)))
    try:
        connection = parts.connection
        client.add_cluster(
            name="demo",
            host=connection["host"],
            port=connection["port"],
            cert=connection["ca"],
            token=connection["token"],
            namespace=connection["namespace"],
            service_account="argosy-job",
            default=True,
        )
        for name, file in sorted(examples.items()):
            client.register_algorithm(
                name=name, project=PROJECT, user=USER, manifest=file.read_text(), files_per_job=files_per_job
            )
        console.print(f"registered  cluster demo, algorithms {', '.join(sorted(examples))}", soft_wrap=True)
        with console.status("waiting for the worker and the tracker …"):
            _await_processes(client)
        launched = client.launch(algorithm, project=PROJECT, user=USER, media_ids=media, token="token-of-the-demo-user")  # noqa: S106
        jobs = live(client, launched.gid, console=console)
        if not jobs:
            (launch,) = client.launches(gid=launched.gid)
            raise DemoFailed(f"launch {launch.state}: {launch.reason}")
        return jobs, str(launched.gid)
    finally:
        client.close()


@contextmanager
def _cluster(kind: ClusterKind, node: bool) -> Iterator[dict[str, Any]]:
    """Run the cluster in a process of its own. The first line of its standard output says how to reach it."""
    if kind is ClusterKind.SIMULATED:
        command, cwd = ["-m", "argosy.demo.simulator"], None
    else:
        if not (_ROOT / "clusters" / "local").is_dir():
            raise NotConfigured("--cluster local is built from source: run it from a checkout of the repository")
        command, cwd = ["-m", "clusters.local", "up", *(["--node"] if node else [])], _ROOT
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, cwd=cwd, start_new_session=True)
    try:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise DemoFailed(f"the {kind} cluster ended with {process.wait()} before it was ready; its output is above")
        yield orjson.loads(line)
    finally:
        _end(process)


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "argosy.cli", *command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield
    finally:
        died = process.poll()
        _end(process)
        if died is not None:
            sys.stderr.write(f"argosy {command[0]} ended with {died}:\n" + log.read_text()[-4000:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all processes that it started: they are one session."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _fields(environment: dict[str, str]) -> dict[str, Any]:
    return {name.removeprefix("ARGOSY_").lower(): value for name, value in environment.items()}


def _tell(parts: _Parts, console: Console) -> None:
    console.print(f"\npage        {parts.page}", highlight=False, soft_wrap=True)
    console.print(f"sign in     {parts.token}", highlight=False, soft_wrap=True)
    console.print("\nIt stays up until Ctrl-C. In another terminal:")
    for name, value in parts.environment.items():
        console.print(f"  export {name}='{value}'", highlight=False, soft_wrap=True)
    if kubeconfig := parts.connection.get("kubeconfig"):
        console.print(f"  export KUBECONFIG={kubeconfig}", highlight=False, soft_wrap=True)
    console.print(f"  argosy list\n  argosy launch fan-out --project {PROJECT} --user {USER} --media 1-10 --watch")
