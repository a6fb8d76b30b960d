"""The plan of an audit: what is done to the jobs on purpose, and what goes wrong around them.

Faults are dealt from a shuffled deck, so that a short run has each kind too; those of single requests are drawn by the proxy. What is done
to a job on purpose is written down in `expected`, because that and its algorithm are all that its end can truthfully come from.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from argosy.batches import JobUids
from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.failpoints import NAMES
from argosy.labels import LABEL_INSTALLATION
from argosy.processes.wakeups import WakeUps, broker
from argosy.shapes.shown import JobShape
from argosy.store.installation import identity
from clusters.local.cluster import LocalCluster
from clusters.local.player import METADATA_ONLY
from tests.faults import servers
from tests.faults.conftest import become
from tests.faults.processes import Fleet, Process, workflows
from tests.faults.proxy import (
    CUTS,
    FOREIGN,
    Action,
    Answer,
    Cut,
    Drop,
    Hold,
    HoldAnswer,
    Instead,
    Proxy,
    Request,
    Sever,
    Swallow,
    intermediary,
    status_body,
)
from tests.faults.witness import Witness
from tests.integration.api_server import ApiServer
from tests.support.stack import until

EVERYWHERE = "/apis/argoproj.io/v1alpha1/workflows"

WORKERS, TRACKERS = 3, 2

PASSING = 2
"""Which place's namespace is deleted some time."""

_BARE, _MERGE = {"metadata": {"finalizers": None}}, {"Content-Type": "application/merge-patch+json"}

_PAUSE, _PAUSE_ON_NODE = (0.1, 1.5), (2.0, 12.0)
"""Seconds between two faults: a pod that is real takes two seconds of a processor to start."""

APART = timedelta(seconds=100)
"""Between two losses of commits, once every fault was dealt: a queued job that may run on several clusters waits 75 s after each."""

CREATE_CHANCE, OTHER_CHANCE = 0.15, 0.04
"""Of a mishap, of a request to the apiserver."""

LOST_SECONDS = 1.2
"""Of commits that a fail-over loses; less than a workflow needs to come, end and go by its shortest time-to-live."""

RESTORED: list[str] = ["db", "restored"]
"""What follows `argosy` when an operator has restored a dump and not started the processes yet; empty: nothing."""

RECONCILED: list[str] = ["db", "reconcile", "--apply", "--gone", "lost", "--waiting", "run", "--unknown", "adopt"]
"""What he runs once they are up again, and after a fail-over, until the alarm is off."""

ROUNDS, ROUND_SECONDS = 4, 8
"""How often he looks, and how long he waits before each look."""


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
        (place,) = (place for place in site.places if place.name == job.cluster)
        site.expected[uid].add("Deleted")
        with suppress(httpx.TransportError):
            await asyncio.to_thread(site.local.admin.delete, f"{workflows(place.namespace)}/{job.id}")


async def retry(site: Site) -> None:
    """Somebody tries again what failed."""
    uid = await site.some("failed", "cancelled", "deleted")
    if uid is not None:
        await try_again(site, uid)


async def try_again(site: Site, uid: UUID) -> bool:
    """Whether the job has a new attempt of that."""
    try:
        before: JobShape = await persistent(lambda: site.client.get(uid))
        await persistent(lambda: site.client.retry(uid, token=None))
        job: JobShape = await persistent(lambda: site.client.get(uid))
    except (Conflict, InvalidRequest, NotFound):  # its token was wiped, or is in use; it was forgotten
        return False
    site.asked[uid] = max(site.asked.get(uid, 1), job.attempt)
    return job.attempt > before.attempt


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
    await asyncio.to_thread(site.relay.target.restart)


async def vanish_postgres(site: Site) -> None:
    """Its host falls silent, and either comes back as if nothing had been or has been rebooted."""
    site.relay.freeze()
    await asyncio.sleep(site.random.uniform(2, 12))
    if site.random.random() < 0.5:
        await site.relay.cut()
    site.relay.thaw()


