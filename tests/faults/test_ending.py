"""A job that is cancelled has ended when nothing of it runs, whatever Argo calls its workflow (P5, F73)."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_POD_WORKFLOW, workflow_name
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from clusters.local.cluster import LocalCluster
from tests.faults.actions import Action, Answer, Drop, status_body
from tests.faults.conftest import remove
from tests.faults.proxy import Proxy
from tests.support.seen import shown
from tests.support.stack import running, until

PODS = "/api/v1/namespaces/argosy/pods"


async def with_a_deaf_pod(client: Client, local: LocalCluster) -> JobShape:
    """A job that runs, with one pod more, which nobody but `end` ends."""
    launched = client.launch("long", project=1, user=7, media_ids=[1])
    job = await shown(client, launched.gid, "Running")
    name = workflow_name(job.uid, 1)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-deaf"},
        "spec": {
            "containers": [{"name": "main", "image": "none", "env": [{"name": "ARGOSY_SECONDS", "value": "600"}]}]
        },
    }
    made = await asyncio.to_thread(local.admin.post, PODS, json=pod)
    assert made.is_success, made.text
    path = f"{PODS}/{name}-deaf"
    # A pod that is made as another workflow's is refused.
    label = {"metadata": {"labels": {LABEL_POD_WORKFLOW: name}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    (await asyncio.to_thread(local.admin.patch, path, json=label, headers=merge)).raise_for_status()
    await until(lambda: local.admin.get(path).json()["status"]["phase"], lambda phase: phase == "Running")
    return job


@asynccontextmanager
async def with_a_pod_that_runs_on(client: Client, local: LocalCluster, settings: Settings) -> AsyncIterator[JobShape]:
    """A job that was cancelled, whose workflow Argo calls ended while a pod of it runs: the block may end the pod."""
    async with running(settings):
        job = await with_a_deaf_pod(client, local)
        client.cancel(job.uid)
        try:
            yield job
        finally:
            await asyncio.to_thread(end, local, job)


def end(local: LocalCluster, job: JobShape) -> None:
    local.admin.delete(f"{PODS}/{workflow_name(job.uid, 1)}-deaf", params={"gracePeriodSeconds": "0"})


async def test_a_job_is_cancelled_when_its_pods_have_ended_and_not_when_argo_says_so(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    async with with_a_pod_that_runs_on(proxied, local_cluster, impatient) as job:
        (waiting,) = await until(
            lambda: proxied.list(gid=job.gid), lambda jobs: "its pods still run" in jobs[0].message, 60
        )
        assert waiting.status == "Cancelling"
        found = await Workflows(there).get(workflow_name(job.uid, 1))
        assert found["status"]["phase"] == "Failed"
        asked = proxy.on(Drop(), verb="list", resource="pods", times=2)
        await until(lambda: asked.hits, lambda hits: hits == 2)
        assert proxied.get(job.uid).status == "Cancelling"
        await asyncio.to_thread(end, local_cluster, job)
        ended = await shown(proxied, job.gid, "Cancelled")
    assert "its pods still run" not in ended.message


async def test_where_pods_may_not_be_listed_argos_word_is_taken_and_nothing_waits_for_ever(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    proxy.on(
        Answer(403, status_body(403, "Forbidden", "pods is forbidden")), verb="list", resource="pods", times=math.inf
    )
    review = {"kind": "SelfSubjectAccessReview", "status": {"allowed": False}}
    proxy.on(Answer(201, review), verb="create", resource="selfsubjectaccessreviews", times=math.inf)
    async with with_a_pod_that_runs_on(proxied, local_cluster, impatient) as job:
        await shown(proxied, job.gid, "Cancelled")
        assert proxied.cluster("here").health == "ok"


async def test_a_list_of_pods_without_an_end_is_given_up_and_asked_again(
    monkeypatch: pytest.MonkeyPatch,
    proxied: Client,
    proxy: Proxy,
    impatient: Settings,
    there: Connection,
    local_cluster: LocalCluster,
) -> None:
    monkeypatch.setattr("argosy.track.ending._LOOK", 0.5)
    page = {"kind": "PartialObjectMetadataList", "metadata": {"continue": "more"}, "items": None}
    proxy.on(Answer(200, page), verb="list", resource="pods", times=math.inf)
    async with with_a_pod_that_runs_on(proxied, local_cluster, impatient) as job:
        await until(lambda: firsts(proxy), lambda asked: asked > 2)
        assert proxied.get(job.uid).status == "Cancelling"
        proxy.clear()
        await asyncio.to_thread(end, local_cluster, job)
        await shown(proxied, job.gid, "Cancelled")


@pytest.mark.parametrize("watched", [True, False])
async def test_a_cancelled_job_whose_workflow_is_deleted_has_not_ended_before_its_pods(
    watched: bool, proxied: Client, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    async def cancel_and_delete(job: JobShape) -> None:
        proxied.cancel(job.uid)
        await remove(there, workflow_name(job.uid, 1))

    async def waits(job: JobShape) -> None:
        waiting = await until(lambda: proxied.get(job.uid), lambda found: "its pods still run" in found.message, 60)
        assert waiting.status == "Cancelling"

    async with running(impatient):
        job = await with_a_deaf_pod(proxied, local_cluster)
        if watched:
            await cancel_and_delete(job)
            await waits(job)
    if not watched:
        await cancel_and_delete(job)
    async with running(impatient):
        await waits(job)
        await asyncio.to_thread(end, local_cluster, job)
        await shown(proxied, job.gid, "Cancelled")


def firsts(proxy: Proxy) -> int:
    """How often the pods were asked for from the first page on."""
    return sum(not seen.request.query.get("continue") for seen in proxy.saw("list", "pods"))


@pytest.mark.parametrize(
    "said",
    [
        Answer(200, b"<html>up</html>", {"Content-Type": "text/html"}),
        Answer(200, {"status": "ok"}),
        Answer(502, b"bad gateway"),
        Answer(403, b"<html>forbidden</html>"),
        Answer(404, b"404 page not found"),
        Answer(200, {"kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": "no-labels"}}]}),
    ],
    ids=["html", "foreign", "502", "403", "404", "strange"],
)
async def test_an_answer_about_pods_that_proves_nothing_ends_no_job(
    said: Action, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    rule = proxy.on(said, verb="list", resource="pods", times=math.inf)
    async with with_a_pod_that_runs_on(proxied, local_cluster, impatient) as job:
        await until(lambda: rule.hits, lambda hits: hits > 2)
        assert proxied.get(job.uid).status == "Cancelling"
        proxy.clear()
        await asyncio.to_thread(end, local_cluster, job)
        await shown(proxied, job.gid, "Cancelled")
