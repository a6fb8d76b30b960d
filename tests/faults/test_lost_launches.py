"""A restored database that has lost what became of a launch: its workflows are found again, or ended, and none runs on unseen."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

import argosy.launch.expand
import argosy.recovery.reconcile
from argosy.client import Client
from argosy.demo.simulator import SimulatedConnection
from argosy.kube.connection import Connection
from argosy.kube.secrets import Secrets
from argosy.labels import LABEL_INSTALLATION, workflow_name
from argosy.recovery.reconcile import Decisions
from argosy.settings import Settings
from argosy.store import cutting
from argosy.store.installation import identity
from tests.cluster.clusters import access
from tests.faults.conftest import Steps, become, manifest, ours, remove
from tests.support.held import cut, dump, here, lost, restore, run, strayed, unfinished, working
from tests.support.queues import sql
from tests.support.stack import until

__all__ = ["here"]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches, of a job each, are cut before launches are held up: one."""
    left, real = [1], cutting.cut

    def up_to_one(connection: Any, claim: Any, most: int, lease: float) -> Any:
        if not left[0]:
            raise cutting.HeldUp("not now")
        left[0] -= 1
        return real(connection, claim, most, lease)

    monkeypatch.setattr(argosy.launch.expand, "_BATCH", 1)
    monkeypatch.setattr(cutting, "cut", up_to_one)
    return left


async def submitted(client: Client, steps: Steps, gid: UUID, *expected: tuple[str, int]) -> None:
    """Submit until the jobs' status and attempt are so."""

    async def stand() -> list[tuple[str, int]]:
        await steps.submitter.run(1)
        return [(job.status, job.attempt) for job in client.list(gid=gid)]

    await become(lambda found: found == list(expected), stand)


@pytest.mark.parametrize("decisions", [Decisions(waiting="lost"), Decisions(waiting="run")])
async def test_the_workflows_of_a_launch_that_is_rejected_after_a_hold_are_ended(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection, decisions: Decisions
) -> None:
    """Its caller is told to launch the media anew: they would run twice."""
    gid = client.launch("long", project=1, user=7, media_ids=[1, 2]).gid
    await asyncio.to_thread(dump, engine)
    async with working(impatient) as steps:
        await run(client, steps, gid, "Running", "Running")
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    client.remove_algorithm("long")
    async with Connection(access(here)) as there, working(impatient) as steps:
        await asyncio.to_thread(client.reconcile, decisions)
        await cut(steps, gid)
        assert [launch.state for launch in client.launches(gid=gid)] == ["rejected"]
        await become(lambda found: not any(map(unfinished, found)), ours, engine, there)
        await until(lambda: strayed(engine), lambda found: not found, 30)


async def test_a_lost_retry_of_a_launch_that_was_cancelled_half_cut_is_not_ended_but_asked_about(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection, batches: list[int]
) -> None:
    gid = client.launch("long", project=1, user=7, media_ids=[1, 2, 3]).gid
    async with working(impatient) as steps:
        await cut(steps, gid)
        client.cancel(gid)
        assert [(job.status, job.attempt) for job in client.list(gid=gid)] == [("Cancelled", 1)]
        await asyncio.to_thread(dump, engine)
        assert client.retry(gid) == 1
        await submitted(client, steps, gid, ("Running", 2))
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    async with working(impatient):
        await until(lambda: strayed(engine), lambda found: found, 30)
        (found,) = await asyncio.to_thread(client.reconcile, Decisions(unknown="adopt"))
        assert [lost.number for lost in found.unknown] == [2]
        await until(
            lambda: [(job.status, job.attempt) for job in client.list(gid=gid)],
            lambda found: found == [("Running", 2)],
            30,
        )


async def test_a_lost_retry_of_a_launch_that_is_cut_half_is_adopted(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection, batches: list[int]
) -> None:
    client.register_algorithm(
        name="again", project=1, user=7, manifest=manifest(600), files_per_job=1, max_attempts=3, retry_backoff=0
    )
    gid = client.launch("again", project=1, user=7, media_ids=[1, 2, 3]).gid
    async with working(impatient) as steps:
        await cut(steps, gid)
        await submitted(client, steps, gid, ("Running", 1))
        await asyncio.to_thread(dump, engine)
        sql(
            engine, "UPDATE argosy.attempt SET state = 'error', finished_at = now()"
        )  # as after an end that is tried again
        async with Connection(replace(access(here), token=here.admin_token)) as admin:
            await remove(admin, workflow_name(client.list(gid=gid)[0].uid, 1))
        await submitted(client, steps, gid, ("Running", 2))
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    batches[0] = 5
    async with working(impatient) as steps:
        decisions = Decisions(waiting="run", unknown="adopt", gone="lost")
        (found,) = await asyncio.to_thread(client.reconcile, decisions)
        assert [lost.number for lost in found.unknown] == [2]
        await cut(steps, gid)
        await submitted(client, steps, gid, ("Running", 2), ("Running", 1), ("Running", 1))


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_launch_that_its_caller_repeats_while_its_workflows_are_adopted(
    client: Client,
    impatient: Settings,
    engine: Engine,
    here: SimulatedConnection,
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,
) -> None:
    """… is cut around them; where it is cancelled too they end."""
    gid = await lost(client, impatient, engine)
    real = argosy.recovery.reconcile._check

    def check(*arguments: Any) -> None:
        real(*arguments)
        client.launch("long", project=1, user=7, media_ids=[1, 2], gid=gid)
        if cancelled:
            client.cancel(gid)

    monkeypatch.setattr(argosy.recovery.reconcile, "_check", check)
    async with Connection(access(here)) as there, working(impatient) as steps:
        await asyncio.to_thread(client.reconcile, Decisions(unknown="adopt"))
        if cancelled:
            await become(lambda found: not any(map(unfinished, found)), ours, engine, there)
            assert client.list(gid=gid) == []
        else:
            await cut(steps, gid)
            await submitted(client, steps, gid, ("Running", 1), ("Running", 1))
            assert len(await ours(engine, there)) == 2
        await until(lambda: strayed(engine), lambda found: not found, 30)


async def test_what_is_left_of_an_attempt_before_the_one_that_was_found_keeps_no_secret(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    settings = impatient.model_copy(update={"release_after": 0.0})
    gid = client.launch("long-with-token", project=1, user=7, media_ids=[1], token="t0p").gid
    await asyncio.to_thread(dump, engine)
    async with working(settings) as steps:
        await run(client, steps, gid, "Running")
        client.cancel(gid)
        await until(lambda: client.list(gid=gid)[0].status, lambda status: status == "Cancelled", 60)
        await until(lambda: sql(engine, "SELECT FROM argosy.launch_secret"), lambda found: not found, 60)
        assert client.retry(gid, token="t0p") == 1
        await submitted(client, steps, gid, ("Running", 2))
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    async with Connection(access(here)) as there, working(settings) as steps:
        await asyncio.to_thread(client.reconcile, Decisions(waiting="run"))
        await cut(steps, gid)
        await submitted(client, steps, gid, ("Running", 2))
        client.cancel(gid)
        secrets, ours = Secrets(there), {LABEL_INSTALLATION: identity(engine)}
        await become(lambda found: not found, secrets.found, ours)
        await until(lambda: sql(engine, "SELECT token_wiped FROM argosy.launch"), lambda found: found == [(True,)], 30)
