"""SIGKILL at every named failpoint: nothing is lost, nothing is doubled, nothing is left behind."""

import pytest

from argosy.failpoints import NAMES
from tests.faults.world import World
from tests.support.stack import until

JOBS = 5


def owned_by(*stages: str) -> list[str]:
    return sorted(name for name in NAMES if name.partition(".")[0] in stages)


@pytest.mark.parametrize("name", owned_by("launch", "submit"))
async def test_a_launch_comes_through_whole_when_its_worker_is_killed_at(world: World, name: str) -> None:
    world.fleet.tracker()
    victim = world.fleet.worker(f"{name}=kill")
    gid = world.send("with-token", JOBS)
    await victim.killed()
    world.flush()  # or Dramatiq itself would bring the dead worker's messages back, at some time
    world.fleet.worker()
    await world.whole(gid, JOBS)


@pytest.mark.parametrize("name", [name for name in owned_by("track") if name != "track.terminating"])
async def test_a_launch_comes_through_whole_when_its_tracker_is_killed_at(world: World, name: str) -> None:
    world.fleet.worker()
    gid = world.send("with-token", JOBS)
    await world.all_are(gid, "Pending")
    await world.fleet.tracker(f"{name}=kill").killed()
    world.fleet.tracker()
    await world.whole(gid, JOBS)


async def test_a_cancel_is_true_when_the_tracker_is_killed_before_it_tells_the_cluster(world: World) -> None:
    world.fleet.worker()
    victim = world.fleet.tracker("track.terminating=kill")
    gid = world.send("long", 2)
    for job in await world.all_are(gid, "Running"):
        world.client.cancel(job.uid)
    await victim.killed()
    assert {job.status for job in world.jobs(gid)} == {"Cancelling"}
    world.fleet.tracker()
    jobs = await world.all_are(gid, "Cancelled")
    world.created_once(jobs)
    assert {item["status"]["phase"] for item in world.workflows(gid)} == {"Failed"}
    await until(lambda: world.left(gid), lambda left: not left, 60)


@pytest.mark.parametrize("name", owned_by("cancel"))
async def test_a_cancel_is_made_wholly_or_not_at_all_when_its_caller_is_killed_at(world: World, name: str) -> None:
    world.fleet.worker()
    world.fleet.tracker()
    gid = world.send("long", 1)
    (job,) = await world.all_are(gid, "Running")
    await world.fleet.command("cancel", str(job.uid), failpoints=f"{name}=kill").killed()
    if name == "cancel.requesting":
        assert [job.status for job in world.jobs(gid)] == ["Running"]
        assert await world.fleet.command("cancel", str(job.uid)).ended() == 0
    jobs = await world.all_are(gid, "Cancelled")
    world.created_once(jobs)
    assert {item["status"]["phase"] for item in world.workflows(gid)} == {"Failed"}


async def test_a_second_tracker_takes_over_within_20_s_of_the_kill_of_the_first(unhurried: World) -> None:
    first = unhurried.fleet.tracker()
    unhurried.fleet.worker()
    gid = unhurried.send("long", 1)
    (job,) = await unhurried.all_are(gid, "Running")
    holder = "SELECT holder FROM argosy.lease WHERE name LIKE 'cluster/%'"
    assert f"/{first.pid}/" in unhurried.row(holder).holder
    unhurried.fleet.tracker()
    listening = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    await until(lambda: unhurried.row(listening).n, lambda n: n == 2)
    first.kill()
    assert job.id is not None
    unhurried.terminate(job.id)
    await unhurried.all_are(gid, "Failed", seconds=20)


async def test_a_dead_workers_job_is_picked_up_within_30_s(unhurried: World) -> None:
    unhurried.fleet.tracker()
    victim = unhurried.fleet.worker("submit.claimed=kill")
    gid = unhurried.send("long", 1)
    await victim.killed()
    unhurried.flush()
    unhurried.fleet.worker()
    claims = "SELECT max(claim_epoch) AS n FROM argosy.attempt WHERE gid = :gid"
    await until(lambda: unhurried.row(claims, gid=gid).n, lambda n: n == 2, 30)
    unhurried.created_once(await unhurried.all_are(gid, "Running"))
