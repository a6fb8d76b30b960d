"""Everything that an audit runs, and what it knows of it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from argosy.batches import JobUids
from argosy.client import Client
from argosy.labels import LABEL_INSTALLATION
from argosy.store.installation import identity
from clusters.local.cluster import LocalCluster
from clusters.local.player import METADATA_ONLY
from tests.faults import servers
from tests.faults.processes import Fleet, Process
from tests.faults.proxy import Proxy
from tests.faults.witness import Witness
from tests.integration.api_server import ApiServer

EVERYWHERE = "/apis/argoproj.io/v1alpha1/workflows"

WORKERS, TRACKERS = 3, 2

PASSING = 2
"""Which place's namespace is deleted some time."""


@dataclass(frozen=True)
class Place:
    """A registered cluster: a namespace of the control plane, behind a proxy of its own."""

    name: str
    namespace: str
    token: str = field(repr=False)
    proxy: Proxy


@dataclass(frozen=True)
class Launched:
    """What a caller asked for, so that he can ask for it again; `media` is a query, or how many there are from the first on."""

    gid: UUID
    algorithm: str
    media: range | str
    uids: JobUids


@dataclass
class Site:
    """Everything that runs, and what the audit knows of it.

    Args:
        random: Of the plan.
        client: The callers'; its database is the relay's.
        local: The control plane.
        places: The clusters on it.
        workflows: Witness of them.
        pods: The same.
        fleet: The processes.
        relay: In front of PostgreSQL.
        standby: Follows the relay's target.
        valkey: Redis.
        platform: Who resolves media queries.
        directory: For files.
        left_out: Names of faults that are not to be dealt.
        launches: All that was asked for.
        expected: How each job may truthfully have ended.
        asked: The newest attempt that was asked for, of jobs that were tried again.
        aged: Jobs that may have been forgotten.
        unsure: Jobs whose commits may have been lost.
        losses: When the database became an older one.
        abandoned: The namespace that is gone for good, with its cluster.
    """

    random: random.Random
    client: Client
    local: LocalCluster
    places: list[Place]
    workflows: Witness
    pods: Witness
    fleet: Fleet
    relay: servers.Relay
    standby: servers.Postgres
    valkey: servers.Valkey
    platform: ApiServer
    directory: Path
    left_out: Collection[str] = ()
    workers: list[Process] = field(default_factory=list)
    trackers: list[Process] = field(default_factory=list)
    launches: dict[UUID, Launched] = field(default_factory=dict)
    expected: dict[UUID, set[str]] = field(default_factory=dict)
    asked: dict[UUID, int] = field(default_factory=dict)
    aged: set[UUID] = field(default_factory=set)
    unsure: set[UUID] = field(default_factory=set)
    losses: list[datetime] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    pickups: list[float] = field(default_factory=list)
    background: set["asyncio.Task[None]"] = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    halted: bool = False
    dealt: bool = False
    dumped: Path | None = None
    abandoned: str = ""

    async def launch(self, launched: Launched) -> None:
        """As often as it takes: with the same gid it is the same launch."""
        media: dict[str, Any] = (
            {"media_query": launched.media} if isinstance(launched.media, str) else {"media_ids": launched.media}
        )
        await persistent(
            lambda: self.client.launch(launched.algorithm, project=1, user=7, gid=launched.gid, token="canary", **media)
        )

    async def sql(self, query: str, **values: object) -> list[Any]:
        """Rows, once the database answers."""

        def ask() -> list[Any]:
            with self.client.engine.begin() as connection:
                return list(connection.execute(text(query), values).all())

        rows: list[Any] = await persistent(ask)
        return rows

    async def some(self, *states: str) -> UUID | None:
        """A job whose newest attempt is in one of these states."""
        rows = await self.sql(
            "SELECT a.uid FROM argosy.attempt a JOIN argosy.job j ON j.uid = a.uid AND j.attempt = a.number "
            "WHERE a.state = ANY (:states) ORDER BY a.uid DESC LIMIT 200",
            states=list(states),
        )
        uid: UUID | None = self.random.choice(rows).uid if rows else None
        return uid

    def later(self, work: Awaitable[None]) -> None:
        """Go on beside the plan."""
        task = asyncio.ensure_future(work)
        self.background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception() is None:  # else whoever waits for all of them is to hear of it
            self.background.discard(task)

    def start(self) -> None:
        """All processes, anew."""
        self.workers = [self.fleet.worker() for _ in range(WORKERS)]
        self.trackers = [self.fleet.tracker() for _ in range(TRACKERS)]


async def persistent(ask: Callable[[], Any]) -> Any:
    """What a caller does whose database blinks: the same again."""
    while True:
        try:
            return await asyncio.to_thread(ask)
        except OperationalError:
            await asyncio.sleep(0.2)


def held(site: Site) -> list[str]:
    """Names of the workflows that have finalizers."""
    selector = f"{LABEL_INSTALLATION}={identity(site.client.engine)}"
    found = told(
        site, EVERYWHERE, params={"labelSelector": selector}, headers={"Accept": METADATA_ONLY.format(list="List")}
    )
    return [item["metadata"]["name"] for item in found if item["metadata"].get("finalizers")]


def told(site: Site, path: str, **options: Any) -> list[dict[str, Any]]:
    """What an administrator is listed, once an apiserver that was restarted a moment ago is ready to; within a minute it is."""
    deadline = time.monotonic() + 60
    while (answer := site.local.admin.get(path, timeout=120, **options)).status_code == httpx.codes.TOO_MANY_REQUESTS:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["items"] or []
    return found
