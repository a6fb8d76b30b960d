"""A held cluster: nothing runs a second time without a word, nobody else waits for it, and it is never without a way out."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid1

import orjson
import pytest
from sqlalchemy import Engine, text

from argosy.batches import JobUids
from argosy.client import Client
from argosy.demo.simulator import SimulatedConnection
from argosy.errors import InvalidRequest
from argosy.kube.connection import Access, Connection
from argosy.kube.marks import Marks
from argosy.kube.workflows import Page, Workflows
from argosy.labels import (
    ANNOTATION_ALGORITHM,
    ANNOTATION_MEDIA_IDS,
    ANNOTATION_NAME,
    LABEL_ATTEMPT,
    LABEL_GID,
    LABEL_INSTALLATION,
    LABEL_PROJECT,
    LABEL_UID,
    LABEL_USER,
    workflow_name,
)
from argosy.recovery.reconcile import Decisions
from argosy.settings import Settings
from argosy.store.installation import identity
from tests.cluster.clusters import access
from tests.faults.conftest import become, manifest, ours, stepping, tracking
from tests.support.held import (
    cut,
    dump,
    either,
    here,
    hostile,
    lost,
    restore,
    run,
    same_clock,
    strayed,
    unfinished,
    working,
)
from tests.support.stack import finished, until

__all__ = ["either", "here", "hostile", "same_clock"]


async def test_a_launch_that_was_not_cut_in_the_dump_is_not_cut_in_a_hold_and_is_asked_about(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    launched = client.launch("short-lived", project=1, user=7, media_ids=[1])
    await asyncio.to_thread(dump, engine)
    async with working(impatient) as steps:
        await run(client, steps, launched.gid, "Succeeded")
        async with Connection(access(here)) as there:
            await become(lambda left: not left, ours, engine, there)
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    async with working(impatient) as steps:
        await cut(steps, launched.gid)
        assert client.list(gid=launched.gid) == []
        (shown,) = client.launches(gid=launched.gid)
        assert "argosy db reconcile" in shown.reason
        (found,) = await asyncio.to_thread(client.reconcile)
        assert found.launches == [launched.gid]
        with pytest.raises(InvalidRequest, match="--waiting: 1 "):
            await asyncio.to_thread(client.reconcile, Decisions())
        await asyncio.to_thread(client.reconcile, Decisions(waiting="lost"))
    (shown,) = client.launches(gid=launched.gid)
    assert (shown.state, "launch the media again" in shown.reason) == ("rejected", True)


async def test_a_launch_that_was_not_cut_in_the_dump_finds_its_workflows_again_when_it_is(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    launched = client.launch("long", project=1, user=7, media_ids=[1, 2, 3])
    await asyncio.to_thread(dump, engine)
    async with working(impatient) as steps:
        await run(client, steps, launched.gid, *["Running"] * 3)
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    async with working(impatient) as steps:
        (found,) = await asyncio.to_thread(client.reconcile)
        assert (len(found.running), found.unknown) == (3, [])
        await asyncio.to_thread(client.reconcile, Decisions(waiting="run"))
        await run(client, steps, launched.gid, *["Running"] * 3)
        async with Connection(access(here)) as there:
            assert len(await ours(engine, there)) == 3


async def test_a_launch_that_is_cancelled_in_a_hold_before_it_is_cut_runs_on_nowhere(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    """Its rows were lost, and nobody would ever ask again what it had already run."""
    launched = client.launch("long", project=1, user=7, media_ids=[1, 2])
    await asyncio.to_thread(dump, engine)
    async with working(impatient) as steps:
        await run(client, steps, launched.gid, "Running", "Running")
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    client.cancel(launched.gid)
    async with Connection(access(here)) as there:
        async with working(impatient):
            (found,) = await asyncio.to_thread(client.reconcile)
            assert (len(found.running), found.unknown, found.launches) == (2, [], [])
            assert len(await ours(engine, there)) == 2
            await asyncio.to_thread(client.reconcile, Decisions())
            await become(lambda left: not any(map(unfinished, left)), ours, engine, there)
            await become(lambda left: not any(item["metadata"].get("finalizers") for item in left), ours, engine, there)
    assert client.list(gid=launched.gid) == []


async def test_a_launch_that_is_cancelled_after_its_lost_jobs_were_found_runs_on_nowhere(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    """The tracker had seen them, and left them alone, before the caller asked again for what the database has not."""
    gid = await lost(client, impatient, engine)
    async with Connection(access(here)) as there, working(impatient):
        await until(lambda: strayed(engine), lambda count: count == 2, 30)
        with engine.begin() as database:
            database.execute(text("DELETE FROM argosy.stray"))
        await asyncio.to_thread(client.reconcile, Decisions(unknown="leave"))
        await until(lambda: strayed(engine), lambda count: count == 2, 30)  # by the list that follows a hold
        client.launch("long", project=1, user=7, media_ids=[1, 2], gid=gid)
        client.cancel(gid)
        await become(lambda left: not any(map(unfinished, left)), ours, engine, there)
        await until(lambda: strayed(engine), lambda count: count == 0, 30)
    assert client.list(gid=gid) == []


async def test_nothing_is_tried_again_by_itself_while_a_cluster_is_held(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection, same_clock: None
) -> None:
    gone = manifest(0.05, "ttlStrategy: {secondsAfterCompletion: 1}")
    client.register_algorithm(
        name="again", project=1, user=7, manifest=gone, files_per_job=1, max_attempts=3, retry_backoff=0
    )
    launched = client.launch("again", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await run(client, steps, launched.gid, "Succeeded")
        async with Connection(access(here)) as there:
            await become(lambda left: not left, ours, engine, there)
    client.database_restored()
    with engine.begin() as database:
        database.execute(text("UPDATE argosy.attempt SET state = 'lost', retries_left = 2"))
    (job,) = client.list(gid=launched.gid)
    async with working(impatient):
        after = client.launch("quick", project=1, user=7, media_ids=[1])
        await until(lambda: client.launches(gid=after.gid)[0].state, lambda state: state == "expanded", 30)
        assert client.get(job.uid).attempt == 1
        (found,) = await asyncio.to_thread(client.reconcile)
        assert (job.uid, 1) in found.waiting
        await asyncio.to_thread(client.reconcile, Decisions(waiting="run"))
        await until(lambda: client.get(job.uid).attempt, lambda number: number == 2, 30)


async def test_a_cluster_that_is_held_keeps_no_new_job_from_another_that_may_take_it(
    either: Client, impatient: Settings, hostile: Access, engine: Engine, same_clock: None
) -> None:
    before = either.launch("either", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await cut(steps, before.gid)
        await until(lambda: either.cluster("hostile").health, lambda health: health == "ok", 30)
        async with Connection(hostile) as there:
            marks = Marks(there, identity(engine))
            mark = await marks.read()
            assert mark is not None
            await marks.write(mark, mark.holder, 1 << 62, datetime.now(UTC))
        await until(either.held, lambda held: list(held) == ["hostile"], 60)
        after = either.launch("either", project=1, user=7, media_ids=[1])
        await run(either, steps, after.gid, "Succeeded")
        (waits,) = either.list(gid=before.gid)
        assert (waits.status, "argosy db reconcile" in waits.message) == ("Queued", True)


async def test_nobody_takes_another_clusters_job_by_making_a_workflow_of_its_name(
    client: Client, impatient: Settings, hostile: Access, engine: Engine
) -> None:
    client.pause(cluster="here")
    launched = client.launch("quick", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await cut(steps, launched.gid)
        (job,) = client.list(gid=launched.gid)
        labels = {LABEL_INSTALLATION: identity(engine), LABEL_UID: str(job.uid), LABEL_ATTEMPT: "1"}
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": workflow_name(job.uid, 1), "labels": labels},
            "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "a"}}]},
        }
        async with Connection(hostile) as there:
            await Workflows(there).create(orjson.dumps(body))
        own = client.launch("quick", project=1, user=7, media_ids=[1])
        client.update_algorithm("quick", cluster=client.cluster("hostile").id)
        await run(client, steps, own.gid, "Succeeded")  # its tracker has looked
        assert client.get(job.uid).status == "Queued"
        client.resume(cluster="here")
        await run(client, steps, launched.gid, "Succeeded")
        assert client.get(job.uid).cluster == "here"


async def test_a_mark_that_somebody_takes_away_is_made_anew_where_a_recorded_workflow_proves_the_place(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    launched = client.launch("long", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await run(client, steps, launched.gid, "Running")
        async with Connection(replace(access(here), token=here.admin_token)) as there:
            marks = Marks(there, identity(engine))
            first = await marks.read()
            await there.call("delete", "leases", f"{marks._path}/{marks.name}")
            second = await become(bool, marks.read)
        assert first is not None
        assert second is not None
        assert second.uid != first.uid
        await until(lambda: client.cluster("here").health, lambda health: health == "ok", 30)
        client.cancel(launched.gid)
        (job,) = await finished(client, launched.gid)
        assert job.status == "Cancelled"


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Have the hostile cluster list one more item."""
    told: list[Any] = []
    page = Workflows.page

    async def lying(self: Workflows, selector: str, continue_: str = "", limit: int = 500) -> Page:
        found = await page(self, selector, continue_, limit)
        return replace(found, items=found.items + told * (self._connection.access.name == "hostile"))

    monkeypatch.setattr(Workflows, "page", lying)
    return told.append


