"""A record that comes late, or that the database did not take, takes nothing back and costs nothing (P1)."""

import asyncio

import pytest
from sqlalchemy import Connection as Database
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.settings import Settings
from argosy.store import queue
from argosy.store.installation import identity
from argosy.submit import run
from argosy.submit.run import Submitter
from tests.faults.actions import HoldAnswer
from tests.faults.conftest import Creates, remove, rows, stepping, tracking
from tests.faults.proxy import Proxy
from tests.support.seen import shown


async def test_a_record_that_the_database_did_not_take_is_made_again_by_the_same_claim(
    proxied: Client,
    impatient: Settings,
    there: Connection,
    engine: Engine,
    creates: Creates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = run._record
    blinked: list[bool] = []

    def blinks(database: Database, outcomes: list[queue.Outcome]) -> None:
        if not blinked:
            blinked.append(True)
            raise OperationalError("COMMIT", {}, Exception("the connection is lost"))
        record(database, outcomes)

    monkeypatch.setattr(run, "_record", blinks)
    async with stepping(impatient) as steps:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await Submitter(engine, impatient, steps.clusters, identity(engine), "blinks").run(1)
        (job,) = proxied.list(gid=launched.gid)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT claim_epoch FROM argosy.attempt")).scalar_one() == 1
    assert blinked
    assert job.status == "Pending"
    assert creates(job.uid) == 1


@pytest.mark.parametrize("seen", ["Running", "Succeeded", "Deleted"])
async def test_a_record_that_arrives_after_the_tracker_saw_more_changes_nothing(
    seen: str, proxied: Client, proxy: Proxy, patient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    answer = asyncio.Event()
    proxy.on(HoldAnswer(answer), verb="create", resource="workflows")
    async with stepping(patient) as steps, tracking(patient, steps):
        launched = proxied.launch("quick" if seen == "Succeeded" else "long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        submitting = asyncio.create_task(steps.submitter.run(1))
        if seen == "Deleted":
            job = await shown(proxied, launched.gid, "Running")
            assert job.id is not None
            await remove(there, job.id)
        job = await shown(proxied, launched.gid, seen)
        before = rows(engine, nodes=False)
        answer.set()
        await submitting
        assert rows(engine, nodes=False) == before
    assert creates(job.uid) == 1
