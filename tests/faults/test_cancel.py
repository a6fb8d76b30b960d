"""A cancel is true at any moment: before, during and after submission, and while the cluster is away (P5)."""

import asyncio
import math

import pytest

from argosy.client import Client
from argosy.failpoints import NAMES
from argosy.kube.connection import Connection
from argosy.settings import Settings
from tests.faults.actions import Action, Drop, Lose
from tests.faults.conftest import TOKEN_ENV, Creates, manifest, ours, stepping
from tests.faults.proxy import Proxy
from tests.faults.world import World
from tests.support.seen import shown
from tests.support.stack import finished, running, until


@pytest.mark.parametrize("name", sorted(name for name in NAMES if name.startswith("submit.")))
async def test_a_cancel_that_races_with_a_create_ends_cancelled_with_nothing_running_at(
    world: World, name: str
) -> None:
    world.client.register_algorithm(
        name="long-with-token", project=1, user=7, files_per_job=1, manifest=manifest(600) + TOKEN_ENV
    )
    world.fleet.tracker()
    worker = world.fleet.worker(f"{name}=stop")
    gid = world.send("long-with-token", 1)
    await worker.frozen()
    cancel = asyncio.create_task(asyncio.to_thread(world.client.cancel, gid))
    if name not in {"submit.claiming", "submit.recording"}:  # there the frozen worker holds the row
        await cancel
    worker.resume()
    await cancel
    jobs = await world.all_are(gid, "Cancelled")
    assert all(created == 1 for created in world.creates(jobs).values())
    assert all(item["status"].get("phase") == "Failed" for item in world.workflows(gid))
    await until(lambda: world.left(gid), lambda left: not left, 60)


@pytest.mark.parametrize("fault", [Lose(), Drop()], ids=["its-answer-was-lost", "it-was-never-made"])
async def test_a_cancel_of_an_unclear_create_ends_in_a_workflow_that_occupies_its_name_and_does_not_run(
    fault: Action, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    proxy.on(fault, verb="create", resource="workflows", times=math.inf)
    async with stepping(impatient) as steps:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        assert proxied.cancel(launched.gid).cancelling == 1
        assert proxied.list()[0].status == "Cancelling"
        before = [item["metadata"]["uid"] for item in await ours(steps.engine, there)]
        proxy.clear()
        async with running(impatient):
            job = await shown(proxied, launched.gid, "Cancelled")
        (made,) = await ours(steps.engine, there)
    assert made["spec"]["shutdown"] == "Terminate"
    assert creates(job.uid) == 1
    if before:
        assert [made["metadata"]["uid"]] == before
    else:
        assert {node.message for node in job.nodes if node.type == "Pod"} <= {
            "workflow shutdown with strategy: Terminate"
        }


async def test_a_cancel_while_the_cluster_is_down_is_cancelling_and_carried_out_on_its_return(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    async with running(impatient) as direct:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await shown(proxied, launched.gid, "Running")
        await proxy.down()
        await until(lambda: proxied.cluster("here").health, lambda health: health == "unreachable")
        assert proxied.cancel(launched.gid).cancelling == 1
        assert proxied.list()[0].status == "Cancelling"
        await proxy.up()
        await shown(proxied, launched.gid, "Cancelled")
        (item,) = await ours(direct.engine, there)
    assert item["status"]["phase"] == "Failed"


async def test_a_cancel_of_many_running_jobs_ends_them_all(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=range(40))
        await until(
            lambda: [job.status for job in proxied.list(nodes=False)],
            lambda found: found == ["Running"] * 40,
            60,
        )
        proxied.cancel(launched.gid)
        jobs = await finished(proxied, launched.gid, 60)
    assert {job.status for job in jobs} == {"Cancelled"}
    told_once_and_released = 2 * 40
    # Once more where an event from before arrives after it was told, as on a busy machine.
    assert len(proxy.saw("patch")) <= told_once_and_released + 40, "nobody is told to end again and again"
