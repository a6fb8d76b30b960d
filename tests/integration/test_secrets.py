"""Secrets and tokens of launches: when they go, and that none goes under a job that needs it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, event

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.errors import Conflict
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_GID, LABEL_INSTALLATION
from argosy.launch.expand import Launching, expand
from argosy.processes.housekeeping import Housekeeping
from argosy.recovery.custody import Custody
from argosy.settings import Settings
from argosy.states import State
from argosy.store import queue, retries, secrets, strays, tracking
from argosy.store.installation import identity
from argosy.store.registered import Cluster
from argosy.submit.run import Submitter
from tests.integration.races import with_old_eyes
from tests.support.jobs import claim, created, end, launched, record, registered, run, stage, statuses
from tests.support.manifests import LONG
from tests.support.queues import clusters, sql
from tests.support.stack import Direct

__all__ = ["registered", "stage"]


async def test_a_secret_is_not_deleted_under_a_job_that_was_told_to_go_ahead(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="first")
    (first,) = claim(engine)
    secrets.intend(engine, gid, 1)
    record(engine, queue.Ended(first.uid, first.number, first.epoch, "lost", "why"))
    launched(registered, stage, 1)  # at which the look stops
    async with with_old_eyes(engine, secrets.due) as looking:
        assert registered.retry(gid) == 1
        assert [again.number for again in claim(engine) if again.gid == gid] == [2]
        secrets.intend(engine, gid, 1)
    assert await looking == []
    assert sql(engine, "SELECT deleting FROM argosy.launch_secret") == [(False,)]


def test_a_job_that_asks_for_a_secret_whose_deletion_is_settled_in_the_middle_of_it_waits(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="first")
    secrets.intend(engine, gid, 1)
    sql(engine, "UPDATE argosy.launch_secret SET deleting = true")

    def settle(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            with engine.begin() as connection:
                secrets.settle(connection, secrets.Debt(gid, 1))

    event.listen(engine, "after_cursor_execute", settle)
    with pytest.raises(Conflict, match="made again"):
        secrets.intend(engine, gid, 1)


def test_no_secret_is_written_down_on_a_cluster_that_was_removed(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """Nobody could delete it, and its launch would never be forgotten."""
    gid = launched(registered, stage, 1, token="first")
    sql(engine, "UPDATE argosy.cluster SET removed_at = now()")
    with pytest.raises(Conflict, match="was removed"):
        secrets.intend(engine, gid, 1)
    assert sql(engine, "SELECT FROM argosy.launch_secret") == []


def test_the_token_of_a_job_that_waits_for_its_automatic_retry_is_not_wiped(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """No cluster carries its labels at the moment; when one does again, its pods need the token."""
    registered.update_cluster("c", labels={"gpu": "a100"})
    registered.update_algorithm("stubborn", cluster_labels={"gpu": "a100"})
    gid = launched(registered, stage, 1, "stubborn", token="first")
    claimed = claim(engine)
    record(engine, *(created(waiting) for waiting in claimed))
    registered.update_cluster("c", labels={})
    end(engine, claimed[0], State.ERROR)
    assert statuses(registered, gid) == ["Error"]
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 0
        assert retries.follow(connection) == 0
    registered.update_cluster("c", labels={"gpu": "a100"})
    with engine.begin() as connection:
        assert retries.follow(connection) == 1
        assert secrets.wipe_tokens(connection) == 0
    assert statuses(registered, gid) == ["Queued"]


def test_the_token_of_a_job_that_no_cluster_will_ever_take_again_is_wiped(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn", token="first")
    claimed = claim(engine)
    record(engine, *(created(waiting) for waiting in claimed))
    sql(engine, "UPDATE argosy.cluster SET removed_at = now()")
    end(engine, claimed[0], State.ERROR)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    assert statuses(registered, gid) == ["Error"]


async def test_what_waits_for_its_automatic_retry_needs_nobody_elses_end(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, State.FAILED)
    sql(engine, "UPDATE argosy.attempt SET state = 'lost', retries_left = 1")
    worker = Direct(settings)
    for chore in Housekeeping(engine, settings, worker.clusters, worker).chores():
        if chore.__name__ == "_follow":
            await chore()
    assert statuses(registered, gid) == ["Queued"]


async def gone(secrets: Secrets, gid: UUID) -> None:
    for found in await secrets.found({LABEL_GID: str(gid)}):
        await secrets.delete(found.name, found.uid)


WITH_TOKEN = LONG + '          - {name: TOKEN, value: "{{workflow.parameters.rest_token}}"}\n'


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedConnection]:
    with SimulatedCluster() as cluster:
        yield cluster.connection


@pytest.fixture
async def there(client: Client, simulated: SimulatedConnection, settings: Settings) -> AsyncIterator[Direct]:
    """A worker and one cluster, "c", whose jobs need their launch's token."""
    client.add_cluster(
        name="c",
        host=simulated.host,
        port=simulated.port,
        cert=simulated.ca,
        token=simulated.token,
        namespace=simulated.namespace,
        default=True,
    )
    client.register_algorithm(name="with-token", project=1, user=7, manifest=WITH_TOKEN, files_per_job=1)
    direct = Direct(settings)
    yield direct
    await direct.clusters.close()
    direct.engine.dispose()


