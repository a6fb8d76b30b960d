"""Workflows of thousands of nodes: only what changed is written, and a list of them is written as it comes."""

import asyncio
import gzip
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Access, Connection
from argosy.settings import Settings
from argosy.track import follow
from tests.cluster.clusters import access
from tests.faults.conftest import Steps, register, stepping, tracking
from tests.support.stack import until

Nodes = dict[str, dict[str, Any]]


@pytest.fixture
def simulated() -> Iterator[Access]:
    """A cluster, with a token that may write statuses."""
    with SimulatedCluster(pod_seconds=0.05) as cluster:
        yield replace(access(cluster.connection), token=cluster.connection.admin_token)


def many_nodes(count: int) -> Nodes:
    """A dag's pods that run."""
    pod = {"type": "Pod", "phase": "Running", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": None}
    return {f"n-{i}": pod | {"id": f"n-{i}", "displayName": f"detect({i})"} for i in range(count)}


@asynccontextmanager
async def submitted(
    client: Client, settings: Settings, here: Access, jobs: int
) -> AsyncIterator[tuple[Steps, list[str]]]:
    """Workflows that nobody follows yet, by name."""
    register(client, here)
    async with stepping(settings) as steps:
        gid = client.launch("long", project=1, user=7, media_ids=range(jobs)).gid
        await asyncio.to_thread(steps.expand, gid)
        await steps.settle()
        yield steps, [str(job.id) for job in client.list(gid=gid)]


async def write(admin: Connection, name: str, nodes: Nodes) -> None:
    """Have a workflow say that it has these nodes, as Argo does where there are many."""
    packed = b64encode(gzip.compress(orjson.dumps(nodes), 1)).decode()
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.access.namespace}/workflows/{name}"
    patch = {"status": {"phase": "Running", "nodes": None, "compressedNodes": packed}}
    await admin.call("patch", "workflows", path, body=orjson.dumps(patch), content_type="application/merge-patch+json")


def count(engine: Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def watch_writes(engine: Engine) -> None:
    """Note each node row that a statement brings, and each that is written because of it."""
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE touched (how text, node_id text)",
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO touched VALUES (TG_ARGV[0], NEW.node_id); RETURN NEW; END $$",
            "CREATE TRIGGER brought BEFORE INSERT ON argosy.node FOR EACH ROW EXECUTE FUNCTION touch('brought')",
            "CREATE TRIGGER written AFTER UPDATE ON argosy.node FOR EACH ROW EXECUTE FUNCTION touch('written')",
        ):
            connection.execute(text(statement))


def touched(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT how, node_id FROM touched ORDER BY 1, 2"))
        return [(row.how, row.node_id) for row in rows]


async def test_of_5000_nodes_only_those_that_changed_are_written(
    client: Client, settings: Settings, engine: Engine, simulated: Access
) -> None:
    async with submitted(client, settings, simulated, 1) as (steps, (name,)), Connection(simulated) as admin:
        async with tracking(settings, steps):
            nodes = many_nodes(5000)
            await write(admin, name, nodes)
            await until(
                lambda: count(engine, "SELECT count(*) FROM argosy.node WHERE node_id LIKE 'n-%'"), (5000).__eq__
            )
            await asyncio.to_thread(watch_writes, engine)
            changed = ["n-17", "n-4711", "n-4999"]
            for node in changed:
                nodes[node] = nodes[node] | {"phase": "Succeeded"}
            await write(admin, name, nodes | {"n-5000": nodes["n-0"]})
            await until(lambda: count(engine, "SELECT count(*) FROM argosy.node WHERE node_id = 'n-5000'"), bool)
    brought = sorted(("brought", node) for node in [*changed, "n-5000"])
    assert await asyncio.to_thread(touched, engine) == brought + [("written", node) for node in changed]


async def test_a_list_of_large_workflows_is_written_as_it_comes(
    client: Client, settings: Settings, engine: Engine, simulated: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a tracker that starts on a cluster of large workflows holds all their nodes at once."""
    monkeypatch.setattr("argosy.track.write.FLUSH", 3600)
    async with submitted(client, settings, simulated, 8) as (steps, names), Connection(simulated) as admin:
        for name in names:
            await write(admin, name, many_nodes(4000))
        async with tracking(settings, steps):
            await until(
                lambda: count(engine, "SELECT count(*) FROM argosy.node WHERE node_id LIKE 'n-%'"), (32_000).__eq__
            )
    largest = "SELECT max(c) FROM (SELECT count(*) AS c FROM argosy.node GROUP BY xmin) AS transactions (c)"
    assert count(engine, largest) <= follow._LISTED + 4000
