"""The plan of an audit: what is done to the jobs on purpose (acts.py), and what goes wrong around them.

Faults are dealt from a shuffled deck, so that a short run has each kind too; those of single requests are drawn by the proxy (meddling.py).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import redis
from sqlalchemy.exc import OperationalError

from argosy.errors import Conflict, NotFound
from argosy.failpoints import NAMES
from argosy.processes.wakeups import WakeUps, broker
from tests.faults.acts import _BARE, _MERGE, age, cancel, delete_workflow, retry, try_again
from tests.faults.conftest import become
from tests.faults.processes import Process
from tests.faults.site import PASSING, Site, persistent, told
from tests.faults.world import workflows
from tests.support.stack import until

_PAUSE, _PAUSE_ON_NODE = (0.1, 1.5), (2.0, 12.0)
"""Seconds between two faults: a pod that is real takes two seconds of a processor to start."""

APART = timedelta(seconds=100)
"""Between two losses of commits, once every fault was dealt: a queued job that may run on several clusters waits 75 s after each."""

LOST_SECONDS = 1.2
"""Of commits that a fail-over loses; less than a workflow needs to come, end and go by its shortest time-to-live."""

RESTORED: list[str] = ["db", "restored"]
"""What follows `argosy` when an operator has restored a dump and not started the processes yet; empty: nothing."""

RECONCILED: list[str] = ["db", "reconcile", "--apply", "--gone", "lost", "--waiting", "run", "--unknown", "adopt"]
"""What he runs once they are up again, and after a fail-over, until the alarm is off."""

ROUNDS, ROUND_SECONDS = 4, 8
"""How often he looks, and how long he waits before each look."""


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
