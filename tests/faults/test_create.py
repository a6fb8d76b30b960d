"""At most one workflow per attempt, for ever, whatever becomes of a create and its answer (P1)."""

import asyncio
import math
from itertools import pairwise
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine

from argosy.client import Client, control
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.launch.expand import expand
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import delete
from tests.faults.actions import CUTS, Answer, Cut, Drop, Hold, status_body
from tests.faults.conftest import Creates, become, gone, ours, remove, rows, stepping, tracking
from tests.faults.proxy import Proxy
from tests.support.seen import shown, strangers, terminated
from tests.support.stack import finished, running, until


async def recreate(there: Connection, name: str) -> str:
    """Another object under a workflow's name, labels and annotations, which runs for ten minutes; its k8s uid."""
    workflows = Workflows(there)
    found = await workflows.get(name)
    await remove(there, name)
    labels = {key: value for key, value in found["metadata"]["labels"].items() if "workflows.argoproj.io" not in key}
    metadata = {"name": name, "labels": labels, "annotations": found["metadata"]["annotations"]}
    spec = {key: value for key, value in found["spec"].items() if key != "shutdown"}
    for variable in spec["templates"][0]["container"]["env"]:
        variable["value"] = "600"
    body = {"apiVersion": found["apiVersion"], "kind": "Workflow", "metadata": metadata, "spec": spec}
    created = await workflows.create(orjson.dumps(body))
    assert created["uid"] != found["metadata"]["uid"]
    return str(created["uid"])


