"""Worlds whose database becomes an older one, or whose cluster another, and what is seen there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.kube.connection import Access
from argosy.launch.expand import expand
from argosy.recovery.custody import Held
from argosy.settings import Settings
from argosy.store import requests, tables
from tests.cluster.clusters import access
from tests.faults.conftest import Steps, manifest, register, stepping, tracking
from tests.support.stack import until


@pytest.fixture
def here(client: Client) -> Iterator[SimulatedConnection]:
    """The cluster "here"."""
    with SimulatedCluster(pod_seconds=0.05) as cluster:
        register(client, access(cluster.connection))
        yield cluster.connection


@pytest.fixture
def hostile(client: Client, here: SimulatedConnection) -> Iterator[Access]:
    """A second cluster, whose owner means harm."""
    with SimulatedCluster(pod_seconds=0.05) as cluster:
        at = access(cluster.connection)
        client.add_cluster(name="hostile", **fields(at))
        yield at


@pytest.fixture
def either(client: Client, hostile: Access) -> Client:
    """The algorithms "either" and, for ever, "either-long" may run on both clusters."""
    for name in ("here", "hostile"):
        client.update_cluster(name, labels={"gpu": "a"})
    for name, seconds in (("either", 0.05), ("either-long", 600.0)):
        client.register_algorithm(
            name=name, project=1, user=7, manifest=manifest(seconds), files_per_job=1, cluster_labels={"gpu": "a"}
        )
    return client


@pytest.fixture
def same_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers and database have the same clock, and no launch from right after a hold is taken for one from before."""
    monkeypatch.setattr(requests, "SKEW", timedelta(0))


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Steps]:
    async with stepping(settings) as steps, tracking(settings, steps):
        yield steps


async def cut(steps: Steps, gid: UUID) -> None:
    with steps.engine.begin() as database:
        database.execute(text("UPDATE argosy.launch SET next_try_at = clock_timestamp() - interval '1 second'"))
    await asyncio.to_thread(expand, steps.launching, gid)


async def run(client: Client, steps: Steps, gid: UUID, *statuses: str) -> None:
    """Cut and submit until the jobs stand so. A cluster that was found held is left alone for a while: it is asked again."""
    await cut(steps, gid)

    async def stand() -> list[str]:
        for cluster in await asyncio.to_thread(client.clusters):
            with suppress(Held):
                await steps.submitter.run(cluster.id)
        return [job.status for job in await asyncio.to_thread(client.list, gid=gid)]

    def stood(found: list[str]) -> bool:
        return found == list(statuses)

    await until(stand, stood, 60)


async def lost(client: Client, settings: Settings, engine: Engine) -> UUID:
    """A launch whose two jobs run, and of which the restored database knows nothing; every cluster is held."""
    await asyncio.to_thread(dump, engine)
    gid = uuid1()
    async with working(settings) as steps:
        client.launch("long", project=1, user=7, media_ids=[1, 2], gid=gid)
        await run(client, steps, gid, "Running", "Running")
    await asyncio.to_thread(restore, engine)
    client.database_restored()
    return gid


def unfinished(item: dict[str, Any]) -> bool:
    return item.get("status", {}).get("phase") not in {"Succeeded", "Failed", "Error"}


def strayed(engine: Engine) -> int:
    with engine.begin() as database:
        count: int = database.execute(text("SELECT count(*) FROM argosy.stray")).scalar_one()
        return count


def fields(at: Access, **others: Any) -> dict[str, Any]:
    """What registers a place."""
    return {"host": at.host, "port": at.port, "cert": at.ca, "token": at.token, "namespace": at.namespace} | others


TABLES = [table.name for table in tables.metadata.sorted_tables]
"""All of them, in an order in which rows can be written."""


def dump(engine: Engine) -> None:
    """As `pg_dump --schema argosy` does: all tables as they are at one moment."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        connection.execute(text("CREATE SCHEMA dump"))
        for table in TABLES:
            connection.execute(text(f"CREATE TABLE dump.{table} AS TABLE argosy.{table}"))


def restore(engine: Engine) -> None:
    """As `pg_restore` does, which makes triggers after the rows are there."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(f'argosy.{table}' for table in TABLES)}"))
        for table in TABLES:
            connection.execute(text(f"INSERT INTO argosy.{table} OVERRIDING SYSTEM VALUE TABLE dump.{table}"))