@pytest.mark.parametrize(
    "item", [{"metadata": {"name": "x"}}, "boo", {"metadata": {"name": "x", "uid": "u", "labels": []}}]
)
async def test_what_one_cluster_lists_does_not_keep_the_others_from_being_reconciled(
    client: Client, impatient: Settings, hostile: Access, engine: Engine, tell: Callable[[Any], None], item: Any
) -> None:
    client.database_restored()
    tell(item)
    found = {findings.cluster: findings for findings in await asyncio.to_thread(client.reconcile)}
    assert found["here"].error == ""
    assert len(found["hostile"].foreign) == 1


@pytest.mark.parametrize(
    "broken",
    ["token_sealed = 'garbage'", "port = 1", "host = NULL, token_sealed = NULL"],
    ids=["key", "dead", "in-cluster"],
)
async def test_a_cluster_that_cannot_be_asked_stays_held_and_the_others_go_on(
    client: Client, hostile: Access, engine: Engine, broken: str
) -> None:
    client.database_restored()
    with engine.begin() as database:
        database.execute(text(f"UPDATE argosy.cluster SET {broken} WHERE name = 'hostile'"))
    found = {findings.cluster: findings for findings in await asyncio.to_thread(client.reconcile, Decisions())}
    assert (found["here"].error, bool(found["hostile"].error)) == ("", True)
    assert list(client.held()) == ["hostile"]