async def fail_over(site: Site) -> None:
    """The database's host dies, and a replica that lacks the last second of commits takes its address."""
    dead, heir = site.relay.target, site.standby
    await asyncio.to_thread(heir.follow_up, dead)
    await asyncio.to_thread(heir.cut_off)
    await asyncio.sleep(LOST_SECONDS)
    await asyncio.to_thread(dead.control, "-w", "-m", "immediate", "stop")
    await asyncio.to_thread(heir.control, "-w", "promote")
    site.relay.target = heir
    await site.relay.cut()
    await recall(site)
    site.later(operator(site))
    await asyncio.to_thread(dead.discard)
    site.standby = await asyncio.to_thread(heir.standby)


async def dump(site: Site) -> None:
    """For `restore`."""
    site.dumped = site.dumped or site.directory / "dump"
    await asyncio.to_thread(site.relay.target.dump, site.dumped)


async def restore(site: Site) -> None:
    """The database is lost, and an older one is all that there is."""
    if site.dumped is None:
        await dump(site)
        await asyncio.sleep(site.random.uniform(5, 15))
    assert site.dumped is not None
    site.halted = True
    for process in [*site.workers, *site.trackers]:
        process.kill()
    await site.relay.refuse()
    await asyncio.to_thread(site.relay.target.restore, site.dumped)
    site.relay.accept()
    if RESTORED:
        process = site.fleet.command(*RESTORED)
        code = await process.ended(180)
        assert code == 0, f"argosy {' '.join(RESTORED)} ended with {code}: {process.tail()}"
    site.start()
    site.halted = False
    await recall(site)
    site.later(operator(site))


async def operator(site: Site) -> None:
    """He decides what nobody can know; where a cluster could not be asked, he tries again; what he had given up stays so."""
    for _ in range(ROUNDS if RECONCILED else 0):
        await asyncio.sleep(ROUND_SECONDS)
        if site.abandoned:
            await abandon(site)
        process = site.fleet.command(*RECONCILED)
        with suppress(AssertionError):
            await process.ended(180)
        site.faults[f"(reconcile: {process.code()})"] += 1
        process.kill()


async def recall(site: Site) -> None:
    """What callers do who see that the database has forgotten what it had said yes to: they ask again, for the same."""
    site.losses.append(datetime.now(UTC))
    known = {row.gid for row in await site.sql("SELECT gid FROM argosy.launch")}
    uncut = {row.gid for row in await site.sql("SELECT gid FROM argosy.launch WHERE state IN ('accepted', 'resolved')")}
    open_ = await site.sql("SELECT uid FROM argosy.attempt WHERE finished_at IS NULL")
    site.unsure |= {row.uid for row in open_}
    for launched in list(site.launches.values()):
        if launched.gid in uncut:
            site.unsure |= set(launched.uids)
        if launched.gid not in known and site.aged.isdisjoint(launched.uids[:1]):
            site.unsure |= set(launched.uids)
            try:
                await site.launch(launched)
            except Conflict:
                site.faults["(refused when asked again)"] += 1
    attempts = {row.uid: row.attempt for row in await site.sql("SELECT uid, attempt FROM argosy.job WHERE attempt > 1")}
    for uid, number in list(site.asked.items()):
        if number > attempts.get(uid, 1):
            site.unsure.add(uid)
            await try_again(site, uid)


async def roll(site: Site) -> None:
    """Settings change: one process after the other is ended as a pod is, and another one starts in its place."""
    host = site.random.choice(("127.0.0.1", "localhost"))
    rest = site.platform.url.replace("127.0.0.1", host)
    site.fleet.set(ARGOSY_HOST=f"http://{host}:{site.random.randint(1024, 9999)}", ARGOSY_REST_URL=rest)
    for processes in (site.workers, site.trackers):
        for at, process in enumerate(list(processes)):
            process.terminate()
            with suppress(AssertionError):
                await process.ended(30)  # what is frozen does not hear it
            process.kill()
            if processes[at] is process:  # or it was revived already
                processes[at] = site.fleet.worker() if processes is site.workers else site.fleet.tracker()


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


