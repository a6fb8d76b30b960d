"""The plan of an audit: what is done to the jobs on purpose, and what goes wrong around them.

Faults are dealt from a shuffled deck, so that a short run has each kind too; those of single requests are drawn by the proxy. What is done
to a job on purpose is written down in `expected`, because that and its algorithm are all that its end can truthfully come from.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest
from argosy.failpoints import NAMES
from argosy.shapes import JobShape
from argosy.wakeups import WakeUps, broker
from clusters.local.cluster import LocalCluster
from tests.faults import servers
from tests.faults.processes import WORKFLOWS, Fleet, Process
from tests.faults.proxy import (
    CUTS,
    Action,
    Answer,
    Cut,
    Drop,
    Hold,
    HoldAnswer,
    Proxy,
    Request,
    Sever,
    Swallow,
    status_body,
)

FAULT_CHANCE = 0.04
"""Of a request to the apiserver."""


@dataclass
class Site:
    """Everything that runs, and what the audit knows of it."""

    random: random.Random
    client: Client
    local: LocalCluster
    proxy: Proxy
    fleet: Fleet
    postgres: servers.Postgres
    valkey: servers.Valkey
    workers: list[Process] = field(default_factory=list)
    trackers: list[Process] = field(default_factory=list)
    uids: list[UUID] = field(default_factory=list)
    expected: dict[UUID, set[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    pickups: list[float] = field(default_factory=list)
    background: set["asyncio.Task[None]"] = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)

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
            "WHERE a.state = ANY (:states) ORDER BY a.uid LIMIT 200",
            states=list(states),
        )
        uid: UUID | None = self.random.choice(rows).uid if rows else None
        return uid

    def later(self, work: Awaitable[None]) -> None:
        """Go on beside the plan."""
        task = asyncio.ensure_future(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)


async def persistent(ask: Callable[[], Any]) -> Any:
    """What a caller does whose database blinks: the same again."""
    while True:
        try:
            return await asyncio.to_thread(ask)
        except OperationalError:
            await asyncio.sleep(0.2)


async def cancel(site: Site) -> None:
    """A job, or a whole launch."""
    uid = await site.some("queued", "submitting", "pending", "running")
    if uid is None:
        return
    job: JobShape = await persistent(lambda: site.client.get(uid))
    group = site.random.random() < 0.2
    key = job.gid if group else uid
    hit = (
        [found.uid for found in await persistent(lambda: site.client.list(gid=job.gid, limit=1000))] if group else [uid]
    )
    for each in hit:
        site.expected[each].add("Cancelled")
    await persistent(lambda: site.client.cancel(key))


async def delete_workflow(site: Site) -> None:
    """Somebody deletes a running workflow."""
    uid = await site.some("running")
    if uid is None:
        return
    job: JobShape = await persistent(lambda: site.client.get(uid))
    if job.id is not None and job.status == "Running":
        site.expected[uid].add("Deleted")
        with suppress(httpx.TransportError):
            await asyncio.to_thread(site.local.admin.delete, f"{WORKFLOWS}/{job.id}")


async def retry(site: Site) -> None:
    """Somebody tries again what failed."""
    uid = await site.some("failed", "cancelled", "deleted")
    if uid is not None:
        with suppress(Conflict, InvalidRequest):  # its token was wiped, or is in use
            await persistent(lambda: site.client.retry(uid, token=None))


async def kill_worker(site: Site) -> None:
    """The one that holds most claims, at a moment when it holds some; how long until others have picked them up."""
    deadline = time.monotonic() + 8
    while True:
        held: list[Any] = await site.sql(
            "SELECT uid, number, claim_epoch, split_part(claim_worker, '/', 2)::int AS pid FROM argosy.attempt "
            "WHERE state = 'submitting' AND lease_until > clock_timestamp()"
        )
        by_worker = {worker: [row for row in held if row.pid in worker.pids()] for worker in site.workers}
        victim = max(by_worker, key=lambda worker: len(by_worker[worker]))
        if by_worker[victim] or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    victim.kill()
    site.later(pickup(site, by_worker[victim], time.monotonic()))
    site.workers[site.workers.index(victim)] = site.fleet.worker(failpoint(site, "submit.", "launch."))


async def pickup(site: Site, held: list[Any], since: float) -> None:
    """Measure until each of these claims is somebody else's, or resolved."""
    waiting = {(row.uid, row.number): row.claim_epoch for row in held}
    while waiting:
        rows = await site.sql(
            "SELECT uid, number, claim_epoch, state FROM argosy.attempt WHERE uid = ANY (:uids)",
            uids=[uid for uid, _ in waiting],
        )
        for row in rows:
            epoch = waiting.get((row.uid, row.number))
            if epoch is not None and (row.claim_epoch != epoch or row.state != "submitting"):
                del waiting[row.uid, row.number]
                site.pickups.append(time.monotonic() - since)
        await asyncio.sleep(0.1)


