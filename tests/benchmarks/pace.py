"""What pacing costs and gives on the real Argo controller: `count` two-step workflows with the window, against all at once.

Each arm launches on an empty cluster and waits until the last job has ended, as PostgreSQL sees it. A pair is a flooded arm and a paced
one, which begins with a window that was never measured; the figures are medians of the pairs' ratios.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from argosy import crypto
from argosy.client import Client
from argosy.settings import Settings
from tests.benchmarks import parts
from tests.faults.world import World, opened
from tests.support.hosts import HERE

TWO_STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: both
  templates:
    - name: both
      steps:
        - - {name: first, template: step}
        - - {name: second, template: step}
    - name: step
      container: {image: alpine, command: ["true"]}
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--count", type=int, default=1200, help="workflows an arm (default 1200)")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of arms (default 3)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    pairs = []
    for number in range(chosen.pairs):
        arms = {paced: _arm(chosen.count, paced) for paced in ((False, True) if number % 2 == 0 else (True, False))}
        pairs.append((arms[False], arms[True]))
    flooded, paced = zip(*pairs, strict=True)
    names = ("first", "median", "all_done")
    return {
        "count": chosen.count,
        "pairs": chosen.pairs,
        **{f"flooded_{name}_s": round(median(arm[i] for arm in flooded), 1) for i, name in enumerate(names)},
        **{f"paced_{name}_s": round(median(arm[i] for arm in paced), 1) for i, name in enumerate(names)},
        **{f"{name}_ratio": round(median(p[i] / f[i] for f, p in pairs), 3) for i, name in enumerate(names)},
    }


def _arm(count: int, paced: bool) -> tuple[float, float, float]:
    """Seconds until the first, half and all of the workflows have ended."""
    with tempfile.TemporaryDirectory(prefix="argosy-pace-") as name:
        with parts.cluster() as local, parts.database() as database_url, parts.valkey() as redis_url:
            keys = {key.removeprefix("ARGOSY_").lower(): value for key, value in crypto.new_keys().items()}
            settings = Settings.model_validate({"database_url": database_url, "trusted_hosts": HERE} | keys)
            with closing(Client(settings)) as client, opened(settings, client, local, redis_url, Path(name)) as world:
                client.update_cluster("here", pace=paced, max_active=100_000)
                client.register_algorithm(name="two-steps", project=1, user=7, manifest=TWO_STEPS, files_per_job=1)
                world.fleet.worker()
                world.fleet.tracker()
                asyncio.run(_warm(world))
                took = _followed(world, count)
                window = client.cluster("here").window
    sys.stderr.write(
        f"{'paced' if paced else 'flooded'}: first {took[0]:.1f}, half {took[1]:.1f}, all {took[2]:.1f} s, window {window}\n"
    )
    return took


async def _warm(world: World) -> None:
    await world.all_are(await asyncio.to_thread(world.launch, "two-steps", 2), "Succeeded", seconds=60)


def _followed(world: World, count: int) -> tuple[float, float, float]:
    begun = time.monotonic()
    gid = world.launch("two-steps", count)
    reached: dict[int, float] = {}
    while count not in reached:
        time.sleep(0.1)
        (launch,) = world.client.launches(gid=gid)
        ended = launch.counts.get("Succeeded", 0)
        for mark in (1, count // 2, count):
            if ended >= mark:
                reached.setdefault(mark, time.monotonic() - begun)
    return reached[1], reached[count // 2], reached[count]
