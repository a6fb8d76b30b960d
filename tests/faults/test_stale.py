"""What the rows know may be old: nothing is ended, and nothing called current, because of it (P4)."""

import asyncio
import math
from itertools import pairwise

import psycopg
from sqlalchemy import Engine

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.settings import Settings
from tests.faults.actions import Answer, Swallow, status_body
from tests.faults.conftest import become
from tests.faults.proxy import Proxy
from tests.support.stack import finished, running, until


async def test_a_job_that_began_in_time_is_not_ended_by_a_deadline_because_the_watch_was_deaf(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    deaf = asyncio.Event()
    deaf.set()
    proxy.on(Swallow(deaf), verb="watch", resource="workflows", times=math.inf)
    proxied.update_algorithm("long", pending_deadline=6)
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        (job,) = await until(
            lambda: proxied.list(gid=launched.gid), lambda jobs: [job.status for job in jobs] == ["Running"], 60
        )
        assert [exchange.request.name for exchange in proxy.saw("get")] == [job.id]
        assert (await Workflows(there).get(str(job.id)))["spec"].get("shutdown") is None
        assert not proxy.saw("patch")


async def test_a_row_that_somebody_holds_keeps_no_other_from_its_state_and_is_not_called_current(
    proxied: Client, impatient: Settings, there: Connection, engine: Engine
) -> None:
    async with running(impatient):
        launched = proxied.launch("long", project=1, user=7, media_ids=[1, 2])
        held, free = await until(
            lambda: proxied.list(gid=launched.gid), lambda jobs: [job.status for job in jobs] == ["Running"] * 2, 60
        )
        url = impatient.database_url.get_secret_value()
        with psycopg.connect(url) as holder:
            holder.execute("SELECT FROM argosy.attempt WHERE uid = %s FOR UPDATE", (held.uid,))
            for job in (held, free):
                name = str(job.id)
                await Workflows(there).terminate(name, (await Workflows(there).get(name))["metadata"]["uid"])
                await become(lambda found: found["status"]["phase"] == "Failed", Workflows(there).get, name)
            (ended,) = await until(
                lambda: [proxied.get(free.uid)], lambda jobs: [job.status for job in jobs] == ["Failed"], 60
            )
            stale = proxied.get(held.uid)
            assert stale.status == "Running"
            assert ended.stop_time is not None
            # The cluster goes on to be heard, and this row does not become any younger by that.
            after = proxied.launch("quick", project=1, user=7, media_ids=[3])
            await finished(proxied, after.gid)
            assert proxied.get(held.uid).as_of <= ended.as_of
        await until(lambda: proxied.get(held.uid), lambda job: job.status == "Failed", 60)


async def test_a_cluster_whose_every_watch_is_refused_as_too_old_is_not_listed_without_a_pause(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    gone = Answer(410, status_body(410, "Expired", "too old resource version"))
    proxy.on(gone, verb="watch", resource="workflows", times=math.inf)
    async with running(impatient):
        lists = await until(lambda: proxy.saw("list"), lambda lists: len(lists) >= 4, 60)
    pauses = [after.came - before.came for before, after in pairwise(lists)]
    assert all(pause >= wanted for pause, wanted in zip(pauses, (1, 2, 4), strict=False))