async def age(site: Site) -> None:
    """Retention comes to launches that have ended just when somebody tries their jobs again."""
    rows = await site.sql(
        "SELECT l.gid FROM argosy.launch l WHERE l.state = 'expanded' AND NOT EXISTS (SELECT FROM argosy.attempt a "
        "WHERE a.gid = l.gid AND a.finished_at IS NULL) ORDER BY l.created_at DESC LIMIT 40"
    )
    # What argosy has forgotten it lets nobody else forget either; in ninety days its workflows are long released.
    unreleased = {UUID(name[4:40]) for name in await asyncio.to_thread(held, site)}
    gids = [row.gid for row in rows if unreleased.isdisjoint(site.launches[row.gid].uids)]
    gids = site.random.sample(gids, min(5, len(gids)))
    site.aged |= {uid for gid in gids for uid in site.launches[gid].uids}
    for change in (
        "UPDATE argosy.launch SET created_at = created_at - interval '2 days', expanded_at = expanded_at - interval '2 days' "
        "WHERE gid = ANY (:gids)",
        "UPDATE argosy.attempt SET finished_at = finished_at - interval '2 days' WHERE gid = ANY (:gids)",
    ):
        await site.sql(f"WITH changed AS ({change} RETURNING gid) SELECT count(*) FROM changed", gids=gids)
    site.later(try_aged(site, gids))


async def try_aged(site: Site, gids: list[UUID]) -> None:
    """At some time until retention has looked; what was said to be tried again must not be forgotten."""
    for gid in gids:
        await asyncio.sleep(site.random.uniform(0, 15))
        for uid in site.launches[gid].uids:
            if await try_again(site, uid):
                site.aged -= set(site.launches[gid].uids)


async def platform_hangs(site: Site) -> None:
    site.later(platform(site, pause=60.0))


async def platform_is_slow(site: Site) -> None:
    site.later(platform(site, pause=1.0))


async def platform_fails(site: Site) -> None:
    site.later(platform(site, status=site.random.choice((500, 502, 503, 429))))


async def platform(site: Site, pause: float = 0.0, status: int = 200) -> None:
    """Whoever resolves media queries is so for a while."""
    site.platform.pause, site.platform.status = pause, status
    await asyncio.sleep(site.random.uniform(3, 12))
    site.platform.pause, site.platform.status = 0.0, 200


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
    proxy = site.random.choice(site.places).proxy
    await proxy.down()
    await asyncio.sleep(site.random.uniform(1, 6))
    await proxy.up()


async def end_namespace(site: Site) -> None:
    """Somebody deletes a cluster's namespace with all that is in it, argosy's rights too, and its owner gives it up; once."""
    if site.abandoned:
        return
    with suppress(AssertionError):  # most look how things stand before they give it up; not all can
        await become(lambda held: not held, persistent, site.client.held)
    site.abandoned = (place := site.places[PASSING]).namespace
    path = f"/api/v1/namespaces/{place.namespace}"
    await asyncio.to_thread(site.local.admin.delete, path)
    await asyncio.sleep(site.random.uniform(1, 10))
    await abandon(site)

    def left() -> str:
        """What argosy may not let go of any more, an administrator does; Argo holds its pods, too."""
        for there in (workflows(place.namespace), f"{path}/pods"):
            for item in told(site, there):
                site.local.admin.patch(f"{there}/{item['metadata']['name']}", json=_BARE, headers=_MERGE)
        answer = site.local.admin.get(path)
        return "" if answer.status_code == httpx.codes.NOT_FOUND else answer.text

    with suppress(AssertionError):  # what held it is off; who deletes namespaces backs off for minutes
        await until(left, lambda found: not found, 60)


async def abandon(site: Site) -> None:
    """As often as a database has it again."""

    def give_up() -> None:
        name = site.places[PASSING].name
        with suppress(NotFound):
            left = site.client.cluster(name).id
            for algorithm in site.client.algorithms():
                if left in algorithm.clusters:
                    others = [each for each in algorithm.clusters if each != left]
                    site.client.update_algorithm(algorithm.id, clusters=others)
            site.client.remove_cluster(name, abandon=True, waiting="run")

    await persistent(give_up)


