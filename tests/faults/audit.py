"""The audit: N jobs through 3 workers and 2 trackers on a real control plane, while a seeded plan does its worst to all of them.

What can happen to a job comes from its algorithm and from what the plan does to it on purpose (cancel, delete, retry), so its true end is
known without asking argosy. Nothing is injected any more once the last job was launched: from then on everything must settle.
"""

import asyncio
import math
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1

from argosy import crypto
from argosy.client import Client
from argosy.manifest import LABEL_INSTALLATION
from argosy.settings import Settings
from argosy.store.installation import identity
from clusters.local.cluster import LocalCluster
from tests.faults import servers
from tests.faults.conftest import TOKEN_ENV, manifest
from tests.faults.plan import Site, meddler, persistent, revive, torment
from tests.faults.processes import SECRETS, WORKFLOWS, Fleet
from tests.faults.proxy import HOST, Proxy
from tests.faults.tally import Tally, tally
from tests.stack import until

WORKERS, TRACKERS = 3, 2
OUTSTANDING = 150
"""Unfinished jobs at a time, a quarter of all at most: Argo's controller shares two cores with everything else."""

ALMOST_ALL = 10
"""Unfinished jobs at which the plan ends, so that those too are seen to settle."""

GROUP = 12
SETTLE_SECONDS = 240.0
ALGORITHMS: dict[str, tuple[str, str]] = {
    "quick": (manifest(0.05), "Succeeded"),
    "short-lived": (manifest(0.05, "ttlStrategy: {secondsAfterCompletion: 1}"), "Succeeded"),
    "with-token": (manifest(0.05) + TOKEN_ENV, "Succeeded"),
    "fails": (manifest(0.05) + '          - {name: ARGOSY_EXIT_CODE, value: "3"}\n', "Failed"),
    "slow": (manifest(20), "Succeeded"),
}
"""Manifest, and how its jobs end if nobody does anything to them."""

WEIGHTS = {"quick": 50, "short-lived": 20, "with-token": 10, "fails": 10, "slow": 10}


