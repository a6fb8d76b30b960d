"""A person lets a held cluster go on while its tracker looks at the mark: it goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.demo.simulator import SimulatedConnection
from argosy.kube.connection import Connection
from argosy.kube.marks import Marks
from argosy.recovery.custody import Custody
from argosy.store import holds, leases
from argosy.store.installation import identity
from tests.cluster.clusters import access
from tests.support.held import here
from tests.support.queues import sql

__all__ = ["here"]

Looking = tuple[Custody, Custody, Marks, tuple[str, int]]


@pytest.fixture
async def looking(client: Client, engine: Engine, here: SimulatedConnection) -> AsyncIterator[Looking]:
    """The custody of a tracker and of a person, the cluster's mark, and the tracker's lease."""
    lease = leases.of_cluster(1)
    with engine.begin() as database:
        epoch = leases.acquire(database, lease, "tracker", 60)
    assert epoch is not None
    async with Connection(access(here)) as there:
        ((version,),) = sql(engine, "SELECT credential_version FROM argosy.cluster")
        tracker, person = (Custody(engine, there, 1, version, identity(engine)) for _ in range(2))
        for _ in range(2):
            await tracker.keep(lease, epoch)
        yield tracker, person, Marks(there, identity(engine)), (lease, epoch)


async def test_a_tracker_that_looked_before_the_cluster_was_let_go_on_does_not_hold_it_again(
    client: Client, engine: Engine, looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, person, _, fence = looking
    sql(engine, "UPDATE argosy.cluster SET epoch = 0")  # as after a restore
    client.database_restored()
    loop, real = asyncio.get_running_loop(), Custody._hold

    def late(self: Custody, *arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(person.accept(), loop).result()
        real(self, *arguments)

    monkeypatch.setattr(Custody, "_hold", late)
    assert "older than the cluster" in (await tracker.keep(*fence)).why
    assert client.held() == {}
    assert (await tracker.keep(*fence)).why == ""


async def test_a_cluster_goes_on_only_when_its_mark_is_this_databases(
    client: Client, engine: Engine, looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a tracker that looks in between takes this database for a copy of the one that the mark names."""
    tracker, person, marks, fence = looking
    mark = await marks.read()
    assert mark is not None
    with engine.begin() as database:
        await marks.write(mark, "another/1", mark.epoch + 1, holds.now(database))
    assert "another database" in (await tracker.keep(*fence)).why
    real = Marks.write

    async def late(self: Marks, *arguments: Any) -> None:
        await tracker.keep(*fence)
        await real(self, *arguments)

    monkeypatch.setattr(Marks, "write", late)
    await person.accept()
    assert client.held() == {}
    monkeypatch.setattr(Marks, "write", real)
    assert (await tracker.keep(*fence)).why == ""
