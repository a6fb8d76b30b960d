"""What a watch may do to the tracker: fall silent, lose its place, or tell absurd things. Nothing is missed, nobody else is hurt."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Access, Connection
from argosy.kube.workflows import Object, Workflows
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import access
from tests.faults.actions import Answer, Edit, Hold, Swallow, status_body
from tests.faults.conftest import become, expire, register, remove
from tests.faults.proxy import Proxy
from tests.support.stack import finished, running, until

MERGE = "application/merge-patch+json"


async def test_a_half_open_watch_is_given_up_and_a_workflows_end_is_seen_within_75_seconds(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    silent, workflows = asyncio.Event(), Workflows(there)
    proxy.on(Swallow(silent), verb="watch", resource="workflows")
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        (job,) = await until(
            lambda: proxied.list(gid=launched.gid), lambda jobs: [job.status for job in jobs] == ["Running"]
        )
        silent.set()
        name = str(job.id)
        await workflows.terminate(name, (await workflows.get(name))["metadata"]["uid"])
        await become(lambda found: found["status"]["phase"] == "Failed", workflows.get, name)
        assert [job.status for job in proxied.list(gid=launched.gid)] == ["Running"]
        (job,) = await finished(proxied, launched.gid, 75)
        assert job.status == "Failed"
        await until(lambda: len(proxy.saw("watch")), lambda watches: watches > 1)


@pytest.mark.parametrize("told", ["in-an-error-event", "in-the-http-status"])
async def test_a_watch_whose_place_etcd_has_forgotten_lists_anew_and_misses_nothing(
    told: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    """The server ends a watch, as it does every few minutes; before the next one a workflow ends and another is deleted. The ERROR event
    is the apiserver's own, the status what other versions and proxies say."""
    workflows, forgotten = Workflows(there), asyncio.Event()
    soon = Edit(lambda request: replace(request, query=request.query | {"timeoutSeconds": "8"}))
    proxy.on(soon, verb="watch", resource="workflows")
    gone = Answer(410, status_body(410, "Expired", "too old resource version: 1 (2)"), after=forgotten)
    resumed = proxy.on(Hold(forgotten) if told == "in-an-error-event" else gone, verb="watch", resource="workflows")
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1, 2, 3])
        jobs = await until(lambda: proxied.list(gid=launched.gid), lambda jobs: running_all(jobs, 3))
        ends, deleted, _ = (str(job.id) for job in jobs)
        await asyncio.wait_for(resumed.hit.wait(), 30)
        await workflows.terminate(ends, (await workflows.get(ends))["metadata"]["uid"])
        await become(lambda found: found["status"]["phase"] == "Failed", workflows.get, ends)
        await remove(there, deleted)
        if told == "in-an-error-event":
            await expire(local_cluster, there, proxy.saw("watch")[-1].request)
        assert running_all(proxied.list(gid=launched.gid), 3)
        forgotten.set()
        wanted = ["Failed", "Lost", "Running"]
        await until(lambda: [job.status for job in proxied.list(gid=launched.gid)], lambda statuses: statuses == wanted)
    assert len(proxy.saw("list")) == 2


def running_all(jobs: Sequence[JobShape], count: int) -> bool:
    return [job.status for job in jobs] == ["Running"] * count


def node(**fields: Any) -> Object:
    """One entry of `status.nodes`."""
    moment = "2026-01-01T00:00:00Z"
    return {"type": "Pod", "phase": "Failed", "startedAt": moment, "finishedAt": moment} | fields


POISONS: dict[str, Object] = {
    "twenty-megabytes": {f"node-{number}": node(message="x" * 2000) for number in range(10_000)},
    "cyclic-children": {"a": node(children=["b", "a"]), "b": node(children=["a"])},
    "nul-bytes": {"a\x00": node(displayName="\x00", message="\x00" * 9, children=["\x00"], phase="\x00")},
    "ids-that-are-one-when-cleaned": {"a\x00": node(), "a\ufffd": node(message="the other")},
    "wrong-types": {"a": node(children={"b": 1}, startedAt=[], outputs=7, message={"x": None}), "b": None, "c": "text"},
    "absurd-values": {
        "a": node(outputs={"exitCode": "9" * 5000}, startedAt="0000-00-00", finishedAt="9999-12-31T23:59:59+23:59"),
        "b": node(displayName="x" * 100_000, children=["x" * 100_000]),
        "x" * 100_000: node(),
    },
    "an-id-that-no-index-takes": {"".join(str(uuid4()) for _ in range(300)): node()},
}


@pytest.fixture
def simulated() -> Iterator[tuple[Access, str]]:
    """A cluster that takes any status, of any size."""
    with SimulatedCluster(pod_seconds=0.05) as cluster:
        yield access(cluster.connection), cluster.connection.admin_token


@pytest.mark.parametrize("poison", POISONS)
async def test_a_poisoned_status_hurts_its_own_job_only_and_that_one_ends_as_it_ended(
    poison: str, client: Client, impatient: Settings, simulated: tuple[Access, str]
) -> None:
    here, admin_token = simulated
    register(client, here)
    async with running(impatient), Connection(replace(here, token=admin_token), request_timeout=60) as admin:
        poisoned = client.launch("long", project=1, user=7, media_ids=[1])
        (job,) = await until(lambda: client.list(gid=poisoned.gid), lambda jobs: running_all(jobs, 1))
        for status in statuses(POISONS[poison]):
            path = f"/apis/argoproj.io/v1alpha1/namespaces/{here.namespace}/workflows/{job.id}"
            await admin.call("patch", "workflows", path, body=orjson.dumps({"status": status}), content_type=MERGE)
        others = client.launch("quick", project=1, user=7, media_ids=range(2, 12))
        assert {other.status for other in await finished(client, others.gid, 60)} == {"Succeeded"}
        (job,) = await finished(client, poisoned.gid, 60)
        assert (job.status, job.attempt) == ("Failed", 1)
        assert "poisoned" in job.message
        released = Workflows(admin)
        await become(lambda found: "finalizers" not in found["metadata"], released.get, str(job.id))


def statuses(nodes: Object) -> Iterator[Object]:
    """The poison in bodies that an apiserver takes, the end last."""
    items = list(nodes.items())
    for first in range(0, len(items), 1000):
        yield {"nodes": dict(items[first : first + 1000])}
    yield {"phase": "Failed", "message": "poisoned\x00", "finishedAt": "2026-01-01T00:00:00Z"}
