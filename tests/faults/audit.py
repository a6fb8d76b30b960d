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
from collections import Counter
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid1

from argosy import crypto
from argosy.batches import JobUids
from argosy.client import Client
from argosy.labels import LABEL_INSTALLATION
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults import servers
from tests.faults.conftest import TOKEN_ENV, manifest
from tests.faults.containers import Containers
from tests.faults.meddling import Meddler
from tests.faults.plan import revive, torment
from tests.faults.processes import Fleet
from tests.faults.proxy import HOST, Proxy
from tests.faults.site import PASSING, Launched, Place, Site, held, told
from tests.faults.tally import PHASES, Allowances, Tally, tally
from tests.faults.witness import Witness
from tests.integration.api_server import serving
from tests.support.hosts import HERE
from tests.support.stack import until

OUTSTANDING = 150
"""Unfinished jobs at a time, a quarter of all at most: Argo's controller shares two cores with everything else."""

ALMOST_ALL = 10
"""Unfinished jobs at which the plan ends, so that those too are seen to settle."""

GROUP = 12
FOUND = range(8)
"""Media that every query finds."""

OUTSTANDING_ON_NODE = 10
"""The same where pods are real, each of which costs seconds of a processor."""

SETTLE_SECONDS = 240.0
NUDGE_SECONDS = 60.0
TTL = "ttlStrategy: {secondsAfterCompletion: %d}"


@dataclass(frozen=True)
class Algorithm:
    """A manifest, how its jobs may end if nobody does anything to them, how many launches of 100 are of it, and whether by a query.

    Args:
        where: Of the places; more than one is a choice.
    """

    manifest: str
    ends: frozenset[str]
    weight: int
    where: tuple[int, ...] = (0, 1)
    query: bool = False


SUCCEEDED, FAILED = frozenset({"Succeeded"}), frozenset({"Failed"})
ABANDONED = frozenset({"Succeeded", "Deleted", "Lost", "Cancelled"})
"""Of jobs that may be where nobody can ask any more."""

ALGORITHMS = {
    "quick": Algorithm(manifest(0.05, TTL % 300), SUCCEEDED, 40),
    "short-lived": Algorithm(manifest(0.05, TTL % 1), SUCCEEDED, 20),
    "with-token": Algorithm(manifest(0.05, TTL % 300) + TOKEN_ENV, SUCCEEDED, 10),
    "by-query": Algorithm(manifest(0.05, TTL % 300), SUCCEEDED, 10, query=True),
    "fails": Algorithm(
        manifest(0.05, TTL % 300) + '          - {name: ARGOSY_EXIT_CODE, value: "3"}\n', FAILED, 10, where=(1,)
    ),
    "slow": Algorithm(manifest(20, TTL % 300, deaf=True), SUCCEEDED, 10, where=(0,)),
    "in-passing": Algorithm(manifest(3, TTL % 300), ABANDONED, 10, where=(0, PASSING)),
}

WRONG = ("duplicates", "lost", "untrue", "running_after_cancel", "left_behind")
"""The figures that must be 0."""


