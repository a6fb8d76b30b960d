"""What the processes tell Prometheus of the work: each figure counts what it says, and nothing else."""

import asyncio
import math
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from argosy.access import Clusters
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.processes.housekeeping import Housekeeping
from argosy.settings import Settings
from argosy.store import holds, leases
from tests.conftest import ROOT
from tests.support.queues import clusters, fill, sql
from tests.support.stack import Direct, finished, running, until


def shown(name: str, **labels: str) -> float:
    """A figure; NaN where it is not shown."""
    value = REGISTRY.get_sample_value(name, labels)
    return math.nan if value is None else value


def growing(name: str, **labels: str) -> Callable[[], float]:
    """By how much a counter grows from now on."""
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    return lambda: (REGISTRY.get_sample_value(name, labels) or 0.0) - before


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedConnection]:
    with SimulatedCluster() as cluster:
        yield cluster.connection


@pytest.fixture
def registered(client: Client, simulated: SimulatedConnection) -> Client:
    client.add_cluster(
        name="figured",
        host=simulated.host,
        port=simulated.port,
        cert=simulated.ca,
        token=simulated.token,
        namespace=simulated.namespace,
        default=True,
    )
    for name in ("hello", "flaky"):
        manifest = (ROOT / "manifests" / f"{name}.yaml").read_text()
        client.register_algorithm(name=name, project=1, user=7, manifest=manifest, files_per_job=2)
    return client


async def test_of_each_launch_the_way_to_its_first_workflow_is_timed_once(
    registered: Client, settings: Settings
) -> None:
    timed = growing("argosy_launch_to_create_seconds_count", cluster="figured")
    took = growing("argosy_launch_to_create_seconds_sum", cluster="figured")
    sent = growing("argosy_submit_seconds_count", cluster="figured")
    claims, asked = growing("argosy_claims_total", cluster="figured"), growing("argosy_database_seconds_count")
    first = registered.launch("hello", project=1, user=7, media_ids=range(1, 7))
    sql(registered.engine, "UPDATE argosy.launch SET created_at = created_at - interval '100 s'")
    after = registered.launch("hello", project=1, user=7, media_ids=[7], after=first.gid)
    async with running(settings):
        await finished(registered, after.gid)
    assert (timed(), sent()) == (1, 4)  # three jobs of the first launch; the other one waited for it
    assert took() >= 100
    assert claims() >= 2
    assert asked() > 10


async def test_a_create_that_is_not_sent_takes_no_time(registered: Client, settings: Settings) -> None:
    """With so short a lease every claim is over before anything may be sent."""
    returned = growing("argosy_submits_total", cluster="figured", outcome="returned")
    sent = growing("argosy_submit_seconds_count", cluster="figured")
    registered.launch("hello", project=1, user=7, media_ids=[1])
    async with running(settings.model_copy(update={"claim_lease": 1.1})):
        await until(returned, lambda count: count >= 1)
    assert sent() == 0


async def test_a_workflow_that_was_there_before_its_row_knew_is_an_adoption(
    registered: Client, settings: Settings, engine: Engine
) -> None:
    by_worker = growing("argosy_adoptions_total", cluster="figured", by="worker")
    by_tracker = growing("argosy_adoptions_total", cluster="figured", by="tracker")
    gid = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    forgotten = (
        "UPDATE argosy.attempt SET state = 'queued', k8s_uid = NULL, cluster_id = NULL, lease_until = NULL, tries = 0"
    )
    worker = Direct(settings)
    await asyncio.to_thread(worker.expand, gid)
    await until(lambda: registered.list(gid=gid)[0].status, "Pending".__eq__)
    sql(engine, forgotten)
    await worker.submitter.run(registered.clusters()[0].id)
    assert (by_worker(), by_tracker()) == (1, 0)
    sql(engine, forgotten)
    sql(engine, "UPDATE argosy.cluster SET paused_at = clock_timestamp()")  # so that no worker finds it first
    async with running(settings):
        await until(by_tracker, lambda count: count == 1)
    assert by_worker() == 1
    await worker.clusters.close()
    worker.engine.dispose()


def test_a_lease_that_ran_out_is_taken_over_and_one_that_was_released_is_not(engine: Engine) -> None:
    taken = growing("argosy_lease_takeovers_total", lease="cluster")

    def acquire(holder: str) -> None:
        with engine.begin() as connection:
            assert leases.acquire(connection, "cluster/1", holder, 20.0) is not None

    acquire("a")
    acquire("a")
    with engine.begin() as connection:
        leases.release(connection, "cluster/1", "a")
    acquire("b")
    assert taken() == 0
    sql(engine, "UPDATE argosy.lease SET until = clock_timestamp()")
    acquire("a")
    assert taken() == 1


