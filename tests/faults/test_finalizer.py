"""The finalizer: no time-to-live and no tracker that is away can lose how a job ended, and nothing is held for ever (P2)."""

import asyncio
import math

import pytest
from prometheus_client import REGISTRY

from argosy import clusters
from argosy.client import Client
from argosy.errors import Conflict
from argosy.kube.connection import Connection
from argosy.settings import Settings
from tests.faults.actions import Answer, status_body
from tests.faults.conftest import Creates, become, ours, stepping, tracking
from tests.faults.proxy import Proxy
from tests.support.seen import shown
from tests.support.stack import finished, running, until

JOBS = 5


async def test_every_job_ends_with_its_true_state_and_nodes_though_its_ttl_was_over_before_a_tracker_looked(
    proxied: Client, impatient: Settings, there: Connection, creates: Creates
) -> None:
    async with stepping(impatient) as steps:
        launched = proxied.launch("short-lived", project=1, user=7, media_ids=range(JOBS))
        await steps.cut(launched.gid)
        await steps.submitter.run(1)

        async def expired() -> bool:
            found = await ours(steps.engine, there)
            return len(found) == JOBS and all(item["metadata"].get("deletionTimestamp") for item in found)

        await become(bool, expired)
        assert {job.status for job in proxied.list()} == {"Pending"}
        async with tracking(impatient, steps):
            jobs = await finished(proxied, launched.gid)
            await become(lambda found: not found, ours, steps.engine, there)
    assert [job.status for job in jobs] == ["Succeeded"] * JOBS
    assert all(node.start_time and node.stop_time for job in jobs for node in job.nodes)
    assert all(job.nodes for job in jobs)
    assert {creates(job.uid) for job in jobs} == {1}


async def test_a_cluster_without_the_finalizer_gets_a_floor_under_its_time_to_live(
    proxied: Client, impatient: Settings, there: Connection
) -> None:
    proxied.update_cluster("here", finalizer=False)
    async with running(impatient) as direct:
        launched = proxied.launch("short-lived", project=1, user=7, media_ids=[1])
        await finished(proxied, launched.gid)
        (item,) = await ours(direct.engine, there)
    assert "finalizers" not in item["metadata"]
    assert item["spec"]["ttlStrategy"] == {"secondsAfterCompletion": 3600}


async def test_a_finalizer_that_cannot_be_taken_off_shows_in_metrics_and_check_and_goes_in_the_end(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_STUCK", 0.0)
    refusal = Answer(500, status_body(500, "InternalError", "an admission webhook is broken"))
    proxy.on(refusal, verb="patch", resource="workflows", times=math.inf)
    async with running(impatient) as direct:
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await finished(proxied, launched.gid)

        def oldest() -> float:
            labels = {"cluster": "here", "kind": "release"}
            return REGISTRY.get_sample_value("argosy_debt_oldest_age_seconds", labels) or 0.0

        await until(oldest, lambda age: age > 0)
        report = await asyncio.to_thread(proxied.check_cluster, "here")
        assert (str(report.health), report.stuck, len(report.held)) == ("ok", 1, 1)
        proxy.clear()
        await until(oldest, lambda age: age == 0)
        assert not (await ours(direct.engine, there))[0]["metadata"].get("finalizers")
    assert (await asyncio.to_thread(proxied.check_cluster, "here")).stuck == 0


async def test_release_takes_the_finalizer_off_everything_of_ours_ended_or_not(
    proxied: Client, impatient: Settings, there: Connection
) -> None:
    async with running(impatient) as direct:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await shown(proxied, launched.gid, "Running")
    assert await asyncio.to_thread(proxied.release_cluster, "here") == 1
    assert await asyncio.to_thread(proxied.release_cluster, "here") == 0
    (item,) = await ours(direct.engine, there)
    assert not item["metadata"].get("finalizers")


async def test_removing_a_cluster_releases_it_and_is_refused_while_that_cannot_be_done(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    async with stepping(impatient) as steps:
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        with pytest.raises(Conflict, match="unfinished"):
            await asyncio.to_thread(proxied.remove_cluster, "here")
        proxy.on(Answer(403, status_body(403, "Forbidden", "no")), verb="patch", resource="workflows", times=math.inf)
        async with tracking(impatient, steps):
            await finished(proxied, launched.gid)
        for algorithm in proxied.algorithms():
            proxied.remove_algorithm(algorithm.name)
        with pytest.raises(Conflict, match="abandon"):
            await asyncio.to_thread(proxied.remove_cluster, "here")
        (item,) = await ours(steps.engine, there)
        assert item["metadata"]["finalizers"] == ["argosy.dev/recorded"]
        proxy.clear()
        await asyncio.to_thread(proxied.remove_cluster, "here")
        (item,) = await ours(steps.engine, there)
    assert not item["metadata"].get("finalizers")
    assert proxied.clusters() == []
