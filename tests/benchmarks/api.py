"""The gateway at 100,000 jobs in the database: one process, asked over HTTP as a caller does.

`argosy api` runs as its own process, with tokens of argosy's own, so that no platform's time is in the figures. The jobs are those of
`read`: 90 % succeeded, three nodes each. What is asked: a list of 100 jobs with nodes, a launch on 10 media, one on 100,000; and the
longest list there is, of 10,000 jobs, with the memory that the process took for it.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from sqlalchemy import text

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.store import api_tokens
from tests.benchmarks.expand import installed
from tests.benchmarks.read import _END, _NODES, NODES
from tests.support.readme import exported

PAGE = 100
MOST = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the database (default 100000)")
    parser.add_argument("--media", type=int, default=100_000, help="media of the large launch (default 100000)")
    parser.add_argument("--repeats", type=int, default=100, help="of each small request (default 100)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with installed() as (client, settings):
        gids = _fill(client, settings, chosen.jobs)
        with _gateway(client, settings) as (http, process):
            body = {"algorithm_name": "hello", "media_ids": list(range(10))}
            large = body | {"media_ids": list(range(chosen.media))}
            _ask(http, "GET", "/rest/Jobs/1", params={"gid": str(gids[0])})
            turn = cycle(gids)
            lists = [
                _seconds(lambda: _ask(http, "GET", "/rest/Jobs/1", params={"gid": str(next(turn))}))
                for _ in range(chosen.repeats)
            ]
            before = _memory(process)
            whole = _seconds(lambda: _ask(http, "GET", "/rest/Jobs/1"))
            after = _memory(process)
            posts = [_seconds(lambda: _ask(http, "POST", "/rest/Jobs/1", json=body)) for _ in range(chosen.repeats)]
            larges = [_seconds(lambda: _ask(http, "POST", "/rest/Jobs/1", json=large)) for _ in range(3)]
    return {
        "jobs": chosen.jobs,
        "list_p50_ms": round(median(lists) * 1000, 1),
        "list_p95_ms": round(_p95(lists) * 1000, 1),
        "post_p95_ms": round(_p95(posts) * 1000, 1),
        "post_large_s": round(median(larges), 2),
        "longest_list_s": round(whole, 2),
        "longest_list_mb": round((after - before) / 1e6),
        "rss_mb": round(after / 1e6),
    }


def _fill(client: Client, settings: Settings, jobs: int) -> list[Any]:
    """Launches of PAGE jobs that have ended, with nodes."""
    stage = Launching(client.engine, settings, RestMediaSource(settings))
    gids = []
    for first in range(0, jobs, PAGE):
        gid = client.launch("hello", project=1, user=1, media_ids=range(first, first + PAGE)).gid
        expand(stage, gid)
        gids.append(gid)
    with client.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(_END))
        connection.execute(text(_NODES), {"nodes": NODES})
        connection.execute(text("VACUUM ANALYZE"))
    return gids


@contextmanager
def _gateway(client: Client, settings: Settings) -> Iterator[tuple[httpx.Client, int]]:
    with client.engine.begin() as connection:
        _, secret = api_tokens.create(
            connection, name="b", user=1, role="full", projects=[1], organizations=[], days=1, sealed=None
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        **exported(settings),
        "ARGOSY_AUTH": "tokens",
        "ARGOSY_API_RATE": "100000",
        "ARGOSY_LOG_LEVEL": "WARNING",
        "ARGOSY_METRICS_PORT": "0",
    }
    command = [sys.executable, "-m", "argosy.cli", "api", "--port", str(port)]
    headers = {"Authorization": f"Token {secret}"}
    with (
        subprocess.Popen(command, env=env) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120, trust_env=False) as http,
    ):
        try:
            _until_ready(http)
            yield http, process.pid
        finally:
            process.terminate()


def _until_ready(http: httpx.Client) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            http.get("/readyz").raise_for_status()
        except httpx.HTTPError:  # it does not listen yet, or not all of its parts have begun
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)
        else:
            return


def _ask(http: httpx.Client, method: str, path: str, **given: Any) -> None:
    http.request(method, path, **given).raise_for_status()


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


def _memory(process: int) -> int:
    """Bytes that a process had at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
