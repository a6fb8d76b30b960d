"""Who looks alive is alive, and who is told to end leaves nothing behind."""

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import Engine, text

from argosy import crypto
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Connection
from argosy.processes import heart, pool, probes
from argosy.processes.heart import Heart
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store import processes
from argosy.store.processes import TRACKER
from tests.cluster.clusters import access
from tests.faults.actions import HoldAnswer
from tests.faults.conftest import Creates, register
from tests.faults.processes import Fleet
from tests.faults.proxy import Proxy
from tests.support.readme import exported
from tests.support.seen import shown
from tests.support.stack import Direct, finished, running, until


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[tuple[Tracker, str]]:
    """A tracker with its worker, and the address of its readiness."""
    wakeups = Direct(settings)
    tracker = Tracker(wakeups.engine, settings, wakeups)
    heart = Heart(settings, TRACKER, tracker.dead)
    port = probes.serve("127.0.0.1", 0, heart.dead, heart.unready)
    task = asyncio.create_task(tracker.run())
    try:
        async with heart.beating():
            address = f"http://127.0.0.1:{port}/readyz"
            await becomes(address, 200)
            yield tracker, address
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await wakeups.clusters.close()
        wakeups.engine.dispose()


def named(name: str) -> asyncio.Task[object]:
    (found,) = (task for task in asyncio.all_tasks() if task.get_name() == name and not task.done())
    return found


@pytest.mark.parametrize("part", ["follow", "write", "keep", "debts"])
async def test_readiness_fails_when_a_part_of_the_tracker_dies_inside_and_returns_when_it_runs_again(
    part: str, proxied: Client, impatient: Settings, there: Connection
) -> None:
    # What has ended is begun anew with the next renewal of the leases, four seconds after the last one.
    async with watched(impatient.model_copy(update={"tracker_lease": 20.0})) as (tracker, address):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await shown(proxied, launched.gid, "Running")
        assert (await asyncio.to_thread(httpx.get, address)).status_code == 200
        renewed = tracker._renewed
        await until(lambda: tracker._renewed, renewed.__ne__)
        named(f"{part}/here").cancel()
        await until(tracker.dead, bool, 5)
        answer = await asyncio.to_thread(httpx.get, address)
        assert (answer.status_code, answer.text) == (503, "cluster 1 is not followed\n")
        await until(tracker.dead, lambda dead: not dead, 20)
        assert (await asyncio.to_thread(httpx.get, address)).status_code == 200
        proxied.cancel(launched.gid)
        await shown(proxied, launched.gid, "Cancelled")