@pytest.mark.parametrize("cut", CUTS)
async def test_a_create_whose_answer_is_cut_is_adopted_and_not_doubled(
    cut: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    proxy.on(Cut(cut), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.settle()
        async with tracking(impatient, steps):
            (job,) = await finished(proxied, launched.gid)
    assert [each.status for each in proxy.saw("create")] == [201, 409]
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert [node.status for node in job.nodes] == ["Succeeded"]
    assert creates(job.uid) == 1


@pytest.mark.parametrize("first", ["the-given-up-one", "the-second-one"])
async def test_a_create_that_commits_after_it_was_given_up_is_still_one(
    first: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    """A time-out, and a 404 behind it, prove nothing: the create is still under way."""
    late, second = asyncio.Event(), asyncio.Event()
    proxy.on(Hold(late), verb="create", resource="workflows")
    retried = proxy.on(Hold(second), verb="create", resource="workflows")
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await asyncio.wait_for(retried.hit.wait(), 30)
        held = proxy.saw("create")[0]
        if first == "the-second-one":
            second.set()
            await finished(proxied, launched.gid)
            late.set()
            await until(lambda: held.status, bool)
        else:
            late.set()
            await until(lambda: held.status, bool)
            second.set()
        (job,) = await finished(proxied, launched.gid)
    assert held.status == (409 if first == "the-second-one" else 201)
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1


async def podless(there: Connection, name: str) -> bool:
    """Whether the pods of a workflow are gone: another one of its name would take them for its own."""
    path = f"/api/v1/namespaces/{there.access.namespace}/pods"
    query = {"labelSelector": f"workflows.argoproj.io/workflow={name}"}
    return not orjson.loads(await there.call("list", "pods", path, query=query))["items"]


async def test_a_create_that_commits_after_its_workflow_was_removed_is_terminated_and_changes_nothing(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, engine: Engine
) -> None:
    late = asyncio.Event()
    proxy.on(Hold(late), verb="create", resource="workflows")
    workflows = Workflows(there)
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        job = await shown(proxied, launched.gid, "Running")
        assert job.id is not None
        await workflows.terminate(job.id, (await workflows.get(job.id))["metadata"]["uid"])
        await finished(proxied, launched.gid)
        await remove(there, job.id)
        await become(bool, podless, there, job.id)
        before, alarms, held = rows(engine), strangers(), proxy.saw("create")[0]
        late.set()
        await until(lambda: held.status, lambda status: status == 201)
        await terminated(workflows, job.id, (await workflows.get(job.id))["metadata"]["uid"])
    assert rows(engine) == before
    assert strangers() == alarms + 1


async def test_a_create_whose_answer_was_lost_is_adopted_though_its_workflow_ended_and_was_deleted(
    proxied: Client, proxy: Proxy, patient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    """The finalizer keeps the name taken, and the end readable, until somebody has recorded it."""
    again = asyncio.Event()
    proxy.on(Cut(), verb="create", resource="workflows")
    proxy.on(Hold(again), verb="create", resource="workflows")
    workflows = Workflows(there)
    async with stepping(patient) as steps:
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        submitting = asyncio.create_task(steps.settle())
        (item,) = await become(
            lambda items: [item.get("status", {}).get("phase") for item in items] == ["Succeeded"], ours, engine, there
        )
        await delete(there, item["metadata"]["name"], item["metadata"]["uid"])
        again.set()
        await submitting
        assert (await workflows.get(item["metadata"]["name"]))["metadata"]["deletionTimestamp"]
        async with tracking(patient, steps):
            (job,) = await finished(proxied, launched.gid)
            await become(bool, gone, workflows, item["metadata"]["name"])
    assert (job.status, len(job.nodes)) == ("Succeeded", 1)
    assert creates(job.uid) == 1


async def test_a_name_stays_taken_while_a_create_that_was_given_up_may_still_arrive(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    """Found by the audit: the first create's answer was lost, the second was under way when the end was recorded, the finalizer taken off
    and the workflow removed by its time-to-live; then it arrived."""
    late = asyncio.Event()
    proxy.on(Cut(), verb="create", resource="workflows")
    second = proxy.on(Hold(late), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        launched = proxied.launch("short-lived", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        while not second.hits:
            await steps.submitter.run(1)
        async with tracking(impatient, steps):
            (job,) = await finished(proxied, launched.gid)
            # By the time that another job has come, gone and been released, this one's turn would have come too.
            after = proxied.launch("short-lived", project=1, user=7, media_ids=[2])
            await steps.cut(after.gid)
            await steps.settle()
            (other,) = await finished(proxied, after.gid)
            assert other.id is not None
            await become(bool, gone, Workflows(there), other.id)
            late.set()
            held = next(each for each in proxy.saw("create") if each.action == second.action)
            await until(lambda: held.status, bool)
            assert held.status == 409
            assert job.id is not None
            await become(bool, gone, Workflows(there), job.id)
    assert job.status == "Succeeded"
    assert creates(job.uid) == 1


@pytest.mark.parametrize("finalizer", [True, False])
async def test_a_create_whose_answer_was_lost_is_not_repeated_when_the_tracker_saw_its_workflow_before_it_was_removed(
    finalizer: bool,
    proxied: Client,
    proxy: Proxy,
    patient: Settings,
    there: Connection,
    engine: Engine,
    creates: Creates,
) -> None:
    """The name is free again, with the finalizer as soon as the end is recorded; the row that the tracker wrote is the tombstone."""
    proxied.update_cluster("here", finalizer=finalizer)
    proxy.on(Cut(), verb="create", resource="workflows")
    proxy.on(Drop(), verb="create", resource="workflows", times=math.inf)
    async with stepping(patient) as steps, tracking(patient, steps):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        submitting = asyncio.create_task(steps.submitter.run(1))
        (job,) = await finished(proxied, launched.gid)
        assert job.id is not None
        await remove(there, job.id)
        before = rows(engine)
        proxy.clear()
        await submitting
        await steps.submitter.run(1)
    assert job.status == "Succeeded"
    assert rows(engine) == before
    assert creates(job.uid) == 1


async def test_a_taken_name_that_is_gone_when_it_is_read_is_lost_and_never_created_again(
    proxied: Client, proxy: Proxy, patient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    """409 and then 404: it existed. Nobody knows what its pods did, so that is for people to decide."""
    removed = asyncio.Event()
    proxy.on(Cut(), verb="create", resource="workflows")
    reading = proxy.on(Hold(removed), verb="get", resource="workflows")
    async with stepping(patient) as steps:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        submitting = asyncio.create_task(steps.settle())
        await asyncio.wait_for(reading.hit.wait(), 30)
        (item,) = await ours(engine, there)
        await remove(there, item["metadata"]["name"])
        removed.set()
        await submitting
        await steps.submitter.run(1)
        (job,) = proxied.list(gid=launched.gid)
    assert (job.status, job.attempt) == ("Lost", 1)
    assert "existed" in job.message
    assert creates(job.uid) == 1


async def test_a_message_that_comes_again_after_the_ttl_removed_the_workflow_creates_nothing(
    proxied: Client, impatient: Settings, there: Connection, creates: Creates
) -> None:
    async with running(impatient) as stack:
        launched = proxied.launch("short-lived", project=1, user=7, media_ids=[1])
        (job,) = await finished(proxied, launched.gid)
        assert job.id is not None
        name = job.id
        await become(bool, gone, Workflows(there), name)
        await asyncio.to_thread(expand, stack.launching, launched.gid)
        await stack.submitter.run(1)
    assert (job.status, len(job.nodes)) == ("Succeeded", 1)
    assert proxied.list(gid=launched.gid) == [job]
    assert creates(job.uid) == 1


async def test_a_workflow_whose_ttl_ran_out_while_nobody_tracked_is_recorded_with_its_nodes(
    proxied: Client, impatient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    async with stepping(impatient) as steps:
        launched = proxied.launch("short-lived", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        await become(
            lambda items: ["deletionTimestamp" in item["metadata"] for item in items] == [True], ours, engine, there
        )
        assert [job.status for job in proxied.list(gid=launched.gid)] == ["Pending"]
        async with tracking(impatient, steps):
            (job,) = await finished(proxied, launched.gid)
            await become(lambda items: items == [], ours, engine, there)
    assert (job.status, len(job.nodes)) == ("Succeeded", 1)
    assert creates(job.uid) == 1


async def test_a_finished_jobs_name_that_somebody_takes_is_terminated_and_the_job_stays_as_it_ended(
    proxied: Client, impatient: Settings, there: Connection, engine: Engine
) -> None:
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        (job,) = await finished(proxied, launched.gid)
        assert job.id is not None
        before, alarms = rows(engine), strangers()
        stranger = await recreate(there, job.id)
        await terminated(Workflows(there), job.id, stranger)
    assert rows(engine) == before
    assert strangers() == alarms + 1


async def test_a_running_jobs_name_that_somebody_takes_while_nobody_tracks_is_not_taken_for_the_job(
    proxied: Client, impatient: Settings, there: Connection, engine: Engine
) -> None:
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        job = await shown(proxied, launched.gid, "Running")
        assert job.id is not None
        name = job.id
        await until(lambda: proxied.get(job.uid).nodes, bool)
    (attempt,), nodes = rows(engine)
    stranger = await recreate(there, name)
    alarms = strangers()
    async with running(impatient):
        await terminated(Workflows(there), name, stranger)
        (ended,) = await finished(proxied, launched.gid)
    assert ended.status == "Lost"
    ((after,), nodes_after) = rows(engine)
    assert after["k8s_uid"] == attempt["k8s_uid"] != stranger
    assert nodes_after == nodes
    assert strangers() == alarms + 1


async def test_a_cancel_that_arrives_late_does_not_hit_who_took_the_name(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, engine: Engine
) -> None:
    late, workflows = asyncio.Event(), Workflows(there)
    held = proxy.on(Hold(late), verb="patch", resource="workflows", times=math.inf)
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        job = await shown(proxied, launched.gid, "Running")
        assert job.id is not None
        await asyncio.to_thread(control.cancel, engine, job.uid)
        await asyncio.wait_for(held.hit.wait(), 30)
    await recreate(there, job.id)
    late.set()
    patches = await until(lambda: proxy.saw("patch"), lambda seen: all(each.status for each in seen))
    assert {each.status for each in patches} == {422}
    assert "shutdown" not in (await workflows.get(job.id))["spec"]


REFUSALS: dict[str, tuple[float, Answer]] = {
    "429-with-retry-after": (
        3.0,
        Answer(429, status_body(429, "TooManyRequests", "the server is busy"), {"Retry-After": "3"}),
    ),
    "503": (0.0, Answer(503, status_body(503, "ServiceUnavailable", "the server is starting"))),
    "quota": (
        0.0,
        Answer(
            403, status_body(403, "Forbidden", 'workflows "x" is forbidden: exceeded quota: q, used: 1, limited: 1')
        ),
    ),
    "quota-conflict": (
        0.0,
        Answer(409, status_body(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q": modified')),
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_cluster_that_asks_to_wait_is_waited_for_and_no_attempt_is_burned(
    refusal: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    seconds, answer = REFUSALS[refusal]
    refused = proxy.on(answer, verb="create", resource="workflows", times=2)
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        waiting = await until(lambda: proxied.list(gid=launched.gid), lambda jobs: bool(jobs and jobs[0].message))
        (job,) = await finished(proxied, launched.gid, 60)
    assert [(each.status, each.attempt) for each in waiting] == [("Queued", 1)]
    assert "wait" in waiting[0].message
    assert (job.status, job.attempt, refused.hits) == ("Succeeded", 1, 2)
    assert creates(job.uid) == 1
    came = [each.came for each in proxy.saw("create")]
    assert all(later - earlier >= seconds for earlier, later in pairwise(came))


async def test_a_job_over_the_namespaces_quota_waits_until_there_is_room(
    proxied: Client, impatient: Settings, there: Connection, local_cluster: LocalCluster, creates: Creates
) -> None:
    """The real words: the apiserver's own quota, whose controller is this test."""
    path = f"/api/v1/namespaces/{there.access.namespace}/resourcequotas"
    name, count = "fault", "count/workflows.argoproj.io"

    def quota(hard: int) -> dict[str, Any]:
        limits = {"hard": {count: str(hard)}}
        return {"metadata": {"name": name}, "spec": limits, "status": limits | {"used": {count: "0"}}}

    merge = {"Content-Type": "application/merge-patch+json"}
    admin = local_cluster.admin
    admin.post(path, json=quota(0)).raise_for_status()
    try:
        admin.patch(f"{path}/{name}/status", json=quota(0), headers=merge).raise_for_status()
        async with running(impatient):
            launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
            waiting = await until(
                lambda: proxied.list(gid=launched.gid), lambda jobs: bool(jobs and jobs[0].message), 30
            )
            admin.patch(f"{path}/{name}", json=quota(5), headers=merge).raise_for_status()
            admin.patch(f"{path}/{name}/status", json=quota(5), headers=merge).raise_for_status()
            (job,) = await finished(proxied, launched.gid, 60)
    finally:
        admin.delete(f"{path}/{name}").raise_for_status()
    assert (waiting[0].status, waiting[0].attempt) == ("Queued", 1)
    assert "exceeded quota" in waiting[0].message
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1
