"""How fast queued jobs become workflows, against what people use instead and what the apiserver can take.

Three ways in turn on one real apiserver, whose Argo controller is stopped meanwhile, all posting the product's own bytes:

- product: from the wake-up of a worker until the last of `count` queued jobs is recorded in PostgreSQL;
- raw: aiohttp, 64 creates at once, nothing else: what the apiserver takes from one process;
- sequential: the official synchronous client in a loop, as an API server does that launches inside the request.

They are interleaved, in another order each round, so that neither a machine whose speed drifts nor what one leaves the apiserver to clean
up hurts always the same; the figures are medians. `raw_to_sequential` is what `ratio_to_sequential` would be if the product cost nothing,
and the CPU of this process for one create, which a load on the machine disturbs less than rates, tells what it does cost.
"""

import argparse
import asyncio
import ssl
import sys
import time
from collections import defaultdict
from statistics import median
from typing import Any
from uuid import UUID, uuid1

import aiohttp
import orjson
from kubernetes import client as official

from argosy import crypto
from argosy.access import Clusters
from argosy.batches import JobUids
from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.manifest import LaunchFrame, Renderer
from argosy.settings import Settings
from argosy.shapes.given import Policy
from argosy.store.installation import identity
from argosy.submit.run import Submitter
from clusters.local.cluster import Connection
from tests.benchmarks import parts
from tests.conftest import ROOT
from tests.support.hosts import HERE

