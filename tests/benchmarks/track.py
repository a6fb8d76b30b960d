"""How late and at what cost the tracker follows many live workflows that change all the time.

One tracker process follows `count` workflows on a real apiserver whose Argo is stopped; this process writes their statuses in Argo's
stead, `rate` changes a second, each a node that changes in one workflow. The lag of a change is from the answer to its patch until
another session of PostgreSQL reads it in the node's row, both on this process's monotonic clock; that session asks for what is still
to come every 20 ms. The tracker's CPU time and its peak of resident memory are the kernel's own figures; `list_s` begins with its process,
`takeover_s` with its SIGKILL at the end, while another one stands by.
"""

import argparse
import asyncio
import os
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles
from typing import Any
from uuid import UUID, uuid1

import aiohttp
import httpx
import orjson
from sqlalchemy import Connection, text

from argosy import crypto
from argosy.batches import JobUids
from argosy.client import Client
from argosy.manifest import LaunchFrame, Renderer
from argosy.settings import Settings
from argosy.shapes.given import Policy
from argosy.store.installation import identity
from clusters.local.cluster import LocalCluster
from tests.benchmarks import parts
from tests.conftest import ROOT
from tests.faults.processes import Fleet, Process
from tests.support.hosts import HERE
from tests.support.queues import placement
from tests.support.readme import exported
from tests.support.stack import until

MANIFEST = (ROOT / "manifests" / "hello.yaml").read_text()
AT_ONCE = 32
POLL = 0.02
MERGE = "application/merge-patch+json"
STARTED = "2026-01-01T00:00:00Z"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--count", type=int, default=1000, help="live workflows (default 1000)")
    parser.add_argument("--nodes", type=int, default=10, help="nodes of each (default 10)")
    parser.add_argument("--rate", type=float, default=50, help="changes a second (default 50)")
    parser.add_argument("--seconds", type=float, default=60, help="for how long (default 60)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with (
        parts.cluster() as cluster,
        parts.database() as database_url,
        parts.valkey() as redis_url,
        tempfile.TemporaryDirectory() as directory,
    ):
        for component in (cluster.player, cluster.argo, cluster.controller_manager):
            component.stop()
        keys = crypto.new_keys()
        settings = Settings.model_validate(
            {
                "database_url": database_url,
                "trusted_hosts": HERE,
                "keys": keys["ARGOSY_KEYS"],
                "token_private_key": keys["ARGOSY_TOKEN_PRIVATE_KEY"],
                "token_public_key": keys["ARGOSY_TOKEN_PUBLIC_KEY"],
            }
        )
        environment = exported(settings, ARGOSY_REDIS_URL=redis_url)
        with Fleet(environment, Path(directory), quiet=True) as fleet:
            return asyncio.run(Bench(cluster, Client(settings), fleet).measure(chosen))


@dataclass(frozen=True)
class Live:
    """One workflow that runs."""

    uid: UUID
    name: str
    nodes: list[str]