async def feed(site: Site, count: int, seconds: float) -> None:
    """Launch jobs, never too many at a time, until there are so many, the time is over and every fault has been dealt; return when almost
    all have ended."""
    outstanding = OUTSTANDING if site.local.node is None else OUTSTANDING_ON_NODE
    begun, launched, most = time.monotonic(), 0, min(outstanding, max(count // 4, GROUP))

    def enough() -> bool:
        return launched >= count and time.monotonic() > begun + seconds and site.dealt

    while not enough() or await unfinished(site) > ALMOST_ALL:
        if enough() or site.halted or await unfinished(site) >= most:
            await asyncio.sleep(0.2)
            continue
        (name,) = site.random.choices(list(ALGORITHMS), [each.weight for each in ALGORITHMS.values()])
        kind, first = ALGORITHMS[name], launched
        jobs = len(FOUND) if kind.query else site.random.randint(1, GROUP)
        gid = uuid1()
        media = f"first={first}" if kind.query else range(first, first + jobs)
        site.launches[gid] = asked = Launched(gid, name, media, JobUids(gid, jobs))
        site.expected |= {uid: set(kind.ends) for uid in asked.uids}
        await site.launch(asked)
        launched += jobs


async def unfinished(site: Site) -> int:
    """Jobs that have not ended; a launch that is not cut yet counts as so many as it may have."""
    (row,) = await site.sql(
        "SELECT (SELECT count(*) FROM argosy.attempt WHERE state IN ('submitting', 'pending', 'running')) "
        "+ (SELECT count(*) FROM argosy.attempt WHERE state = 'queued') "
        "+ :most * (SELECT count(*) FROM argosy.launch WHERE state IN ('accepted', 'resolved')) AS n",
        most=GROUP,
    )
    return int(row.n)


async def run(
    count: int, seed: int, minutes: float = 0, left_out: Collection[str] = (), node: bool = False
) -> dict[str, Any]:
    """One audit.

    Args:
        count: Jobs at least.
        seed: Of the plan.
        minutes: Go on for so long at least.
        left_out: Names of faults (plan.py) that are not to be dealt.
        node: Run pods on a real node.

    Returns:
        Its figures.
    """
    begun = time.monotonic()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))  # a database that is silent holds some
    async with AsyncExitStack() as stack:
        site = await _site(stack, seed, left_out, node)
        containers = await stack.enter_async_context(_containers(site))
        await _tormented(site, count, minutes * 60, seed)
        settled = await _settled(site)
        counts = await asyncio.to_thread(_tallied, site)
        for name in sorted(containers.ran_on):
            counts.running_after_cancel += 1
            counts.wrong.append(f"{name}: a container of it ran after it was cancelled")
        left = await asyncio.to_thread(_left_behind, site)
        for line in [*counts.wrong[:20], *(f"{name}: left behind" for name in left[:20])]:
            sys.stderr.write(f"WRONG {line}\n")
        if not settled or not counts.clean or left:
            keep = shutil.copytree(site.directory, tempfile.mkdtemp(prefix="argosy-audit-failed-"), dirs_exist_ok=True)
            sys.stderr.write(f"logs: {keep}\n")
    pickups = sorted(site.pickups)
    requests = sum((place.proxy.faults for place in site.places), Counter[str]())
    return {
        "launches": len(site.expected),
        "duplicates": counts.duplicates,
        "lost": counts.lost,
        "untrue": counts.untrue,
        "running_after_cancel": counts.running_after_cancel,
        "left_behind": len(left),
        "containers_of": len(containers.seen),
        "repeated_after_loss": counts.repeated,
        "forgotten": counts.forgotten,
        "pickup_p50_s": _quantile(pickups, 0.5),
        "pickup_p99_s": _quantile(pickups, 0.99),
        "pickups": len(pickups),
        "faults": dict(sorted(site.faults.items())),
        "request_faults": dict(sorted(requests.items())),
        "witness_gaps": site.workflows.gaps + site.pods.gaps,
        "seed": seed,
        "statuses": dict(sorted(counts.statuses.items())),
        "seconds": round(time.monotonic() - begun, 1),
    }