MANIFEST = (ROOT / "manifests" / "hello.yaml").read_text()
FILES_PER_JOB = 3
AT_ONCE = 64


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--count", type=int, default=600, help="workflows a round (default 600)")
    parser.add_argument("--repeats", type=int, default=6, help="interleaved rounds (default 6)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with parts.cluster() as cluster, parts.database() as database_url:
        cluster.argo.stop()
        bench = Bench(cluster.connection, database_url, chosen.count)
        bench.product(warm_up := min(50, chosen.count))
        bench.raw(warm_up)
        bench.sequential(warm_up)
        ways = {"product": bench.product, "raw": bench.raw, "sequential": bench.sequential}
        rounds = []
        for number in range(chosen.repeats):
            names = [*ways][number % 3 :] + [*ways][: number % 3]
            speed = {name: ways[name]() for name in names}
            rounds.append((speed["product"], speed["raw"], speed["sequential"]))
            sys.stderr.write(f"round {number + 1}: " + ", ".join(f"{name} {speed[name]:.0f}/s" for name in ways) + "\n")
    product, raw, sequential = (median(column) for column in zip(*rounds, strict=True))
    cpu = {name: round(median(bench.cpu[name][1:]), 2) for name in ways}
    return {
        "count": chosen.count,
        "repeats": chosen.repeats,
        "product_per_s": round(product, 1),
        "raw_per_s": round(raw, 1),
        "sequential_per_s": round(sequential, 1),
        "ratio_to_raw": round(median(p / r for p, r, _ in rounds), 3),
        "ratio_to_sequential": round(median(p / s for p, _, s in rounds), 3),
        "raw_to_sequential": round(median(r / s for _, r, s in rounds), 3),
        "product_cpu_ms": cpu["product"],
        "raw_cpu_ms": cpu["raw"],
    }


class Bench:
    """The three ways, on one apiserver and one database; `cpu` has this process's milliseconds a create of every run, by way."""

    def __init__(self, at: Connection, database_url: str, count: int) -> None:
        self.at, self.count = at, count
        self.cpu: dict[str, list[float]] = defaultdict(list)
        keys = crypto.new_keys()
        self.settings = Settings.model_validate(
            {"database_url": database_url, "trusted_hosts": HERE, "keys": keys["ARGOSY_KEYS"]}
        )
        self.client = Client(self.settings)
        self.client.add_cluster(
            name="bench",
            host=at.host,
            port=at.port,
            cert=at.ca,
            token=at.token,
            namespace=at.namespace,
            default=True,
            max_active=100_000,
            pace=False,
        )
        self.client.register_algorithm(name="hello", project=1, user=1, manifest=MANIFEST, files_per_job=FILES_PER_JOB)
        self.installation = identity(self.client.engine)

    def product(self, count: int | None = None) -> float:
        """Workflows a second, from the wake-up to the last record."""
        count = count or self.count
        launched = self.client.launch("hello", project=1, user=1, media_ids=range(count * FILES_PER_JOB))
        (cluster_id,) = expand(
            Launching(self.client.engine, self.settings, RestMediaSource(self.settings)), launched.gid
        )

        async def submit() -> float:
            clusters = Clusters(self.client.engine, self.settings)
            submitter = Submitter(self.client.engine, self.settings, clusters, self.installation, "bench")
            begun = _now()
            await submitter.run(cluster_id)
            rate = self._rate("product", begun, count)
            await clusters.close()
            return rate

        rate = asyncio.run(submit())
        (launch,) = self.client.launches(gid=launched.gid)
        assert launch.counts == {"Pending": count}, launch.counts
        return rate

    def raw(self, count: int | None = None) -> float:
        """Creates a second, 64 at once."""
        bodies = self._bodies(count or self.count)

        async def create() -> float:
            context = ssl.create_default_context(cadata=self.at.ca)
            connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=context)
            headers = {"Authorization": f"Bearer {self.at.token}", "Content-Type": "application/json"}
            url = f"https://{self.at.host}:{self.at.port}/apis/argoproj.io/v1alpha1/namespaces/{self.at.namespace}/workflows"
            async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
                waiting = iter(bodies)

                async def creator() -> None:
                    for body in waiting:
                        async with session.post(url, data=body) as response:
                            await response.read()
                            assert response.status == 201, response.status

                begun = _now()
                await asyncio.gather(*(creator() for _ in range(AT_ONCE)))
                return self._rate("raw", begun, len(bodies))

        return asyncio.run(create())

    def sequential(self, count: int | None = None) -> float:
        """Creates a second in a loop of the official synchronous client."""
        configuration = official.Configuration(host=f"https://{self.at.host}:{self.at.port}")
        configuration.ca_cert_data = self.at.ca
        configuration.api_key = {"authorization": f"Bearer {self.at.token}"}
        objects = [orjson.loads(body) for body in self._bodies(count or self.count)]
        with official.ApiClient(configuration) as api:
            custom = official.CustomObjectsApi(api)
            begun = _now()
            for item in objects:
                custom.create_namespaced_custom_object(
                    "argoproj.io", "v1alpha1", self.at.namespace, "workflows", item, _request_timeout=10
                )
            return self._rate("sequential", begun, len(objects))

    def _rate(self, way: str, begun: tuple[float, float], count: int) -> float:
        wall, cpu = (after - before for after, before in zip(_now(), begun, strict=True))
        self.cpu[way].append(cpu * 1000 / count)
        return count / wall

    def _bodies(self, count: int) -> list[bytes]:
        """What the product would post, for another launch."""
        gid: UUID = uuid1()
        frame = LaunchFrame(
            gid=gid,
            secret_id=gid,
            project=1,
            user=1,
            algorithm_id=1,
            algorithm_name="hello",
            manifest=MANIFEST,
            parameters=[],
            installation="raw",
            host=self.settings.host,
            rest_url=self.settings.rest_url,
            tus_url=self.settings.tus_url,
            service_account=None,
            policy=Policy(),
            finalizer=True,
        )
        renderer = Renderer(frame)
        media = range(count * FILES_PER_JOB)
        return [
            renderer.render(uid, 1, media[i * FILES_PER_JOB : (i + 1) * FILES_PER_JOB]).body
            for i, uid in enumerate(JobUids(gid, count))
        ]


def _now() -> tuple[float, float]:
    """Seconds on the clock, and of this process's CPU."""
    return time.perf_counter(), time.process_time()
