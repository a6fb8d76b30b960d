"""The page at 100,000 jobs in the database: each page as a browser asks for it, its time and its size.

`argosy api` runs as its own process; the jobs are those of `api`: launches of 100 jobs, 90 % succeeded, three nodes each.
"""

import argparse
from typing import Any

import httpx

from argosy.client import Client
from tests.benchmarks.api import _fill, _gateway, _p95, _seconds
from tests.benchmarks.expand import installed


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the database (default 100000)")
    parser.add_argument("--repeats", type=int, default=50, help="of each page (default 50)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with installed() as (client, settings):
        gids = _fill(client, settings, chosen.jobs)
        with _gateway(client, settings) as (http, _):
            measured = {
                name: _measured(http, path, chosen.repeats)
                for name, path in _paths(client, gids[len(gids) // 2]).items()
            }
    slowest = max(measured, key=lambda name: measured[name][0])
    return {
        "jobs": chosen.jobs,
        **{f"{name}_p95_ms": round(seconds * 1000, 1) for name, (seconds, _) in measured.items()},
        "slowest": slowest,
        "largest_kb": round(max(size for _, size in measured.values()) / 1000),
    }


def _paths(client: Client, gid: Any) -> dict[str, str]:
    (job,) = client.list(gid=gid, limit=1)
    return {
        "launches": "launches",
        "launch": f"launch/{gid}?status=Failed",
        "all_jobs": "jobs",
        "failed_jobs": "jobs?failed=true&project=1",
        "job": f"job/{job.uid}",
        "search": f"search?q={str(job.uid)[:13]}",
        "clusters": "clusters",
        "projects": "projects",
        "algorithms": "algorithms",
    }


def _measured(http: httpx.Client, path: str, repeats: int) -> tuple[float, int]:
    """The time within which 95 % of the answers came, and the bytes of one before it is compressed."""
    size = 0

    def ask() -> None:
        nonlocal size
        answer = http.get(f"/ui/{path}", follow_redirects=True)
        answer.raise_for_status()
        size = len(answer.content)

    ask()
    return _p95([_seconds(ask) for _ in range(repeats)]), size