def ended(engine: Engine, gid: UUID) -> None:
    """End what was created of a launch, as the tracker would, once that is recorded."""
    query = "SELECT uid, number, cluster_id, name, k8s_uid FROM argosy.attempt WHERE gid = :gid AND state = 'pending'"
    while not (rows := sql(engine, query, gid=gid)):
        pass
    with engine.begin() as connection:
        tracking.known(connection, [(row.uid, row.number) for row in rows], 1)
        tracking.change(
            connection,
            [
                tracking.Change(
                    row.uid, row.number, row.cluster_id, row.name, State.FAILED, row.k8s_uid, "why", "", None, None
                )
                for row in rows
            ],
        )


async def test_a_secret_that_went_between_two_claims_of_one_pass_is_made_again_with_the_new_token(
    client: Client, there: Direct, settings: Settings, engine: Engine
) -> None:
    gid = client.launch("with-token", project=1, user=7, media_ids=[1], token="first").gid
    await asyncio.to_thread(expand, there.launching, gid)
    loop, connection = asyncio.get_running_loop(), (await there.clusters.reach(1)).connection
    calls, ours = count(1), {LABEL_INSTALLATION: identity(engine)}

    class Slow(Submitter):
        """Between its first claim and its second everything ends, is cleaned up and begins anew."""

        def _claim_batch(self, cluster: Cluster, custody: Custody) -> Any:
            if next(calls) == 2:
                ended(engine, gid)
                with engine.begin() as database:
                    (debt,) = secrets.due(database)
                asyncio.run_coroutine_threadsafe(gone(Secrets(connection), gid), loop).result()
                with engine.begin() as database:
                    secrets.settle(database, debt)
                    assert secrets.wipe_tokens(database) == 1
                assert client.retry(gid, token="second") == 1
            return super()._claim_batch(cluster, custody)

    await Slow(engine, settings, there.clusters, identity(engine), "w").run(1)
    assert sql(engine, "SELECT number, state FROM argosy.attempt ORDER BY 1") == [(1, "failed"), (2, "pending")]
    assert sql(engine, "SELECT gid, deleting FROM argosy.launch_secret") == [(gid, False)]
    assert [found.gid for found in await Secrets(connection).found(ours)] == [gid]


async def test_a_secret_whose_row_the_database_has_lost_goes_when_nobody_needs_it(
    client: Client, there: Direct, settings: Settings, engine: Engine
) -> None:
    """A dump from before its launch's first job there: found by the audit as left behind for ever."""
    gid = client.launch("with-token", project=1, user=7, media_ids=[1], token="first").gid
    await asyncio.to_thread(expand, there.launching, gid)
    await there.submitter.run(1)
    sql(engine, "DELETE FROM argosy.launch_secret")
    connection = (await there.clusters.reach(1)).connection
    ours = {LABEL_INSTALLATION: identity(engine)}

    async def kept() -> bool:
        housekeeping = Housekeeping(engine, settings, there.clusters, there)
        await housekeeping._find_secrets()
        await asyncio.gather(*housekeeping._tasks.values())
        await housekeeping._delete_secrets()
        await asyncio.gather(*housekeeping._tasks.values())
        return [found.gid for found in await Secrets(connection).found(ours)] == [gid]

    assert await kept()
    assert sql(engine, "SELECT FROM argosy.launch_secret") == [], "whose cluster is not followed may be another's"
    sql(engine, "UPDATE argosy.cluster SET health = 'ok'")
    assert await kept()
    assert sql(engine, "SELECT gid, cluster_id FROM argosy.launch_secret") == [(gid, 1)]
    sql(engine, "UPDATE argosy.attempt SET state = 'lost', finished_at = now()")
    assert not await kept()
    assert sql(engine, "SELECT FROM argosy.launch_secret") == []