async def feed(site: Site, count: int) -> None:
    """Launch so many jobs, never too many at a time, and return when almost all have ended."""
    launched, most = 0, min(OUTSTANDING, max(count // 4, GROUP))
    while launched < count or await unfinished(site) > ALMOST_ALL:
        if launched == count or await unfinished(site) >= most:
            await asyncio.sleep(0.2)
            continue
        jobs = min(site.random.randint(1, GROUP), count - launched)
        (name,) = site.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        gid, media = uuid1(), range(launched, launched + jobs)

        def launch(name: str = name, gid: UUID = gid, media: range = media) -> Any:
            return site.client.launch(name, project=1, user=7, media_ids=media, gid=gid, token="canary")

        # A commit whose answer is lost is made again with the same gid, and is the same launch.
        uids = list((await persistent(launch)).uids)
        site.uids += uids
        site.expected |= {uid: {ALGORITHMS[name][1]} for uid in uids}
        launched += jobs


async def unfinished(site: Site) -> int:
    """Jobs that were launched and have not ended."""
    (row,) = await site.sql(
        "SELECT count(*) AS n FROM argosy.attempt a JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
        "WHERE a.finished_at IS NOT NULL"
    )
    return len(site.uids) - int(row.n)


async def run(count: int, seed: int) -> dict[str, Any]:
    """One audit; its figures."""
    begun = time.monotonic()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-audit-")))
        local = stack.enter_context(LocalCluster(audit_log=directory / "audit.log"))
        postgres, valkey = stack.enter_context(servers.postgres()), stack.enter_context(servers.valkey())
        keys = crypto.new_keys()
        environment = keys | {"ARGOSY_DATABASE_URL": postgres.url, "ARGOSY_REDIS_URL": valkey.url}
        environment |= {"ARGOSY_METRICS_HOST": "127.0.0.1"}
        fields = {name.removeprefix("ARGOSY_").lower(): value for name, value in environment.items()}
        client = Client(Settings.model_validate(fields))
        stack.callback(client.close)
        assert local.connection.host
        async with Proxy(local.connection.host, local.connection.port, local.connection.ca) as proxy:
            fleet = stack.enter_context(Fleet(environment, directory, quiet=True))
            site = Site(random.Random(seed), client, local, proxy, fleet, postgres, valkey)
            _register(site)
            site.workers = [fleet.worker() for _ in range(WORKERS)]
            site.trackers = [fleet.tracker() for _ in range(TRACKERS)]
            await _tormented(site, count, seed)
            settled = await _settled(site)
            counts, left = await asyncio.to_thread(_count, site, directory / "audit.log")
            for line in [*counts.doubled, *counts.untrue][:20]:
                sys.stderr.write(f"WRONG {line}\n")
            if not settled or counts.lost or counts.duplicates or counts.running_after_cancel:
                keep = shutil.copytree(directory, tempfile.mkdtemp(prefix="argosy-audit-failed-"), dirs_exist_ok=True)
                sys.stderr.write(f"logs: {keep}\n")
    pickups = sorted(site.pickups)
    return {
        "launches": count,
        "duplicates": counts.duplicates,
        "lost": counts.lost,
        "running_after_cancel": counts.running_after_cancel,
        "pickup_p50_s": _quantile(pickups, 0.5),
        "pickup_p99_s": _quantile(pickups, 0.99),
        "pickups": len(pickups),
        "faults": dict(sorted((site.faults + proxy.faults).items())),
        "seed": seed,
        "statuses": dict(sorted(counts.statuses.items())),
        "left_behind": left,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _register(site: Site) -> None:
    at = site.local.connection
    site.client.add_cluster(
        name="here",
        host=HOST,
        port=site.proxy.port,
        cert=site.proxy.ca,
        token=at.token,
        namespace=at.namespace,
        service_account="argosy-job",
        default=True,
        max_active=100,
    )
    for name, (document, _) in ALGORITHMS.items():
        site.client.register_algorithm(name=name, project=1, user=7, manifest=document, files_per_job=1)


async def _tormented(site: Site, count: int, seed: int) -> None:
    site.proxy.decide = meddler(random.Random(seed + 1))
    reviving = asyncio.create_task(revive(site))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(torment(site))
        await feed(site, count)
        site.over.set()
    sys.stderr.write(f"all {count} launched, {await unfinished(site)} unfinished; settling\n")
    site.proxy.decide = lambda request: None
    await asyncio.gather(*site.background)
    reviving.cancel()


async def _settled(site: Site) -> bool:
    """Whether everything has ended in time, processes that a failpoint still ends revived meanwhile."""
    reviving = asyncio.create_task(revive(site))
    open_ends = (
        "SELECT (SELECT count(*) FROM argosy.attempt WHERE state IN ('queued', 'submitting', 'pending', 'running')) "
        "+ (SELECT count(*) FROM argosy.launch WHERE state IN ('accepted', 'resolved')) "
        "+ (SELECT count(*) FROM argosy.launch_secret) AS n"
    )

    last = ""

    async def nothing_left() -> bool:
        nonlocal last
        (row,) = await site.sql(open_ends)
        held = sum(bool(item["metadata"].get("finalizers")) for item in await asyncio.to_thread(_objects, site))
        last = f"{row.n} jobs, launches or Secrets unfinished, {held} workflows held"
        if row.n or held:
            await asyncio.sleep(1)  # a list of everything is no small thing to ask for
        return not row.n and not held

    try:
        await until(nothing_left, bool, SETTLE_SECONDS)
    except AssertionError:
        sys.stderr.write(f"not settled after {SETTLE_SECONDS:.0f} s: {last}\n")
        return False
    finally:
        reviving.cancel()
    return True


def _objects(site: Site) -> list[dict[str, Any]]:
    selector = f"{LABEL_INSTALLATION}={identity(site.client.engine)}"
    answer = site.local.admin.get(WORKFLOWS, params={"labelSelector": selector}, timeout=120).raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def _count(site: Site, audit_log: Path) -> tuple[Tally, int]:
    objects = _objects(site)
    counts = tally(site.client, site.uids, site.expected, objects, audit_log)
    held = sum(bool(item["metadata"].get("finalizers")) for item in objects)
    secrets = (
        site.local.admin.get(SECRETS, params={"labelSelector": LABEL_INSTALLATION}).raise_for_status().json()["items"]
    )
    return counts, held + len(secrets)


def _quantile(ordered: list[float], part: float) -> float | None:
    return round(ordered[min(math.ceil(part * len(ordered)), len(ordered)) - 1], 2) if ordered else None
