"""What eight launches whose media query hangs cost the others, with a real worker and tracker and a simulated cluster.

Every quarter of a second another tenant launches a few jobs; a job's time is from its launch's row to the record of its workflow, by the
database's clock. In the second arm of a round eight launches by query wait for an API server that accepts connections and says nothing.
The figure is the ratio of the medians' medians; the goal is 1.2.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

from argosy import crypto
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.benchmarks import parts
from tests.benchmarks.bulkhead import times
from tests.faults.processes import Fleet
from tests.faults.world import HELLO
from tests.integration.api_server import ApiServer, serving
from tests.support.hosts import HERE
from tests.support.readme import exported
from tests.support.stack import finished, until

_JOBS = 4
_EVERY = 0.25
_HANGING = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--seconds", type=float, default=20, help="of launches, an arm (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of arms (default 3)")
    parser.add_argument("--tenants", type=int, default=_HANGING, help="whose queries hang (default 8)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-hanging-")))
        at = stack.enter_context(SimulatedCluster(pod_seconds=0.1)).connection
        database_url, redis_url = stack.enter_context(parts.database()), stack.enter_context(parts.valkey())
        api = stack.enter_context(serving())
        keys = {key.removeprefix("ARGOSY_").lower(): value for key, value in crypto.new_keys().items()}
        settings = Settings.model_validate({"database_url": database_url, "trusted_hosts": HERE} | keys)
        client = stack.enter_context(closing(Client(settings)))
        client.add_cluster(
            name="c",
            host=at.host,
            port=at.port,
            cert=at.ca,
            token=at.token,
            pace=False,
            max_active=10_000,
            default=True,
        )
        for project in range(chosen.tenants + 1):
            client.register_algorithm(name=f"a{project}", project=project, user=7, manifest=HELLO, files_per_job=1)
        environment = exported(settings, ARGOSY_REDIS_URL=redis_url, ARGOSY_REST_URL=api.url)
        fleet = stack.enter_context(Fleet(environment, directory, quiet=True))
        fleet.worker()
        fleet.tracker()
        rounds = asyncio.run(_rounds(client, api, chosen))
    healthy, hanging = ([arm[i] for arm in rounds] for i in (0, 1))
    return {
        "rounds": chosen.rounds,
        "healthy_ms": round(median(healthy) * 1000),
        "hanging_ms": round(median(hanging) * 1000),
        "ratio": round(median(hanging) / median(healthy), 3),
    }


async def _rounds(client: Client, api: ApiServer, chosen: argparse.Namespace) -> list[tuple[float, float]]:
    """Median time of the others' jobs, in seconds, without and with queries that hang."""
    await _arm(client, 3)
    rounds = []
    for number in range(chosen.rounds):
        healthy = await _arm(client, chosen.seconds)
        api.gate.clear()
        asked = len(api.asked)
        stuck = [
            client.launch(f"a{project}", project=project, user=7, media_query="x=1").gid
            for project in (n % chosen.tenants + 1 for n in range(_HANGING))
        ]
        await until(lambda: len(api.asked) - asked, bool)  # noqa: B023
        hanging = await _arm(client, chosen.seconds)
        for gid in stuck:
            client.cancel(gid)
        api.gate.set()
        rounds.append((healthy, hanging))
        sys.stderr.write(f"round {number + 1}: healthy {healthy * 1000:.0f} ms, hanging {hanging * 1000:.0f} ms\n")
    return rounds


async def _arm(client: Client, seconds: float) -> float:
    gids = []
    for _ in range(round(seconds / _EVERY)):
        launched = await asyncio.to_thread(client.launch, "a0", project=0, user=7, media_ids=range(1, _JOBS + 1))
        gids.append(launched.gid)
        await asyncio.sleep(_EVERY)
    for gid in gids:
        await finished(client, gid, 60)
    taken = await until(lambda: times(client, gids), lambda found: len(found) == len(gids) * _JOBS)
    return median(taken)