async def test_readiness_fails_when_following_a_cluster_hangs_and_it_is_followed_anew(
    proxied: Client, impatient: Settings, there: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(impatient) as (tracker, _):
        await until(lambda: proxied.cluster("here").health, lambda health: health == "ok")
        before = named("follow/here")
        # Its last sign of life was long ago; nothing in it has ended.
        monkeypatch.setattr("argosy.processes.tracker.PULSE", -1.0)
        assert "has not been followed" in tracker.dead()[0]
        await asyncio.wait([before], timeout=20)
        assert before.cancelled()
        monkeypatch.undo()
        await until(tracker.dead, lambda dead: not dead, 20)


async def test_a_pool_whose_processes_hang_is_not_alive(
    settings: Settings, engine: Engine, valkey: str, tmp_path: Path
) -> None:
    with Fleet(exported(settings, ARGOSY_REDIS_URL=valkey), tmp_path) as fleet:
        worker = fleet.worker()
        await worker.probed("readyz", 200, 60)
        assert await worker.probed("livez", 200) == "ok\n"
        with engine.connect() as connection:
            (hanging,) = processes.alive(connection)
        os.kill(hanging.pid, signal.SIGSTOP)
        assert f"process {hanging.pid}: its loop has not turned" in await worker.probed("livez", 503, 2 * pool.SILENT)
        assert "its loop" in await worker.probed("readyz", 503)
        with engine.connect() as connection:
            assert processes.alive(connection) == []
        os.kill(hanging.pid, signal.SIGCONT)
        await worker.probed("readyz", 200)


async def test_a_loop_that_hangs_is_dead_and_its_process_is_no_longer_taken_for_alive(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SILENT", 0.5)
    monkeypatch.setattr(heart, "_EVERY", 0.05)
    monkeypatch.setattr(processes, "ALIVE", 0.5)

    def alive() -> list[str]:
        with engine.connect() as connection:
            return [process.kind for process in processes.alive(connection)]

    hangs, turns = threading.Event(), threading.Event()
    made = Heart(settings, TRACKER)
    async with made.beating():
        await until(alive, [TRACKER].__eq__)

        def beside() -> list[str]:
            hangs.wait()
            deadline = time.monotonic() + 30
            while not (made.dead() and made.unready() and not alive()) and time.monotonic() < deadline:
                time.sleep(0.05)
            found = [*made.dead(), *alive()]
            turns.set()
            return found

        asked = asyncio.create_task(asyncio.to_thread(beside))
        await asyncio.sleep(0)
        hangs.set()
        turns.wait(60)  # so the loop hangs
        (found,) = await asked
        assert found.startswith("the loop of this tracker has not turned for")
        await until(made.unready, lambda wrong: not wrong)
        await until(alive, [TRACKER].__eq__)
    assert alive() == []


async def test_a_worker_that_is_told_to_end_finishes_or_hands_back_its_claims(
    proxied: Client,
    proxy: Proxy,
    settings: Settings,
    engine: Engine,
    there: Connection,
    valkey: str,
    creates: Creates,
    tmp_path: Path,
) -> None:
    redis.Redis.from_url(valkey).flushall()
    answered = asyncio.Event()
    held = proxy.on(HoldAnswer(answered), verb="create", resource="workflows", times=math.inf)
    environment = exported(settings, ARGOSY_REDIS_URL=valkey, ARGOSY_CREATES_IN_FLIGHT="4", ARGOSY_CLAIM_BATCH="8")
    with Fleet(environment, tmp_path) as fleet:
        fleet.tracker()
        worker = fleet.worker()
        launched = proxied.launch("quick", project=1, user=7, media_ids=range(20))
        await until(lambda: held.hits, lambda hits: hits == 4)
        ending = asyncio.create_task(worker.stopped())
        await worker.said("Shutting down")
        answered.set()
        await ending

        def states() -> dict[str, int]:
            with engine.connect() as connection:
                rows = connection.execute(text("SELECT state, count(*) FROM argosy.attempt GROUP BY state"))
                return {row[0]: row[1] for row in rows}

        assert "submitting" not in states()
        assert states()["queued"] == 16, "what was not sent is back in the queue, without waiting for a lease"
        assert held.hits == 4
        fleet.worker()
        jobs = await finished(proxied, launched.gid, 60)
    assert {job.status for job in jobs} == {"Succeeded"}
    assert {creates(job.uid) for job in jobs} == {1}


async def test_a_cluster_whose_token_this_tracker_cannot_open_is_left_to_another_and_is_the_clusters_trouble_only(
    client: Client, impatient: Settings
) -> None:
    with SimulatedCluster(pod_seconds=0.05) as cluster:
        register(client, access(cluster.connection))
        keyless = impatient.model_copy(update={"keys": [SecretStr(crypto.new_keys()["ARGOSY_KEYS"])]})
        async with watched(keyless) as (_, readyz):
            found = await until(lambda: client.cluster("here"), lambda found: found.health == "unauthorized", 30)
            assert "none of ARGOSY_KEYS opens" in found.health_message
            await becomes(readyz, 200)
            async with running(impatient) as able:
                launched = client.launch("quick", project=1, user=7, media_ids=[1])
                await until(lambda: client.list(gid=launched.gid), bool)
                able.submit(1)  # the other one's wake-ups go to its own worker, which has its keys
                (job,) = await finished(client, launched.gid, 60)
                assert job.status == "Succeeded"
                await until(lambda: client.cluster("here").health, lambda health: health == "ok")


async def becomes(readyz: str, code: int) -> httpx.Response:
    return await until(lambda: httpx.get(readyz), lambda answer: answer.status_code == code, 30)
