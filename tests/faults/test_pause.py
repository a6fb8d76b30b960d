"""A paused cluster becomes empty: what nobody knows about it is found out by looking, for nothing may be created (issue 6, drain)."""

import asyncio
from typing import Any

import pytest

from argosy.client import Client
from argosy.settings import Settings
from argosy.store import tracking as tracking_rows
from tests.faults.actions import Answer, Cut, Hold
from tests.faults.conftest import Creates, Steps, stepping, tracking
from tests.faults.proxy import Proxy
from tests.support.queues import sql
from tests.support.stack import finished, until


async def unclear(client: Client, steps: Steps) -> None:
    """Launch one job; its create is given up."""
    steps.expand(client.launch("quick", project=1, user=7, media_ids=[1]).gid)
    await steps.submitter.run(1)
    assert (status(client), client.cluster("here").active) == ("Submitting", 1)


def status(client: Client) -> str:
    (job,) = client.list()
    return job.status


def no_create_can_arrive_any_more(steps: Steps) -> None:
    past = "clock_timestamp() - interval '1 s'"
    sql(steps.engine, f"UPDATE argosy.attempt SET quiet_at = {past}, lease_until = {past}")


@pytest.mark.parametrize("what", [{"cluster": "here"}, {"project": 1}, {"algorithm": "quick"}], ids=str)
async def test_a_create_that_never_arrived_holds_no_slot_of_what_is_paused_and_is_sent_when_that_goes_on(
    what: dict[str, Any], proxied: Client, proxy: Proxy, impatient: Settings, creates: Creates
) -> None:
    proxy.on(Hold(asyncio.Event()), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        await unclear(proxied, steps)
        proxied.pause(**what, reason="new nodes")
        no_create_can_arrive_any_more(steps)
        async with tracking(impatient, steps):
            await until(lambda: status(proxied), lambda found: found == "Queued")
            assert proxied.cluster("here").active == 0
            await steps.submitter.run(1)
            assert len(proxy.saw("create")) == 1
            proxied.resume(**what)
            await steps.submitter.run(1)
            (job,) = await finished(proxied, proxied.list()[0].gid)
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1


@pytest.mark.parametrize("why", ["it-may-still-arrive", "it-cannot-be-asked", "no-finalizer"])
async def test_a_create_of_which_nobody_knows_stays_unclear_on_a_paused_cluster(
    why: str, proxied: Client, proxy: Proxy, impatient: Settings
) -> None:
    """Without the finalizer its workflow may have ended and be gone."""
    proxy.on(Hold(asyncio.Event()), verb="create", resource="workflows")
    if why == "no-finalizer":
        proxied.update_cluster("here", finalizer=False)
    async with stepping(impatient) as steps:
        await unclear(proxied, steps)
        proxied.pause(cluster="here")
        if why != "it-may-still-arrive":
            no_create_can_arrive_any_more(steps)
        with steps.engine.connect() as connection:
            found = tracking_rows.unclear(connection, 1)
        assert len(found) == (why == "it-cannot-be-asked")
        if found:
            proxy.decide = lambda request: (
                Answer(500, b"") if (request.verb, request.resource) == ("get", "workflows") else None
            )
            async with tracking(impatient, steps):
                await until(lambda: len(proxy.saw("get")), lambda count: count >= 2)
        assert status(proxied) == "Submitting"


async def test_a_create_that_arrived_is_recorded_on_a_paused_cluster_and_runs_on(
    proxied: Client, proxy: Proxy, impatient: Settings, creates: Creates
) -> None:
    proxy.on(Cut(), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        await unclear(proxied, steps)
        proxied.pause(cluster="here")
        no_create_can_arrive_any_more(steps)
        async with tracking(impatient, steps):
            (job,) = await finished(proxied, proxied.list()[0].gid)
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1


async def test_a_create_that_cannot_be_asked_about_holds_up_no_other(
    proxied: Client, proxy: Proxy, impatient: Settings
) -> None:
    never = asyncio.Event()
    proxy.decide = lambda request: Hold(never) if request.verb == "create" else None
    async with stepping(impatient) as steps:
        steps.expand(proxied.launch("quick", project=1, user=7, media_ids=[1, 2]).gid)
        await steps.submitter.run(1)
        proxied.pause(cluster="here")
        no_create_can_arrive_any_more(steps)
        with steps.engine.connect() as connection:
            first, _ = tracking_rows.unclear(connection, 1)
        proxy.decide = lambda request: Answer(500, b"") if request.name == first.name else None
        async with tracking(impatient, steps):
            await until(lambda: proxied.cluster("here").active, lambda active: active == 1)
        assert [job.status for job in proxied.list()] == ["Submitting", "Queued"]