async def _site(stack: AsyncExitStack, seed: int, left_out: Collection[str], node: bool) -> Site:
    """Everything that is to be judged, running."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-audit-")))
    local = stack.enter_context(LocalCluster(audit_log=directory / "audit.log", node=node))
    postgres, valkey = stack.enter_context(servers.postgres()), stack.enter_context(servers.valkey())
    postgres.hurry()
    relay = await stack.enter_async_context(servers.Relay(postgres))
    platform = stack.enter_context(serving())
    platform.media = list(FOUND)
    environment = crypto.new_keys() | {
        "ARGOSY_DATABASE_URL": relay.url,
        "ARGOSY_REDIS_URL": valkey.url,
        "ARGOSY_REST_URL": platform.url,
        "ARGOSY_MEDIA_PAGE": "3",
        "ARGOSY_RETENTION_DAYS": "1",
        "ARGOSY_METRICS_HOST": "127.0.0.1",
        "ARGOSY_TRUSTED_HOSTS": ",".join(HERE),
    }
    fields = {name.removeprefix("ARGOSY_").lower(): value for name, value in environment.items()}
    client = Client(Settings.model_validate(fields))
    stack.callback(client.close)
    places = []
    for at in (local.connection, local.namespace("second"), local.namespace("passing")):
        proxy = await stack.enter_async_context(Proxy(at.host, at.port, at.ca))
        places.append(Place(at.namespace, at.namespace, at.token, proxy))
    await asyncio.to_thread(_register, client, places)
    workflows, pods = stack.enter_context(Witness(local)), stack.enter_context(Witness(local, "pods"))
    standby = await asyncio.to_thread(postgres.standby)
    fleet = stack.enter_context(Fleet(environment, directory, quiet=True))
    site = Site(
        random.Random(seed), client, local, places, workflows, pods, fleet, relay, standby, valkey, platform, directory, left_out
    )  # fmt: skip

    def discard() -> None:
        site.standby.discard()
        site.relay.target.discard()

    stack.callback(discard)
    site.start()
    return site


@asynccontextmanager
async def _containers(site: Site) -> AsyncIterator[Containers]:
    """Look at what a node runs, where there is one, until the end of the block."""

    async def cancelled() -> set[str]:
        rows = await site.sql(
            "SELECT c.namespace || '/' || a.name AS name FROM argosy.attempt a JOIN argosy.cluster c ON c.id = a.cluster_id "
            "WHERE a.state = 'cancelled' AND c.namespace <> :abandoned",
            abandoned=site.abandoned,
        )
        return {row.name for row in rows}

    containers = Containers(site.local.node, cancelled)
    looking = asyncio.create_task(containers.run())
    try:
        yield containers
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


def _register(client: Client, places: list[Place]) -> None:
    ids = [
        client.add_cluster(
            name=place.name,
            host=HOST,
            port=place.proxy.port,
            cert=place.proxy.ca,
            token=place.token,
            namespace=place.namespace,
            service_account="argosy-job",
            max_active=100,
        ).id
        for place in places
    ]
    for name, each in ALGORITHMS.items():
        client.register_algorithm(
            name=name,
            project=1,
            user=7,
            manifest=each.manifest,
            files_per_job=1,
            clusters=[ids[place] for place in each.where],
        )


async def _tormented(site: Site, count: int, seconds: float, seed: int) -> None:
    for number, place in enumerate(site.places):
        place.proxy.decide = Meddler(random.Random(seed + 1 + number))
    reviving = asyncio.create_task(revive(site))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(torment(site))
        await feed(site, count, seconds)
        site.over.set()
    sys.stderr.write(f"all {len(site.expected)} launched, {await unfinished(site)} unfinished; settling\n")
    for place in site.places:
        place.proxy.decide = lambda request: None
    await asyncio.gather(*site.background)
    reviving.cancel()


async def _settled(site: Site) -> bool:
    """Whether everything has ended in time, processes that a failpoint still ends revived meanwhile."""
    beside = [asyncio.create_task(revive(site)), asyncio.create_task(_nudged(site))]
    open_ends = (
        "SELECT (SELECT count(*) FROM argosy.attempt WHERE state IN ('queued', 'submitting', 'pending', 'running')) "
        "+ (SELECT count(*) FROM argosy.launch WHERE state IN ('accepted', 'resolved')) "
        "+ (SELECT count(*) FROM argosy.launch_secret) AS n"
    )

    last = ""

    async def nothing_left() -> bool:
        nonlocal last
        (row,) = await site.sql(open_ends)
        left = len(await asyncio.to_thread(_left_behind, site))
        last = f"{row.n} jobs, launches or Secrets unfinished, {left} workflows held or Secrets left"
        if row.n or left:
            await asyncio.sleep(1)  # a list of everything is no small thing to ask for
        return not row.n and not left

    try:
        await until(nothing_left, bool, SETTLE_SECONDS)
    except AssertionError:
        sys.stderr.write(f"not settled after {SETTLE_SECONDS:.0f} s: {last}\n")
        return False
    finally:
        for task in beside:
            task.cancel()
    return True


async def _nudged(site: Site) -> None:
    """Do what Argo's own resync would, 20 minutes later: a workflow whose first update failed, and whose pod ended before Argo's controller
    was back, gets no event any more."""
    await asyncio.sleep(NUDGE_SECONDS)
    if any(each.gone is None and each.phase not in PHASES for each in site.workflows.all()):
        site.faults["(Argo's controller restarted)"] += 1
        await asyncio.to_thread(site.local.argo.restart)


def _tallied(site: Site) -> Tally:
    return tally(
        site.client,
        site.expected,
        site.workflows.all(),
        site.pods.all(),
        Allowances(site.asked, site.aged, site.unsure, site.losses, site.abandoned),
    )


def _left_behind(site: Site) -> list[str]:
    """Workflows with finalizers, and Secrets."""
    of_secrets = [
        item["metadata"] for item in told(site, "/api/v1/secrets", params={"labelSelector": LABEL_INSTALLATION})
    ]
    return held(site) + [f"{of['namespace']}/{of['name']} (made {of['creationTimestamp']})" for of in of_secrets]


def _quantile(ordered: list[float], part: float) -> float | None:
    return round(ordered[min(math.ceil(part * len(ordered)), len(ordered)) - 1], 2) if ordered else None
