"""Limits as the cluster itself sees them: never more unfinished workflows than allowed, with two workers that claim at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.kube.answers import Missing
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_INSTALLATION, LABEL_PROJECT
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store.installation import identity
from argosy.submit.run import Submitter
from tests.cluster.clusters import Cluster, delete
from tests.conftest import ROOT
from tests.support.queues import sql
from tests.support.stack import FINAL, Direct, until

ENDED = {"Succeeded", "Failed", "Error"}


class Two(Direct):
    """Every wake-up goes to two workers, which share nothing but the database."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.second = Submitter(self.engine, settings, self.clusters, identity(self.engine), "second")

    def submit(self, cluster_id: int) -> None:
        super().submit(cluster_id)
        asyncio.run_coroutine_threadsafe(self.second.run(cluster_id), self.loop)


class Observer:
    """Lists the cluster's workflows again and again; `seen` is how many were unfinished, by project, each time."""

    def __init__(self, workflows: Workflows, installation: str) -> None:
        self._workflows, self._selector = workflows, f"{LABEL_INSTALLATION}={installation}"
        self.seen: list[Counter[str]] = []

    async def watch(self) -> None:
        while True:
            items = (await self._workflows.page(self._selector)).items
            self.seen.append(
                Counter(
                    item["metadata"]["labels"][LABEL_PROJECT]
                    for item in items
                    if item.get("status", {}).get("phase") not in ENDED
                )
            )


@pytest.fixture
def registered(client: Client, cluster: Cluster) -> Client:
    client.add_cluster(
        name="here",
        host=cluster.at.host,
        port=cluster.at.port,
        cert=cluster.at.ca,
        token=cluster.at.token,
        namespace=cluster.at.namespace,
        service_account="argosy-job",
        default=True,
        max_active=7,
    )
    manifest = (ROOT / "manifests" / "hello.yaml").read_text()
    for project, name in ((1, "hello"), (2, "theirs")):
        client.register_algorithm(name=name, project=project, user=7, manifest=manifest, files_per_job=1)
    client.limit_project(1, "here", 3)
    return client


@pytest.fixture
async def observer(cluster: Cluster, engine: Engine) -> AsyncIterator[Observer]:
    """At work for as long as the test; what is left behind is taken away."""
    async with Connection(cluster.access("test", cluster.admin_token)) as connection:
        workflows = Workflows(connection)
        made = Observer(workflows, identity(engine))
        watching = asyncio.create_task(made.watch())
        yield made
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        for item in (await workflows.page(f"{LABEL_INSTALLATION}={identity(engine)}")).items:
            metadata = item["metadata"]
            with suppress(Missing):
                await workflows.release(metadata["name"], metadata["uid"], metadata.get("finalizers", []))
                await delete(connection, metadata["name"], metadata["uid"])


@pytest.fixture
async def two(registered: Client, settings: Settings) -> AsyncIterator[Two]:
    wakeups = Two(settings)
    tracker = asyncio.create_task(Tracker(wakeups.engine, settings, wakeups).run())
    yield wakeups
    tracker.cancel()
    await asyncio.gather(tracker, return_exceptions=True)
    await wakeups.clusters.close()
    wakeups.engine.dispose()


async def test_the_cluster_never_sees_more_than_its_limit_nor_a_projects_and_a_change_takes_effect(
    registered: Client, two: Two, observer: Observer, engine: Engine
) -> None:
    for name, project, jobs in (("hello", 1, 20), ("theirs", 2, 40)):
        registered.launch(name, project=project, user=7, media_ids=range(1, jobs + 1))

    def ended() -> int:
        return sum(job.status in FINAL for job in registered.list(limit=1000))

    def at_least(jobs: int) -> Callable[[int], bool]:
        return lambda count: count >= jobs

    await until(ended, at_least(20), 120)
    registered.update_cluster("here", max_active=2)
    unfinished = "SELECT count(*) FROM argosy.attempt WHERE state IN ('submitting', 'pending', 'running')"
    await until(lambda: sql(engine, unfinished)[0][0], lambda count: count <= 2, 120)
    # The list under way may have begun before.
    begun = len(observer.seen) + 1
    now = await asyncio.to_thread(ended)
    await until(ended, at_least(now + 4), 120)
    narrow = observer.seen[begun:]
    registered.update_cluster("here", max_active=7)
    widened = len(observer.seen)
    await until(ended, at_least(60), 120)

    assert max(seen.total() for seen in observer.seen) <= 7
    assert max(seen["1"] for seen in observer.seen) <= 3
    assert max(seen.total() for seen in narrow) in {1, 2}
    # Nor are the limits kept by doing nothing.
    assert max(seen.total() for seen in observer.seen[widened:]) > 2
    assert {job.status for job in registered.list(limit=1000)} == {"Succeeded"}
