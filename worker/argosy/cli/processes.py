"""The long-running processes, and the keys that they need: `argosy worker`, `tracker`, `keys`.

A pool of processes writes its metrics as files in a directory of its own (prometheus-client's multiprocess mode). The directory is made
before prometheus-client is imported, and removed at the end. So Dramatiq is called in this process and not exec'ed: after an exec nobody
could remove the directory.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.boundary import exit_code, line_of
from argosy.cli.session import configured
from argosy.errors import NotConfigured

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from argosy.processes.heart import Heart
    from argosy.settings import Settings

_SHUTDOWN = 15_000
"""Milliseconds that a worker's running actors have to end. This is longer than one request's time-out, so that a create that is under way
is answered and recorded, and much shorter than a pod's grace period. Unfinished jobs are claimed again when their lease runs out."""


def worker(
    processes: Annotated[int, typer.Option(help="Processes of the pool.", min=1)] = 2,
    threads: Annotated[int, typer.Option(help="Threads of each process.", min=1)] = 8,
) -> None:
    """Run a pool of workers: they cut launches into jobs and submit jobs to their clusters."""
    with beginning() as settings, metrics_directory(settings, "worker"):
        check_database(settings, tokens=True)
        _check_port(settings)
        os.environ |= {
            # Fetch no more messages than there are threads. With Dramatiq's default of twice as many, messages wait for a busy or frozen
            # process while another one is idle.
            "dramatiq_queue_prefetch": str(threads),
        }
        from dramatiq import cli

        from argosy.processes import log
        from argosy.processes.wakeups import broker

        log.configure(settings)
        broker(settings)  # reports a bad address once, instead of a traceback from each process
        say_begins(
            settings, "worker begins: it cuts launches into jobs, and submits these to their clusters", pool=processes
        )
        # On SIGHUP Dramatiq executes sys.argv again.
        options = ["--processes", str(processes), "--threads", str(threads)]
        sys.argv = [sys.executable, "-m", "argosy.cli", "worker", *options]
        queues = ["--queues", "launch", "expand", "submit"]
        stop = ["--skip-logging", "--worker-shutdown-timeout", str(_SHUTDOWN)]
        code = cli.main(
            cli.make_argument_parser().parse_args(["argosy.processes.worker:setup", *options, *stop, *queues])
        )
    raise typer.Exit(code)


def tracker() -> None:
    """Run a tracker: it follows the workflows on the clusters and wakes workers for unfinished work."""
    with beginning() as settings, metrics_directory(settings, "tracker"):
        check_database(settings)
        import asyncio

        from argosy.processes import log
        from argosy.store.database import engine

        log.configure(settings)
        made = engine(settings)
        try:
            asyncio.run(_track(made, settings))
        finally:
            made.dispose()


def keys() -> None:
    """Print new keys as shell lines; every argosy process of an installation needs the same ones."""
    from argosy.crypto import new_keys

    for name, value in new_keys().items():
        typer.echo(f"export {name}='{value}'")


async def _track(engine: Engine, settings: Settings) -> None:
    """Run the tracker until SIGTERM or SIGINT. It releases its leases when it is cancelled."""
    import asyncio

    from argosy.processes import garbage
    from argosy.processes.heart import Heart
    from argosy.processes.tracker import Tracker
    from argosy.processes.wakeups import WakeUps, broker
    from argosy.store.processes import TRACKER

    made = Tracker(engine, settings, WakeUps(broker(settings)))
    heart = Heart(settings, TRACKER, made.dead)
    tracking = asyncio.current_task()
    assert tracking is not None  # noqa: S101 -- asyncio.run made it

    def stop() -> None:
        if not tracking.cancelling():  # a second signal must not interrupt the release of its leases
            tracking.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    serve_probes(settings, heart)
    say_begins(settings, "tracker begins: it follows workflows on the clusters, and wakes workers for unfinished work")
    garbage.collect_rarely()
    with suppress(asyncio.CancelledError):
        async with heart.beating():
            await made.run()


@contextmanager
def beginning() -> Iterator[Settings]:
    """The settings of a process that begins. Why it cannot go on is a line of its log, except for a person at a terminal."""
    settings = None
    try:
        settings = configured()
        yield settings
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if sys.stderr.isatty() or (settings is not None and settings.log_format != "json"):
            raise
        from argosy.processes import log

        log.last_line("process cannot go on", line_of(error))
        raise typer.Exit(exit_code(error)) from error


def say_begins(settings: Settings, event: str, **fields: object) -> None:
    """Log what this process is about to do, and where people find its figures.

    Args:
        settings: Its settings; logging is set up.
        event: What it does.
        fields: What else.
    """
    import structlog

    host = f"[{settings.metrics_host}]" if ":" in settings.metrics_host else settings.metrics_host
    address = f"http://{host}:{settings.metrics_port}/metrics"
    structlog.stdlib.get_logger(__name__).info(event, metrics=address, **fields)


def serve_probes(settings: Settings, heart: Heart) -> None:
    """Serve this process's probes and metrics; within `metrics_directory`.

    Args:
        settings: The address and port.
        heart: Of this process.

    Raises:
        NotConfigured: The port cannot be had.
    """
    from argosy.processes import probes

    try:
        probes.serve(settings.metrics_host, settings.metrics_port, heart.dead, heart.unready)
    except OSError as error:
        raise _port_taken(settings, error) from error


@contextmanager
def metrics_directory(settings: Settings, name: str) -> Iterator[str]:
    """A new directory for the metrics of this pool. It is removed when the pool ends.

    Args:
        settings: Where it is made.
        name: Of the pool.

    Raises:
        NotConfigured: It cannot be made there, or has no room.
    """
    parent = settings.metrics_directory
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix=f"argosy-{name}-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise NotConfigured(f"ARGOSY_METRICS_DIRECTORY: {error.filename}: {error.strerror}") from error
    with made as directory:
        _see_room(directory)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        try:
            from argosy import metrics

            metrics.begin(name)
            yield directory
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]


def _see_room(directory: str) -> None:
    """See that there is room. The files of metrics are memory, and a process that touches memory without room is killed without a word."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, _ROOM)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise NotConfigured(f"ARGOSY_METRICS_DIRECTORY: {directory}: {why}; it needs {_ROOM >> 20} MiB") from error


_ROOM = 16 << 20
"""Bytes; a pool of a few processes needs less."""


def check_database(settings: Settings, tokens: bool = False) -> None:
    """Check the database, and the keys of this process, before it starts, so that an error is one line instead of a traceback from each
    process.

    Args:
        settings: Of this process.
        tokens: Whether it opens launch tokens.

    Raises:
        NotConfigured: The database cannot be reached, or this code may not run on its schema, or the keys are not its keys.
    """
    from argosy import sealing
    from argosy.store import schema
    from argosy.store.database import engine

    made = engine(settings)
    try:
        schema.check(made)
        sealing.check(made, settings, tokens)
    finally:
        made.dispose()


def _check_port(settings: Settings) -> None:
    """Check that the metrics port is free: Dramatiq serves it from a process whose failure nobody would see."""
    try:
        with socket.create_server((settings.metrics_host, settings.metrics_port)):
            pass
    except OSError as error:
        raise _port_taken(settings, error) from error


def _port_taken(settings: Settings, error: OSError) -> NotConfigured:
    address = f"{settings.metrics_host}:{settings.metrics_port}"
    return NotConfigured(
        f"metrics: {address}: {os.strerror(error.errno or 0)}; set ARGOSY_METRICS_HOST or ARGOSY_METRICS_PORT"
    )
