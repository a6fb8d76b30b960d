"""A cluster that pushes back or fails is left alone by all workers; one tenant's creates that it chokes on stop no other (P7)."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.scheduling import pace
from argosy.settings import Settings
from tests.faults.actions import Action, Answer, Hold, HoldAnswer, Request, status_body
from tests.faults.conftest import Steps, become, manifest, stepping
from tests.faults.proxy import Proxy
from tests.support.queues import sql
from tests.support.stack import until


@pytest.fixture
def hasty(impatient: Settings) -> Settings:
    """A create that is not answered is given up soon."""
    return impatient.model_copy(update={"request_timeout": 1.0, "claim_lease": 20.0})


@pytest.fixture
async def workers(proxied: Client, hasty: Settings, there: Connection) -> AsyncIterator[tuple[Steps, Steps]]:
    """Two that share nothing but the database."""
    for project in (2, 3):
        proxied.register_algorithm(
            name=f"quick-{project}", project=project, user=7, manifest=manifest(0.05), files_per_job=1
        )
    async with stepping(hasty) as one, stepping(hasty) as two:
        yield one, two


def launched(client: Client, worker: Steps, jobs: int, project: int = 1) -> list[UUID]:
    """The uids of jobs that are queued."""
    name = "quick" if project == 1 else f"quick-{project}"
    found = client.launch(name, project=project, user=7, media_ids=range(1, jobs + 1))
    worker.expand(found.gid)
    return found.uids


def time_has_come(worker: Steps) -> None:
    """What is to wait need not any more."""
    sql(worker.engine, "UPDATE argosy.cluster SET open_until = clock_timestamp() - interval '1 s'")
    sql(
        worker.engine,
        "UPDATE argosy.attempt SET not_before = clock_timestamp() - interval '1 s' WHERE state = 'queued'",
    )
    past = "UPDATE argosy.attempt SET lease_until = clock_timestamp() - interval '1 s' WHERE state = 'submitting'"
    sql(worker.engine, past)


def choke(proxy: Proxy, *uids: UUID) -> None:
    """Creates of these jobs are never answered, and never happen."""
    never = asyncio.Event()

    def decide(request: Request) -> Action | None:
        ours = request.verb == "create" and any(str(uid) in request.name for uid in uids)
        return Hold(never) if ours else None

    proxy.decide = decide


def created(proxy: Proxy, uids: list[UUID]) -> int:
    """How many creates of these jobs the cluster has answered with yes."""
    return sum(
        exchange.status == 201 and any(str(uid) in exchange.request.name for uid in uids)
        for exchange in proxy.saw("create")
    )


async def test_what_one_worker_is_told_to_wait_holds_for_all_and_then_everything_goes_on(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    one, two = workers
    body = status_body(429, "TooManyRequests", "please be patient")
    proxy.on(Answer(429, body, {"Retry-After": "12"}), verb="create", resource="workflows")
    uids = launched(proxied, one, 1)
    await one.submitter.run(1)
    uids += launched(proxied, one, 3)
    assert "the cluster asks to wait: please be patient" in proxied.cluster("here").open_reason
    # Its words are told of the job that it was asked for.
    messages = [proxied.get(uid).message for uid in uids]
    assert messages == [
        "the cluster asks to wait: please be patient",
        *["cluster here is left alone for a while"] * 3,
    ]
    await two.submitter.run(1)
    assert len(proxy.saw("create")) == 1

    async def all_created() -> bool:
        await two.submitter.run(1)
        return created(proxy, uids) == 4

    await become(bool, all_created)
    first, *others = proxy.saw("create")
    assert min(exchange.came for exchange in others) - first.came >= 12


async def test_a_shorter_wait_takes_nothing_from_a_longer_one(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    """Both creates are under way when the cluster begins to push back."""
    one, two = workers
    second = asyncio.Event()
    body = status_body(429, "TooManyRequests", "later")
    proxy.on(Answer(429, body, {"Retry-After": "1"}, second), verb="create", resource="workflows")
    proxy.on(Answer(429, body, {"Retry-After": "50"}), verb="create", resource="workflows")
    launched(proxied, one, 1)
    first_run = asyncio.create_task(one.submitter.run(1))
    await until(lambda: len(proxy.saw("create")), lambda count: count == 1)
    launched(proxied, two, 1)
    await two.submitter.run(1)
    until_then = proxied.cluster("here").open_until
    second.set()
    await first_run
    assert proxied.cluster("here").open_until == until_then


async def test_a_cluster_that_refuses_connections_gets_one_probe_whose_answer_lets_all_go_on(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    one, two = workers
    uids = launched(proxied, one, 6)
    await proxy.down()
    await one.submitter.run(1)
    assert "unreachable" in proxied.cluster("here").open_reason
    await proxy.up()
    await two.submitter.run(1)
    assert proxy.saw("create") == []

    time_has_come(one)
    answered = asyncio.Event()
    probe = proxy.on(HoldAnswer(answered), verb="create", resource="workflows")
    runs = [asyncio.create_task(worker.submitter.run(1)) for worker in workers]
    await asyncio.wait_for(probe.hit.wait(), 30)
    await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    for worker, run in zip(workers, runs, strict=True):
        if run.done():
            await worker.submitter.run(1)  # a wake-up more changes nothing
    assert len(proxy.saw("create")) == 1
    answered.set()
    await asyncio.gather(*runs)
    assert created(proxy, uids) == 6
    assert (proxied.cluster("here").open_reason, proxied.cluster("here").open_until) == ("", None)


async def test_a_probe_that_fails_leaves_the_cluster_alone_for_longer(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    one, _ = workers
    launched(proxied, one, 3)
    await proxy.down()
    left = "SELECT extract(epoch FROM open_until - clock_timestamp()), open_tries FROM argosy.cluster"
    for at_least, tries in ((0, 1), (5, 2), (10, 3)):
        await one.submitter.run(1)
        ((seconds, counted),) = sql(one.engine, left)
        assert (counted, seconds > at_least) == (tries, True)
        time_has_come(one)


@pytest.mark.parametrize("jobs", [1, 15])
async def test_creates_of_one_tenant_that_are_never_answered_stop_nobody_else(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps], jobs: int
) -> None:
    one, _ = workers
    choke(proxy, *launched(proxied, one, jobs))
    await one.submitter.run(1)
    assert proxied.cluster("here").open_reason == ""
    others = launched(proxied, one, 3, project=2)
    await one.submitter.run(1)
    assert created(proxy, others) == 3
    assert {job.status for job in proxied.list(project=1)} == {"Submitting"}


async def test_creates_of_two_tenants_do_not_open_it_and_of_three_do(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    one, two = workers
    uids = [uid for project in (1, 2) for uid in launched(proxied, one, 2, project)]
    choke(proxy, *uids)
    await one.submitter.run(1)
    assert proxied.cluster("here").open_reason == ""
    choke(proxy, *uids, *launched(proxied, one, 1, 3))
    await one.submitter.run(1)
    assert "creates get no clear answer" in proxied.cluster("here").open_reason
    before = len(proxy.saw("create"))
    launched(proxied, two, 1)
    await two.submitter.run(1)
    assert len(proxy.saw("create")) == before


async def test_many_unclear_creates_of_one_tenant_open_it_and_another_tenants_job_is_the_probe(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    """Else each probe were one more of those that the cluster chokes on."""
    one, two = workers
    choking = launched(proxied, one, 17)
    choke(proxy, *choking)
    await one.submitter.run(1)
    assert "creates get no clear answer" in proxied.cluster("here").open_reason
    others = launched(proxied, two, 2, project=2)
    time_has_come(one)
    await two.submitter.run(1)
    assert created(proxy, others) == 2


async def test_one_tenants_unclear_creates_halve_the_window_once(
    proxied: Client, proxy: Proxy, workers: tuple[Steps, Steps]
) -> None:
    """Else the jobs that hang would fill what is left of it, and nobody else had a slot."""
    one, _ = workers
    choke(proxy, *launched(proxied, one, 3))
    for _ in range(3):
        await one.submitter.run(1)
        assert proxied.cluster("here").window == pace.FIRST // 2
        time_has_come(one)
        sql(one.engine, "UPDATE argosy.cluster SET slowed_at = slowed_at - interval '1 min'")
