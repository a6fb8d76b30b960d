"""PostgreSQL comes back older than the world: from a dump, or as a replica that lost the last commits (P11)."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import InvalidRequest
from argosy.recovery.reconcile import Decisions
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults.conftest import manifest
from tests.faults.processes import SHORT
from tests.faults.world import World, opened
from tests.support.held import dump, restore
from tests.support.stack import finished, until


def epoch(world: World) -> int:
    return int(world.row("SELECT epoch FROM argosy.cluster").epoch)


def statuses(world: World, gid: UUID) -> list[str]:
    return [job.status for job in world.jobs(gid)]


async def test_a_restored_database_ends_nothing_runs_nothing_again_and_says_what_it_does_not_know(
    world: World, engine: Engine
) -> None:
    client = world.client
    for name, spec in (("short-lived", "ttlStrategy: {secondsAfterCompletion: 1}"), ("tried-again", "arguments: {}")):
        client.register_algorithm(
            name=name, project=1, user=7, manifest=manifest(0.05, spec), files_per_job=1, max_attempts=3
        )
    processes = [world.fleet.tracker(), world.fleet.worker()]
    runs_on, ends, stops = world.send("long", 2), world.send("long", 1), world.send("long", 1)
    await world.all_are(runs_on, "Running")
    await world.all_are(stops, "Running")
    await world.all_are(ends, "Running")
    was = await until(lambda: epoch(world), bool)
    client.pause(cluster="here")
    waits, waited = world.send("long", 1), world.send("short-lived", 2)
    await world.all_are(waits, "Queued")
    await world.all_are(waited, "Queued")
    await asyncio.to_thread(dump, engine)

    client.resume(cluster="here")
    after = world.send("long", 1)
    await world.all_are(waits, "Running")
    await world.all_are(after, "Running")
    await finished(client, waited)
    await until(lambda: world.workflows(waited), lambda left: not left, 60)
    world.terminate(str(world.jobs(ends)[0].id))
    client.cancel(stops)
    await finished(client, ends)
    await finished(client, stops)
    cancelled = world.jobs(runs_on)[1].uid
    await until(lambda: epoch(world), lambda now: now > was, 30)
    for process in processes:
        process.kill()
    before = [item["metadata"]["uid"] for item in world.workflows()]
    await asyncio.to_thread(restore, engine)
    client.resume(cluster="here")

    world.fleet.worker()
    world.fleet.tracker()
    (why,) = (await until(client.held, bool, 30)).values()
    assert "older than the cluster" in why
    assert "argosy db reconcile" in why
    await world.all_are(waits, "Running")
    await world.all_are(ends, "Failed")
    await world.all_are(stops, "Cancelled")
    assert [item.status for item in world.jobs(runs_on)] == ["Running"] * 2
    assert statuses(world, waited) == ["Queued"] * 2
    assert "is held" in world.jobs(waited)[0].message
    found = (await asyncio.to_thread(client.reconcile))[0]
    assert sorted(uid for uid, _ in found.waiting) == sorted(item.uid for item in world.jobs(waited))
    assert [lost.gid for lost in found.unknown] == [after]
    assert (found.gone, found.foreign, found.error) == ([], [], "")
    assert len(found.running) == 3
    assert [item["metadata"]["uid"] for item in world.workflows()] == before
    assert {item["spec"].get("shutdown") for item in world.workflows(runs_on) + world.workflows(after)} == {None}

    with pytest.raises(InvalidRequest, match="--waiting: 2 "):
        await asyncio.to_thread(client.reconcile, Decisions(unknown="adopt"))
    await asyncio.to_thread(client.reconcile, Decisions(waiting="lost", unknown="adopt"))
    assert client.held() == {}
    (recovered,) = await world.all_are(after, "Running")
    assert (recovered.project, recovered.user, recovered.media_ids, recovered.algorithm) == (1, 7, [1], "long")
    assert statuses(world, waited) == ["Lost"] * 2
    client.cancel(cancelled)
    await until(lambda: client.get(cancelled).status, lambda status: status == "Cancelled", 60)
    await world.whole(world.send("hello", 1), 1)
    for gid in (runs_on, ends, waits, after):
        world.created_once(world.jobs(gid))


async def test_what_was_gone_when_the_database_was_restored_is_not_tried_again_by_itself(
    settings: Settings, client: Client, local_cluster: LocalCluster, valkey: str, engine: Engine, tmp_path: Path
) -> None:
    with opened(settings, client, local_cluster, valkey, tmp_path, **SHORT) as world:
        short = manifest(3, "ttlStrategy: {secondsAfterCompletion: 1}")
        client.register_algorithm(
            name="short-lived", project=1, user=7, manifest=short, files_per_job=1, max_attempts=3
        )
        processes = [world.fleet.tracker(), world.fleet.worker()]
        gone = world.send("short-lived", 1)
        await world.all_are(gone, "Running")
        await asyncio.to_thread(dump, engine)
        await finished(client, gone)
        await until(lambda: world.workflows(gone), lambda left: not left, 60)
        for process in processes:
            process.kill()
        await asyncio.to_thread(restore, engine)

        assert list(client.database_restored()) == ["here"]
        world.fleet.worker()
        world.fleet.tracker()
        (found,) = await until(
            lambda: client.reconcile(), lambda found: bool(client.cluster("here").as_of and found[0].gone), 60
        )
        (job,) = world.jobs(gone)
        assert found.gone == [(job.uid, 1)]
        assert job.status == "Running"
        await asyncio.to_thread(client.reconcile, Decisions(gone="lost"))
        await world.all_are(gone, "Lost")
        assert client.retry(gone, token="again") == 1
        await finished(client, gone)
        assert client.get(job.uid).attempt == 2


async def test_a_fail_over_that_lost_its_last_commits_needs_nobody_and_runs_nothing_twice(
    settings: Settings, client: Client, local_cluster: LocalCluster, valkey: str, engine: Engine, tmp_path: Path
) -> None:
    """The rows of a moment before come back: what was claimed, ended and removed since is queued again, as far as they know."""
    with opened(settings, client, local_cluster, valkey, tmp_path, **SHORT | {"ARGOSY_RELEASE_AFTER": "30"}) as world:
        short = manifest(0.05, "ttlStrategy: {secondsAfterCompletion: 1}")
        client.register_algorithm(name="short-lived", project=1, user=7, manifest=short, files_per_job=1)
        processes = [world.fleet.tracker(), world.fleet.worker()]
        runs_on = world.send("long", 1)
        await world.all_are(runs_on, "Running")
        client.pause(cluster="here")
        ended, begun = world.send("short-lived", 2), world.send("long", 1)
        await world.all_are(ended, "Queued")
        await world.all_are(begun, "Queued")
        was = await until(lambda: epoch(world), bool)
        await until(lambda: epoch(world), lambda now: now > was, 30)
        await asyncio.to_thread(dump, engine)
        was = epoch(world)
        client.resume(cluster="here")
        await world.all_are(begun, "Running")
        await finished(client, ended)
        await until(lambda: epoch(world), lambda now: now > was, 30)
        for process in processes:
            process.kill()
        await asyncio.to_thread(restore, engine)
        client.resume(cluster="here")

        world.fleet.worker()
        world.fleet.tracker()
        jobs = await finished(client, ended, 90)
        assert [(job.status, job.attempt) for job in jobs] == [("Succeeded", 1)] * 2
        await world.all_are(begun, "Running")
        await until(client.held, lambda held: held == {}, 60)
        await finished(client, world.send("hello", 1))
        for gid in (runs_on, ended, begun):
            world.created_once(world.jobs(gid))