@pytest.fixture
def housekeeping(engine: Engine, settings: Settings, client: Client) -> Housekeeping:
    clusters(client, "one", "two")
    return Housekeeping(engine, settings, Clusters(engine, settings), Direct.__new__(Direct))


async def test_how_clusters_stand_is_shown_with_reasons(housekeeping: Housekeeping, engine: Engine) -> None:
    sql(
        engine,
        "UPDATE argosy.cluster SET as_of = clock_timestamp() - interval '100 s', health = 'certificate', held_at = now(), "
        "held_reason = 'restored from a dump' WHERE name = 'one'",
    )
    await housekeeping._measure()
    assert 100 <= shown("argosy_cluster_status_age_seconds", cluster="one") < 200
    assert shown("argosy_cluster_down", cluster="one", reason="certificate") == 1
    assert shown("argosy_cluster_held", cluster="one", why="restored") == 1
    assert shown("argosy_cluster_held", cluster="two", why="restored") == 0
    sql(engine, "UPDATE argosy.cluster SET health = 'ok', held_reason = :doubted", doubted=holds.DOUBTED)
    await housekeeping._measure()
    assert math.isnan(shown("argosy_cluster_down", cluster="one", reason="certificate"))
    assert shown("argosy_cluster_held", cluster="one", why="restored") == 0
    assert shown("argosy_cluster_held", cluster="one", why="doubt") == 1


async def test_a_cluster_has_work_while_it_has_room_and_somebody_waits(
    housekeeping: Housekeeping, engine: Engine
) -> None:
    await housekeeping._measure()
    assert shown("argosy_cluster_with_work", cluster="one") == 0
    with engine.begin() as connection:
        fill(connection, 1, 1)
    await housekeeping._measure()
    assert (shown("argosy_cluster_with_work", cluster="one"), shown("argosy_cluster_with_work", cluster="two")) == (
        1,
        0,
    )
    sql(engine, "UPDATE argosy.cluster SET max_active = 0")
    await housekeeping._measure()
    assert shown("argosy_cluster_with_work", cluster="one") == 0


async def test_a_notification_that_its_receiver_refuses_gets_older_but_is_not_overdue(
    housekeeping: Housekeeping, engine: Engine, client: Client
) -> None:
    gid = client.launch("hello", project=1, user=7, media_ids=[1]).gid
    sql(
        engine,
        "INSERT INTO argosy.outbox (gid, project, kind, recipient, key, body, created_at, next_try_at) VALUES "
        "(:gid, 1, 'webhook', 'https://example.org', 'k', '{}', now() - interval '500 s', now() + interval '60 s')",
        gid=gid,
    )
    await housekeeping._measure()
    assert 500 <= shown("argosy_outbox_oldest_age_seconds", kind="webhook") < 600
    assert shown("argosy_outbox_overdue_seconds", kind="webhook") == 0
    assert shown("argosy_outbox_oldest_age_seconds", kind="email") == 0
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now() - interval '50 s'")
    await housekeeping._measure()
    assert 50 <= shown("argosy_outbox_overdue_seconds", kind="webhook") < 100


async def test_a_launch_that_nobody_works_on_is_overdue_and_one_that_waits_for_another_is_not(
    housekeeping: Housekeeping, engine: Engine, client: Client
) -> None:
    first = client.launch("hello", project=1, user=7, media_ids=[1]).gid
    client.launch("hello", project=1, user=7, media_ids=[1], after=first)
    await housekeeping._measure()
    assert shown("argosy_launch_overdue_seconds", state="accepted") < 50
    sql(engine, "UPDATE argosy.launch SET next_try_at = now() - interval '50 s' WHERE gid = :gid", gid=first)
    sql(engine, "UPDATE argosy.launch SET next_try_at = now() - interval '500 s' WHERE gid <> :gid", gid=first)
    await housekeeping._measure()
    assert 50 <= shown("argosy_launch_overdue_seconds", state="accepted") < 100
    sql(engine, "UPDATE argosy.launch SET next_try_at = now() + interval '15 s'")
    await housekeeping._measure()
    assert shown("argosy_launch_overdue_seconds", state="accepted") == 0
