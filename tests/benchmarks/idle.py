"""How long an idle system takes from a launch to its first create, with real worker and tracker processes.

From the call of `client.launch`, which tells PostgreSQL alone, to the create's time in the apiserver's audit log: a notice, the tracker,
Redis, a worker that expands, Redis, a worker that submits. Each launch waits until the last one has ended, and then an irregular while, so
that nothing polls in step with it.
"""

import argparse
import asyncio
import random
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

import orjson

from argosy import crypto
from argosy.client import Client
from argosy.labels import workflow_name
from argosy.settings import Settings
from tests.benchmarks import parts
from tests.faults.world import World, opened
from tests.support.hosts import HERE


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--count", type=int, default=30, help="launches (default 30)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with tempfile.TemporaryDirectory(prefix="argosy-idle-") as name:
        directory = Path(name)
        with (
            parts.cluster(directory / "audit.log") as local,
            parts.database() as database_url,
            parts.valkey() as redis_url,
        ):
            keys = {key.removeprefix("ARGOSY_").lower(): value for key, value in crypto.new_keys().items()}
            settings = Settings.model_validate({"database_url": database_url, "trusted_hosts": HERE} | keys)
            with closing(Client(settings)) as client, opened(settings, client, local, redis_url, directory) as world:
                world.fleet.worker()
                world.fleet.tracker()
                asyncio.run(_launches(world, 2))
                waited = asyncio.run(_launches(world, chosen.count))
    return {
        "count": chosen.count,
        "p50_ms": round(median(waited) * 1000),
        "p95_ms": round(quantiles(waited, n=20, method="inclusive")[-1] * 1000),
        "max_ms": round(max(waited) * 1000),
    }


async def _launches(world: World, count: int) -> list[float]:
    """Seconds from each launch to its create."""
    waited = []
    for _ in range(count):
        await asyncio.sleep(random.uniform(0.3, 2.5))
        begun = time.time()
        gid = await asyncio.to_thread(world.launch, "hello", 1)
        (job,) = await world.all_are(gid, "Succeeded", seconds=60)
        waited.append(_created(world.local.audit_log, job.uid) - begun)
    return waited


def _created(audit_log: Path | None, uid: UUID) -> float:
    """When the apiserver received the create of a job's workflow."""
    assert audit_log is not None
    name = workflow_name(uid, 1)
    for line in reversed(audit_log.read_bytes().splitlines()):
        event = orjson.loads(line)
        if event["verb"] == "create" and event["objectRef"].get("name") == name:
            return datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
    raise AssertionError(f"no create of {name} in the audit log")
