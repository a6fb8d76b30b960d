"""A cluster's etcd is restored from an older snapshot: its past comes back, and what happened since has never been."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from argosy.client import Client
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults.processes import SHORT, Process
from tests.faults.world import World, opened
from tests.support.stack import until


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(audit_log=tmp_path / "audit.log") as local:
        yield local


def snapshot(local: LocalCluster, copy: Path) -> None:
    local.etcd.stop()
    shutil.copytree(local.directory / "etcd", copy)
    local.etcd.start()
    local.apiserver.wait_until_ready()


def restore(local: LocalCluster, copy: Path) -> None:
    """As an operator does it: the apiserver and what watches it start anew, because their caches are of another history."""
    for component in reversed(local.components):
        component.stop()
    shutil.rmtree(local.directory / "etcd")
    shutil.copytree(copy, local.directory / "etcd")
    for component in local.components:
        component.start()


def strangers(tracker: Process) -> float:
    """What the alarm metric says."""
    told = httpx.get(f"http://127.0.0.1:{tracker.port}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in told if line.startswith("argosy_stranger_workflows_total{"))


async def test_an_etcd_restored_from_an_older_snapshot_changes_no_end_runs_nothing_again_and_hides_no_loss(
    settings: Settings, client: Client, own_cluster: LocalCluster, valkey: str, tmp_path: Path
) -> None:
    with opened(settings, client, own_cluster, valkey, tmp_path, **SHORT) as world:
        tracker = world.fleet.tracker()
        world.fleet.worker()
        done, runs_on, ends = world.send("with-token", 2), world.send("long", 2), world.send("long", 2)
        await world.whole(done, 2)
        await world.all_are(runs_on, "Running")
        await world.all_are(ends, "Running")
        await asyncio.to_thread(snapshot, own_cluster, tmp_path / "snapshot")

        for job in world.jobs(ends):
            world.terminate(str(job.id))
        await world.all_are(ends, "Failed")
        gone, came_and_went = world.send("long", 2), world.send("hello", 2)
        await world.all_are(gone, "Running")
        await world.whole(came_and_went, 2)
        before = {gid: world.rows(gid) for gid in (done, ends, came_and_went)}
        assert strangers(tracker) == 0
        await asyncio.to_thread(restore, own_cluster, tmp_path / "snapshot")

        lost = await world.all_are(gone, "Lost", seconds=60)
        assert all("not on the cluster any more" in job.message for job in lost)
        assert {job.status for job in world.jobs(runs_on)} == {"Running"}
        await until(lambda: phases(world, ends), lambda found: found == ["Failed", "Failed"], 30)
        await until(lambda: world.left(ends), lambda left: not left, 30)  # what their second end says has been judged
        assert strangers(tracker) == 2
        assert {gid: world.rows(gid) for gid in before} == before

        await world.whole(world.send("with-token", 2), 2)
        for gid in (done, runs_on, ends, gone, came_and_went):
            world.created_once(world.jobs(gid))
        assert not [gid for gid in (gone, came_and_went) if world.workflows(gid)]


def phases(world: World, gid: UUID) -> list[str]:
    return [item["status"]["phase"] for item in world.workflows(gid)]