FAULTS: list[Callable[[Site], Awaitable[None]]] = [
    *(cancel,) * 6, *(delete_workflow,) * 2, *(retry,) * 3, *(kill_worker,) * 2, kill_tracker, freeze_worker, freeze_tracker,
    flush_valkey, restart_valkey, restart_postgres, break_sessions, vanish_postgres, fail_over, dump, restore, age, roll,
    restart_apiserver, compact, redeliver, cluster_away, end_namespace, platform_hangs, platform_is_slow, platform_fails,
]  # fmt: skip


class Meddler:
    """What becomes of single requests to one cluster; each kind of fault in turn, in a drawn order."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._decks: dict[str, list[Callable[[], Action]]] = {}

    def __call__(self, request: Request) -> Action | None:
        """What becomes of this one."""
        kind = request.verb if request.verb in {"create", "watch", "list"} else ""
        if self._random.random() >= (CREATE_CHANCE if kind == "create" else OTHER_CHANCE):
            return None
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck.extend(_MISHAPS[kind])
            self._random.shuffle(deck)
        return deck.pop()()


def _later(seconds: float) -> asyncio.Event:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


def _always(action: Action) -> Callable[[], Action]:
    return lambda: action


_REFUSED = Answer(429, status_body(429, "TooManyRequests", "slow down"), {"Retry-After": "1"})
_AWAY = Answer(503, status_body(503, "ServiceUnavailable", "shutting down"))
_BROKEN = Answer(500, status_body(500, "InternalError", "etcdserver: request timed out"))
_OTHERS = [*map(intermediary, (502, 503, 504)), FOREIGN]
_OF_ALL = [
    *map(_always, (Drop(), _REFUSED, _AWAY, _BROKEN, *map(Cut, CUTS), *_OTHERS, *map(Instead, _OTHERS))),
    lambda: Hold(_later(2)), lambda: Hold(_later(12)), lambda: HoldAnswer(_later(12)),
]  # fmt: skip
_MISHAPS: dict[str, list[Callable[[], Action]]] = {
    "create": _OF_ALL,
    "watch": [*map(_always, (Drop(), _BROKEN, *_OTHERS)), lambda: Sever(_later(5)), lambda: Swallow(_later(5))],
    "list": [*map(_always, (Drop(), _REFUSED, _AWAY, _BROKEN, Cut("in-the-body"), *_OTHERS))],
    "": _OF_ALL,
}
"""By verb; the last of all others."""


async def torment(site: Site) -> None:
    """Deal faults until it is over, each kind once before any comes again; each is carried through."""
    faults = [fault for fault in FAULTS if fault.__name__ not in site.left_out]
    rest = list(faults)
    for fault in (kinds := sorted(set(faults), key=faults.index)):
        rest.remove(fault)
    site.random.shuffle(kinds)
    site.random.shuffle(rest)
    deck = rest + kinds
    while not site.over.is_set():
        if not deck:
            site.dealt = True
            deck = list(faults)
            site.random.shuffle(deck)
        fault = deck.pop()
        if site.dealt and fault in (fail_over, restore) and datetime.now(UTC) < site.losses[-1] + APART:
            deck.insert(0, fault)
            await asyncio.sleep(1)
            continue
        site.faults[fault.__name__] += 1
        with (site.directory / "plan.log").open("a") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S} {fault.__name__}\n")
        site.dealt = site.dealt or site.faults.keys() >= {each.__name__ for each in faults}
        await fault(site)
        await asyncio.sleep(site.random.uniform(*(_PAUSE if site.local.node is None else _PAUSE_ON_NODE)))


async def revive(site: Site) -> None:
    """As a Deployment does: what has ended is started again, until cancelled."""
    while True:
        for processes, start in ((site.workers, site.fleet.worker), (site.trackers, site.fleet.tracker)):
            for at, process in enumerate(processes):
                if not site.halted and process.code() is not None:
                    site.faults["died_at_failpoint"] += process.code() != 0
                    process.kill()
                    processes[at] = start()
        for place in site.places:
            place.proxy.exchanges.clear()
        await asyncio.sleep(0.5)