async def kill_tracker(site: Site) -> None:
    """Either of them."""
    victim = site.random.choice(site.trackers)
    victim.kill()
    site.trackers[site.trackers.index(victim)] = site.fleet.tracker(failpoint(site, "track."))


def failpoint(site: Site, *prefixes: str) -> str:
    """Half of the new processes die once more, at a named place."""
    names = sorted(name for name in NAMES if name.startswith(prefixes) and name != "launch.accepted")
    return f"{site.random.choice(names)}=kill@{site.random.randint(1, 20)}" if site.random.random() < 0.5 else ""


async def freeze_worker(site: Site) -> None:
    """For longer than a lease, now and then."""
    site.later(frozen(site.random.choice(site.workers), site.random.choice((3.0, 8.0, 25.0))))


async def freeze_tracker(site: Site) -> None:
    site.later(frozen(site.random.choice(site.trackers), site.random.choice((3.0, 8.0, 20.0))))


async def frozen(process: Process, seconds: float) -> None:
    process.freeze()
    await asyncio.sleep(seconds)
    process.resume()


async def flush_valkey(site: Site) -> None:
    with suppress(redis.RedisError):
        await asyncio.to_thread(redis.Redis.from_url(site.valkey.url).flushall)


async def restart_valkey(site: Site) -> None:
    await asyncio.to_thread(site.valkey.restart)


async def restart_postgres(site: Site) -> None:
    await asyncio.to_thread(site.postgres.restart)


async def break_sessions(site: Site) -> None:
    """Every connection to the database is cut, wherever its transaction is."""
    await site.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def restart_apiserver(site: Site) -> None:
    """Argo's controller too: it leaves a workflow whose update failed in this moment alone until its resync, 20 minutes later."""
    await asyncio.to_thread(site.local.apiserver.restart)
    await asyncio.to_thread(site.local.argo.restart)


async def compact(site: Site) -> None:
    await asyncio.to_thread(site.local.compact)


async def redeliver(site: Site) -> None:
    """Wake-ups that nobody needs, many times over."""

    def send() -> None:
        wakeups = WakeUps(broker(site.client.settings))
        for gid in {launch.gid for launch in site.client.launches(limit=5)}:
            for _ in range(3):
                wakeups.expand(gid)
                wakeups.submit(1)

    with suppress(redis.RedisError, OperationalError):
        await asyncio.to_thread(send)


async def cluster_away(site: Site) -> None:
    """Refused connections for some seconds."""
    await site.proxy.down()
    await asyncio.sleep(site.random.uniform(1, 6))
    await site.proxy.up()


FAULTS: list[Callable[[Site], Awaitable[None]]] = [
    *(cancel,) * 6, *(delete_workflow,) * 2, *(retry,) * 3, *(kill_worker,) * 2, kill_tracker, freeze_worker, freeze_tracker,
    flush_valkey, restart_valkey, restart_postgres, break_sessions, restart_apiserver, compact, redeliver, cluster_away,
]  # fmt: skip


def meddler(chance: random.Random) -> Callable[[Request], Action | None]:
    """What becomes of single requests."""

    def later(seconds: float) -> asyncio.Event:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, event.set)
        return event

    def decide(request: Request) -> Action | None:
        if chance.random() >= FAULT_CHANCE:
            return None
        refused = Answer(429, status_body(429, "TooManyRequests", "slow down"), {"Retry-After": "1"})
        away = Answer(503, status_body(503, "ServiceUnavailable", "shutting down"))
        broken = Answer(500, status_body(500, "InternalError", "etcdserver: request timed out"))
        if request.verb == "watch":
            return chance.choice([Drop(), broken, Sever(later(5)), Swallow(later(5))])
        if request.verb == "list":
            return chance.choice([Drop(), refused, away, broken, Cut("in-the-body")])
        return chance.choice(
            [Drop(), refused, away, broken, Hold(later(2)), Hold(later(12)), HoldAnswer(later(12)), *map(Cut, CUTS)]
        )

    return decide


async def torment(site: Site) -> None:
    """Deal faults until it is over; each is carried through."""
    deck: list[Callable[[Site], Awaitable[None]]] = []
    while not site.over.is_set():
        if not deck:
            deck = list(FAULTS)
            site.random.shuffle(deck)
        fault = deck.pop()
        site.faults[fault.__name__] += 1
        await fault(site)
        site.proxy.exchanges.clear()
        await asyncio.sleep(site.random.uniform(0.1, 1.5))


async def revive(site: Site) -> None:
    """As a Deployment does: what has ended is started again, until cancelled."""
    while True:
        for processes, start in ((site.workers, site.fleet.worker), (site.trackers, site.fleet.tracker)):
            for at, process in enumerate(processes):
                if process.code() is not None:
                    site.faults["died_at_failpoint"] += 1
                    process.kill()
                    processes[at] = start()
        await asyncio.sleep(0.5)