class Bench:
    """Live workflows on one apiserver, their rows, and who changes and reads them."""

    def __init__(self, cluster: LocalCluster, client: Client, fleet: Fleet) -> None:
        self.at, self.client, self.fleet = cluster.connection, client, fleet
        self.path = f"/apis/argoproj.io/v1alpha1/namespaces/{self.at.namespace}/workflows"
        self.waiting: dict[UUID, tuple[str, str, float]] = {}
        self.answered: list[float] = []
        self.lags: list[float] = []

    async def measure(self, chosen: argparse.Namespace) -> dict[str, Any]:
        """Everything in its order."""
        async with self._session() as http:
            live = await self._create(http, chosen.count, chosen.nodes)
            begun = time.monotonic()
            tracker = self.fleet.tracker()
            await tracker.said("cluster is up", 120)
            listed = time.monotonic() - begun
            sys.stderr.write(f"{chosen.count} workflows are followed after {listed:.1f} s\n")
            memory: list[float] = []
            watching = [asyncio.create_task(self._read()), asyncio.create_task(_sample(tracker, memory))]
            spent = -_cpu_seconds(tracker)
            await self._change(http, live, chosen.rate, chosen.seconds)
            await until(lambda: len(self.waiting), lambda count: count == 0)
            spent += _cpu_seconds(tracker)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            memory_peak = _megabytes(tracker, "VmHWM")
            takeover = await self._take_over(tracker)
        percent = quantiles(self.lags, n=100, method="inclusive")
        minute = min(60, max(1, len(memory) // 4))
        return {
            "count": chosen.count,
            "nodes": chosen.nodes,
            "changes_per_s": round((len(self.answered) - 1) / (self.answered[-1] - self.answered[0]), 1),
            "lag_p50_ms": round(percent[49] * 1000),
            "lag_p95_ms": round(percent[94] * 1000),
            "lag_p99_ms": round(percent[98] * 1000),
            "cpu_ms_per_event": round(spent * 1000 / len(self.lags), 2),
            "rss_mb": round(memory_peak, 1),
            "rss_growth_mb": round(mean(memory[-minute:]) - mean(memory[:minute]), 1),
            "list_s": round(listed, 2),
            "takeover_s": round(takeover, 2),
            "load": round(os.getloadavg()[0], 1),
        }

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=ssl.create_default_context(cadata=self.at.ca))
        headers = {"Authorization": f"Bearer {self.at.admin_token}"}
        base = f"https://{self.at.host}:{self.at.port}"
        async with aiohttp.ClientSession(base, connector=connector, headers=headers) as session:
            yield session

    async def _create(self, http: aiohttp.ClientSession, count: int, nodes: int) -> list[Live]:
        """The workflows as Argo has them a while after their submission, and the rows that a worker left of them."""
        cluster = self.client.add_cluster(
            name="bench", host=self.at.host, port=self.at.port, cert=self.at.ca, token=self.at.token, default=True
        )
        gid = uuid1()
        frame = LaunchFrame(
            gid=gid,
            secret_id=gid,
            project=1,
            user=1,
            algorithm_id=1,
            algorithm_name="hello",
            manifest=MANIFEST,
            parameters=[],
            installation=identity(self.client.engine),
            host="http://localhost",
            rest_url="http://localhost/rest",
            tus_url="http://localhost/files/",
            service_account=None,
            policy=Policy(),
            finalizer=True,
        )
        renderer = Renderer(frame)
        found: list[tuple[int, Live, str]] = []
        numbered = iter(enumerate(JobUids(gid, count)))

        async def creator() -> None:
            for number, uid in numbered:
                rendered = renderer.render(uid, 1, [number])
                entries = _nodes(rendered.name, nodes)
                status = {"phase": "Running", "startedAt": STARTED, "progress": f"0/{nodes - 1}", "nodes": entries}
                body = orjson.dumps(orjson.loads(rendered.body) | {"status": status})
                async with http.post(self.path, data=body, headers={"Content-Type": "application/json"}) as answer:
                    assert answer.status == 201, await answer.text()
                    metadata = orjson.loads(await answer.read())["metadata"]
                    found.append((number, Live(uid, rendered.name, list(entries)), metadata["uid"]))

        await asyncio.gather(*(creator() for _ in range(AT_ONCE)))
        with self.client.engine.begin() as connection:
            _insert(connection, gid, cluster.id, found)
        return [live for _, live, _ in found]

    async def _change(self, http: aiohttp.ClientSession, live: list[Live], rate: float, seconds: float) -> None:
        """One node of one workflow after the other, whether or not the one before has been answered."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as changes:
            for number in range(round(rate * seconds)):
                await asyncio.sleep(begun + number / rate - time.monotonic())
                changes.create_task(self._patch(http, live[number % len(live)], number))

    async def _patch(self, http: aiohttp.ClientSession, live: Live, number: int) -> None:
        assert live.uid not in self.waiting, "a change was not seen before the next one of its workflow"
        node, message = live.nodes[1 + number % (len(live.nodes) - 1)], f"change {number}"
        patch = orjson.dumps({"status": {"nodes": {node: {"message": message}}}})
        async with http.patch(f"{self.path}/{live.name}", data=patch, headers={"Content-Type": MERGE}) as answer:
            assert answer.status == 200, await answer.text()
        self.answered.append(time.monotonic())
        self.waiting[live.uid] = (node, message, self.answered[-1])

    async def _take_over(self, tracker: Process) -> float:
        """Seconds from the sudden end of the tracker until another, which stands by, has listed the cluster."""
        standby = self.fleet.tracker()
        await until(lambda: _is_ready(standby), bool)
        begun = time.monotonic()
        tracker.kill()
        await standby.said("cluster is up", 120)
        return time.monotonic() - begun

    async def _read(self) -> None:
        while True:
            seen = await asyncio.to_thread(self._committed, dict(self.waiting))
            now = time.monotonic()
            self.lags += [now - self.waiting.pop(uid)[2] for uid in seen]
            await asyncio.sleep(POLL)

    def _committed(self, waiting: dict[UUID, tuple[str, str, float]]) -> list[UUID]:
        """Those of the changes that a reader sees."""
        query = (
            "SELECT n.uid FROM argosy.node n "
            "JOIN unnest(CAST(:uids AS uuid[]), CAST(:nodes AS text[]), CAST(:messages AS text[])) AS w (uid, node, message) "
            "ON n.uid = w.uid AND n.attempt = 1 AND n.node_id = w.node AND n.message = w.message"
        )
        nodes, messages = ([change[i] for change in waiting.values()] for i in (0, 1))
        with self.client.engine.connect() as connection:
            return list(connection.scalars(text(query), {"uids": list(waiting), "nodes": nodes, "messages": messages}))


def _nodes(name: str, count: int) -> dict[str, Any]:
    """What Argo writes of a dag of pods that run."""
    ids = [name, *(f"{name}-{2654435769 * i % (1 << 32)}" for i in range(1, count))]
    common = {"templateScope": f"local/{name}", "phase": "Running", "startedAt": STARTED, "finishedAt": None}
    root = {"id": name, "name": name, "displayName": name, "type": "DAG", "templateName": "main", "children": ids[1:]}
    pods = {
        node: {
            "id": node,
            "name": f"{name}.detect({i}:{i})",
            "displayName": f"detect({i}:{i})",
            "type": "Pod",
            "templateName": "detect",
            "boundaryID": name,
            "progress": "0/1",
            "hostNodeName": "node-1",
            "resourcesDuration": {"cpu": 0, "memory": 0},
            "message": "ContainerCreating",
        }
        for i, node in enumerate(ids[1:])
    }
    return {node: common | entry for node, entry in ({name: root} | pods).items()}


def _insert(connection: Connection, gid: UUID, cluster_id: int, found: list[tuple[int, Live, str]]) -> None:
    """The rows of workflows that were created and recorded."""
    values = {
        "gid": gid,
        "cluster": cluster_id,
        "placement": placement(connection, cluster_id),
        "ordinals": [number for number, _, _ in found],
        "uids": [live.uid for _, live, _ in found],
        "names": [live.name for _, live, _ in found],
        "k8s_uids": [k8s_uid for _, _, k8s_uid in found],
    }
    for statement in (
        "INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest, state, jobs, expanded_at) "
        "VALUES (:gid, 1, 1, 'hello', '', 'expanded', cardinality(CAST(:uids AS uuid[])), clock_timestamp())",
        "INSERT INTO argosy.job (uid, gid, ordinal, project, user_id, media_ids) SELECT uid, :gid, ordinal, 1, 1, ARRAY[ordinal] "
        "FROM unnest(CAST(:uids AS uuid[]), CAST(:ordinals AS int[])) AS j (uid, ordinal)",
        "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, placement_id, cluster_id, state, name, k8s_uid, "
        "submitted_at) SELECT uid, 1, :gid, 1, 1, 1, :placement, :cluster, 'pending', name, k8s_uid, clock_timestamp() "
        "FROM unnest(CAST(:uids AS uuid[]), CAST(:names AS text[]), CAST(:k8s_uids AS text[])) AS a (uid, name, k8s_uid)",
    ):
        connection.execute(text(statement), values)


def _is_ready(process: Process) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{process.port}/readyz").is_success
    except httpx.TransportError:
        return False


async def _sample(process: Process, memory: list[float]) -> None:
    """Its resident memory, every second."""
    while True:
        memory.append(_megabytes(process, "VmRSS"))
        await asyncio.sleep(1)


def _megabytes(process: Process, field: str) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return kilobytes / 1024


def _cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