async def test_a_cluster_that_lies_puts_no_words_into_the_jobs_of_others(
    client: Client, impatient: Settings, hostile: Access, engine: Engine, tell: Callable[[Any], None]
) -> None:
    victim = client.launch("long", project=1, user=7, media_ids=[1])
    async with stepping(impatient) as steps:
        await cut(steps, victim.gid)
    (job,) = client.list(gid=victim.gid)
    client.database_restored()
    own = uuid1()
    for uid, number, gid in (
        (job.uid, 2, victim.gid),
        (job.uid, 2**31 - 1, victim.gid),
        (JobUids(own, 1)[0], 2**31 - 1, own),
    ):
        labels = {LABEL_UID: uid, LABEL_ATTEMPT: number, LABEL_GID: gid, LABEL_PROJECT: 1, LABEL_USER: 7}
        tell(
            {
                "metadata": {
                    "name": f"{uid}-{number}",
                    "uid": f"{uid}-{number}",
                    "labels": {name: str(value) for name, value in labels.items()},
                    "annotations": {ANNOTATION_ALGORITHM: "1", ANNOTATION_NAME: "long", ANNOTATION_MEDIA_IDS: "1"},
                    "creationTimestamp": "0001-01-01T00:00:00+05:00",
                }
            }
        )
    found = {findings.cluster: findings for findings in await asyncio.to_thread(client.reconcile)}
    assert (found["hostile"].unknown, len(found["hostile"].foreign)) == ([], 3)
    await asyncio.to_thread(client.reconcile, Decisions(waiting="run", unknown="adopt"))
    assert (client.get(job.uid).attempt, client.get(job.uid).status) == (1, "Queued")


async def test_a_job_that_is_cancelled_in_a_hold_and_had_run_ended_as_its_workflow_did(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    """Found by the audit: the row of the dump was queued, and was cancelled on the spot."""
    launched = client.launch("quick", project=1, user=7, media_ids=[1])
    async with stepping(impatient) as steps:
        await cut(steps, launched.gid)
        await asyncio.to_thread(dump, engine)
        async with tracking(impatient, steps):
            await run(client, steps, launched.gid, "Succeeded")
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    assert client.cancel(launched.gid).cancelling == 1
    assert [job.status for job in client.list(gid=launched.gid)] == ["Cancelling"]
    async with working(impatient) as steps:
        (job,) = await finished(client, launched.gid)
    assert job.status == "Succeeded"


async def test_a_job_that_is_cancelled_in_a_hold_and_had_not_run_is_cancelled_after_it(
    client: Client, impatient: Settings, engine: Engine, here: SimulatedConnection
) -> None:
    launched = client.launch("quick", project=1, user=7, media_ids=[1])
    async with working(impatient) as steps:
        await cut(steps, launched.gid)
        client.database_restored()
        client.cancel(launched.gid)
        await asyncio.to_thread(client.reconcile, Decisions(waiting="run"))
        await run(client, steps, launched.gid, "Cancelled")
