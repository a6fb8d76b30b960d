"""What one cluster of five that answers nothing costs the other four, with real worker and tracker processes and simulated clusters.

Every half second each cluster gets a launch of a few jobs; a job's time is from its launch's row to the record of its workflow, by the
database's clock. In the second arm of a round the fifth cluster is frozen (its connections are accepted by the kernel, and that is all)
and gets its launches all the same; before the next round it is woken and has caught up. The figure is the medians' ratio of both arms'
p95 on the four; the goal is 1.2.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

from sqlalchemy import text

from argosy import crypto
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.benchmarks import parts
from tests.faults.processes import Fleet
from tests.faults.world import HELLO
from tests.support.hosts import HERE
from tests.support.readme import exported
from tests.support.stack import finished, until

_CLUSTERS = 5
_JOBS = 4
_EVERY = 0.5

_TIMES = """
SELECT extract(epoch FROM a.submitted_at - l.created_at)::float8 FROM argosy.attempt a JOIN argosy.launch l USING (gid)
WHERE a.gid = ANY (CAST(:gids AS uuid[])) AND a.submitted_at IS NOT NULL
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--seconds", type=float, default=20, help="of launches, an arm (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of arms (default 3)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-bulkhead-")))
        simulators = [stack.enter_context(SimulatedCluster(pod_seconds=0.1)) for _ in range(_CLUSTERS)]
        database_url, redis_url = stack.enter_context(parts.database()), stack.enter_context(parts.valkey())
        keys = {key.removeprefix("ARGOSY_").lower(): value for key, value in crypto.new_keys().items()}
        settings = Settings.model_validate({"database_url": database_url, "trusted_hosts": HERE} | keys)
        client = stack.enter_context(closing(Client(settings)))
        for number, simulator in enumerate(simulators):
            at = simulator.connection
            cluster = client.add_cluster(
                name=f"c{number}", host=at.host, port=at.port, cert=at.ca, token=at.token, pace=False, max_active=10_000
            )
            client.register_algorithm(
                name=f"a{number}", project=number, user=7, manifest=HELLO, files_per_job=1, cluster=cluster.id
            )
        fleet = stack.enter_context(Fleet(exported(settings, ARGOSY_REDIS_URL=redis_url), directory, quiet=True))
        fleet.worker()
        fleet.tracker()
        pid = simulators[-1].process_id
        assert pid is not None
        rounds = asyncio.run(_rounds(client, pid, chosen))
    healthy, frozen = ([arm[i] for arm in rounds] for i in (0, 1))
    return {
        "rounds": chosen.rounds,
        "healthy_p95_ms": round(median(healthy) * 1000),
        "frozen_p95_ms": round(median(frozen) * 1000),
        "p95_ratio": round(median(frozen) / median(healthy), 3),
    }


async def _rounds(client: Client, pid: int, chosen: argparse.Namespace) -> list[tuple[float, float]]:
    """p95 of the four, in seconds, while the fifth is healthy and while it is frozen."""
    await _arm(client, 3, wait_for=_CLUSTERS)
    rounds = []
    for number in range(chosen.rounds):
        healthy = await _arm(client, chosen.seconds, wait_for=_CLUSTERS)
        os.kill(pid, signal.SIGSTOP)
        try:
            frozen = await _arm(client, chosen.seconds, wait_for=_CLUSTERS - 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        for launch in await asyncio.to_thread(client.launches, project=_CLUSTERS - 1, limit=1000):
            await finished(client, launch.gid, 180)
        rounds.append((healthy, frozen))
        sys.stderr.write(f"round {number + 1}: healthy {healthy * 1000:.0f} ms, frozen {frozen * 1000:.0f} ms\n")
    return rounds


async def _arm(client: Client, seconds: float, wait_for: int) -> float:
    gids: list[list[UUID]] = [[] for _ in range(_CLUSTERS)]
    for _ in range(round(seconds / _EVERY)):
        for number in range(_CLUSTERS):
            launched = await asyncio.to_thread(
                client.launch, f"a{number}", project=number, user=7, media_ids=range(1, _JOBS + 1)
            )
            gids[number].append(launched.gid)
        await asyncio.sleep(_EVERY)
    for of_cluster in gids[:wait_for]:
        for gid in of_cluster:
            await finished(client, gid, 60)
    four = [gid for of_cluster in gids[: _CLUSTERS - 1] for gid in of_cluster]
    taken = await until(lambda: times(client, four), lambda found: len(found) == len(four) * _JOBS)
    return quantiles(taken, n=20)[-1]


def times(client: Client, gids: list[UUID]) -> list[float]:
    """Seconds from the launch to the record, of each job that has one."""
    with client.engine.connect() as connection:
        return list(connection.scalars(text(_TIMES), {"gids": gids}))