async def test_a_retry_with_a_new_token_runs_with_it_where_tokens_go_in_clear(
    client: Client, there: Direct, engine: Engine
) -> None:
    client.update_cluster("c", token_in_clear=True)
    gid = client.launch("with-token", project=1, user=7, media_ids=[1], token="first-token").gid
    await asyncio.to_thread(expand, there.launching, gid)
    await there.submitter.run(1)
    ended(engine, gid)
    with engine.begin() as database:
        assert secrets.wipe_tokens(database) == 1
    assert not there.submitter._renderers._kept, "nothing is kept of a token that was wiped"
    client.retry(gid, token="second-token")
    await there.submitter.run(1)
    page = await Workflows((await there.clusters.reach(1)).connection).page(f"{LABEL_INSTALLATION}={identity(engine)}")
    tokens = {
        item["metadata"]["name"][-2:]: parameter["value"]
        for item in page.items
        for parameter in item["spec"]["arguments"]["parameters"]
        if parameter["name"] == "rest_token"
    }
    assert tokens == {"-1": "first-token", "-2": "second-token"}


async def test_a_former_housekeeper_deletes_no_secret_that_a_retry_has_made_anew(
    client: Client, there: Direct, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process stood still in the middle, and its lease ran out."""
    gid = client.launch("with-token", project=1, user=7, media_ids=[1], token="first").gid
    await asyncio.to_thread(expand, there.launching, gid)
    await there.submitter.run(1)
    ended(engine, gid)
    go_on, arrived, real = asyncio.Event(), asyncio.Event(), Secrets.delete

    async def standing_still(self: Secrets, name: str, uid: str) -> None:
        arrived.set()
        await go_on.wait()
        await real(self, name, uid)

    former, present = (Housekeeping(engine, settings, there.clusters, there) for _ in range(2))
    with monkeypatch.context() as context:
        context.setattr(Secrets, "delete", standing_still)
        await former._delete_secrets()
        await arrived.wait()
    await present._delete_secrets()
    await asyncio.gather(*present._tasks.values())
    with engine.begin() as database:
        assert secrets.wipe_tokens(database) == 1
    assert client.retry(gid, token="second") == 1
    await there.submitter.run(1)
    go_on.set()
    await asyncio.gather(*former._tasks.values())
    await former._delete_secrets()
    await asyncio.gather(*former._tasks.values())
    assert sql(engine, "SELECT number, state FROM argosy.attempt ORDER BY 1") == [(1, "failed"), (2, "pending")]
    assert sql(engine, "SELECT deleting FROM argosy.launch_secret") == [(False,)]
    assert await Secrets((await there.clusters.reach(1)).connection).found({LABEL_GID: str(gid)})


def test_the_secrets_of_a_cluster_that_does_not_answer_keep_no_others_waiting(client: Client, engine: Engine) -> None:
    clusters(client, "silent", "other")
    many = (
        "INSERT INTO argosy.launch_secret (gid, cluster_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10000)"
    )
    sql(engine, many)
    sql(engine, "INSERT INTO argosy.launch_secret (gid, cluster_id) SELECT gen_random_uuid(), 2")
    with engine.begin() as connection:
        due = secrets.due(connection)
    assert [debt.cluster_id for debt in due if debt.cluster_id != 1] == [2]
    assert len(due) == 101


def test_a_cluster_with_workflows_of_lost_jobs_is_not_removed_without_a_word(client: Client, engine: Engine) -> None:
    """What runs there would lose its Secret, and a launch that is repeated would run again elsewhere."""
    clusters(client, "c")
    with engine.begin() as connection:
        strays.note(connection, 1, [strays.Stray("k", uuid1(), 1, uuid1(), "job")])
    client.remove_algorithm("hello")
    with pytest.raises(Conflict, match="1 workflow of jobs that this database does not know"):
        client.remove_cluster("c")
    client.remove_cluster("c", abandon=True)
    assert client.clusters() == []
