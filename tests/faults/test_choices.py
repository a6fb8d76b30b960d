"""Lost commits where a job may run on several clusters: what ran, or may have run, on one of them runs on no other."""

import asyncio
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.demo.simulator import SimulatedConnection
from argosy.kube.connection import Access, Connection
from argosy.recovery.custody import Held
from argosy.recovery.reconcile import Decisions
from argosy.settings import Settings
from tests.cluster.clusters import access
from tests.faults.conftest import ours, stepping, tracking
from tests.support.held import cut, dump, either, here, hostile, restore, run, working
from tests.support.stack import until

__all__ = ["either", "here", "hostile"]


async def test_a_launch_that_the_dump_has_not_and_its_caller_repeats_runs_nothing_twice_on_another_cluster(
    either: Client, impatient: Settings, engine: Engine, here: SimulatedConnection, hostile: Access
) -> None:
    """Found by the audit: the one cluster was released while the other, which had run the jobs, could not be asked."""
    await asyncio.to_thread(dump, engine)
    either.pause(cluster="here")
    gid = uuid1()

    def launched() -> UUID:
        return either.launch("either-long", project=1, user=7, media_ids=[1, 2], gid=gid).gid

    async with working(impatient) as steps:
        await run(either, steps, launched(), "Running", "Running")
    await asyncio.to_thread(restore, engine)
    either.database_restored()
    with engine.begin() as database:
        database.execute(text("UPDATE argosy.cluster SET port = port + 1 WHERE name = 'hostile'"))
    decisions = Decisions(waiting="run", unknown="leave")
    async with working(impatient) as steps:
        launched()
        await asyncio.to_thread(either.reconcile, decisions)
        assert list(either.held()) == ["hostile"]
        await cut(steps, gid)
        await steps.submitter.run(1)
        assert either.list(gid=gid) == []
    with engine.begin() as database:
        database.execute(text("UPDATE argosy.cluster SET port = port - 1 WHERE name = 'hostile'"))
    await asyncio.to_thread(either.reconcile, decisions)
    async with working(impatient) as steps:
        either.pause(cluster="hostile")  # or it would take them by chance
        await run(either, steps, gid, "Running", "Running")
        assert {job.cluster for job in either.list(gid=gid)} == {"hostile"}
        async with Connection(access(here)) as there:
            assert await ours(engine, there) == []


async def test_a_job_that_is_queued_in_the_dump_and_ran_on_one_cluster_is_not_taken_by_the_other(
    either: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    """Found by the audit: both were let go on, and the one's workers were faster than the other's tracker."""
    launched = either.launch("either-long", project=1, user=7, media_ids=[1, 2])
    async with stepping(impatient) as steps:
        await cut(steps, launched.gid)
        await asyncio.to_thread(dump, engine)
        either.pause(cluster="here")
        async with tracking(impatient, steps):
            await run(either, steps, launched.gid, "Running", "Running")
    await asyncio.to_thread(restore, engine)
    either.database_restored()
    async with stepping(impatient) as steps:
        await asyncio.to_thread(either.reconcile, Decisions())
        assert list(either.held()) == []
        await steps.submitter.run(1)
        assert [(job.cluster, job.status) for job in either.list(gid=launched.gid)] == [("hostile", "Pending")] * 2
        async with Connection(access(here)) as there:
            assert await ours(engine, there) == []
        async with tracking(impatient, steps):
            await run(either, steps, launched.gid, "Running", "Running")


async def test_what_ran_in_the_commits_that_a_fail_over_lost_runs_nowhere_else(
    either: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    """Neither cluster's mark is ahead: most fail-overs lose less than what lies between two of them."""
    either.pause(cluster="here")
    launched = either.launch("either-long", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await run(either, steps, launched.gid, "Running")
    either.resume(cluster="here")
    with engine.begin() as database:
        database.execute(text(_QUEUED_AGAIN))
        database.execute(text("UPDATE argosy.installation SET timeline = 99"))
    async with stepping(impatient) as steps:
        with pytest.raises(Held):
            await steps.submitter.run(1)
        assert list(either.held()) == ["here", "hostile"]
        async with tracking(impatient, steps):
            await until(either.held, lambda held: not held, 60)
            (job,) = await until(
                lambda: either.list(gid=launched.gid), lambda jobs: [job.status for job in jobs] == ["Running"], 60
            )
            after = either.launch("either", project=1, user=7, media_ids=[1])
            await run(either, steps, after.gid, "Succeeded")
    assert (job.cluster, job.attempt) == ("hostile", 1)


async def test_a_claim_that_a_fail_over_lost_is_not_taken_elsewhere_before_its_create_has_arrived(
    either: Client, impatient: Settings, engine: Engine
) -> None:
    launched = either.launch("either", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await cut(steps, launched.gid)
        with engine.begin() as database:
            database.execute(text("UPDATE argosy.installation SET timeline = 99"))
        with pytest.raises(Held):
            await steps.submitter.run(1)
        await until(either.held, lambda held: not held, 60)
        await steps.submitter.run(1)
        assert [job.status for job in either.list(gid=launched.gid)] == ["Queued"]
        with engine.begin() as database:
            database.execute(text("UPDATE argosy.installation SET doubted_at = doubted_at - interval '1 hour'"))
        await run(either, steps, launched.gid, "Succeeded")


_QUEUED_AGAIN = """
UPDATE argosy.attempt SET state = 'queued', cluster_id = NULL, k8s_uid = NULL, name = NULL, digest = NULL, claim_epoch = 0, tries = 0,
       lease_until = NULL, quiet_at = NULL, submitted_at = NULL, started_at = NULL, began_at = NULL, stop_at = NULL
"""
