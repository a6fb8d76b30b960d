"""What is queued for a cluster is moved to another one: all of it, each job once, and nothing that may have run."""

from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine

from argosy.batches import JobUids
from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest
from argosy.launch.expand import Launching, advance, expand
from argosy.shapes.filters import RetryFilter
from argosy.shapes.given import Policy
from argosy.shapes.moved import MovedShape
from argosy.states import State
from argosy.store import holds, launches, moving
from tests.integration.races import meanwhile
from tests.support.jobs import created, end, launched, record, stage
from tests.support.launching import HELLO
from tests.support.queues import claim, clusters, fill, placement, sql

__all__ = ["stage"]

HERE, THERE, THIRD = 1, 2, 3
MOVEMENT = moving.Movement(HERE, "here", THERE, "there", 75.0)


@pytest.fixture
def three(client: Client) -> Client:
    """Clusters "here", "there" and "third"; the algorithm "hello" names the first."""
    clusters(client, "here", "there", "third")
    return client


def queued(engine: Engine, jobs: int, **options: int) -> None:
    with engine.begin() as connection:
        fill(connection, 1, jobs, **options)
    sql(engine, "UPDATE argosy.launch SET manifest = :manifest, parameters = '[]'", manifest=HELLO)


def counted(moved: MovedShape) -> tuple[int, int, int]:
    return moved.jobs, moved.claimed, sum(each.jobs for each in moved.stayed)


def placed(engine: Engine) -> Counter[tuple[int, ...]]:
    """How many queued jobs may run on which clusters."""
    query = "SELECT p.cluster_ids FROM argosy.attempt a JOIN argosy.placement p ON p.id = a.placement_id WHERE a.state = 'queued'"
    return Counter(tuple(row.cluster_ids) for row in sql(engine, query))


def test_all_that_is_queued_runs_on_the_other_cluster_and_what_runs_stays(
    three: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "BATCH", 3)
    queued(engine, 7)
    queued(engine, 2, delay=3600)
    (running,) = claim(engine, HERE, 1).jobs
    record(engine, created(running))
    planned = three.move_jobs("here", "there", dry_run=True)
    assert placed(engine) == {(HERE,): 8}
    moved = three.move_jobs("here", "there")
    assert counted(moved) == counted(planned) == (8, 0, 0)
    assert moved.algorithms == ["hello"]
    assert placed(engine) == {(THERE,): 8}
    assert claim(engine, HERE).jobs == []
    taken = claim(engine, THERE).jobs
    assert len({job.uid for job in taken}) == 6
    assert running.uid not in {job.uid for job in taken}
    told = three.events(taken[0].uid).events
    assert "moved from cluster here to there" in [each.message for each in told]
    assert counted(three.move_jobs("here", "there")) == (0, 0, 0)


async def test_a_job_that_is_claimed_meanwhile_stays_where_it_is(three: Client, engine: Engine) -> None:
    queued(engine, 5)
    claimed: list[UUID] = []

    def first(connection: Connection) -> None:
        claimed.extend(job.uid for job in claim(connection, HERE, 2).jobs)

    with engine.begin() as connection:
        (what,) = moving.queued(connection, HERE)

    def second() -> moving.Moved:
        with engine.begin() as connection:
            return moving.move(connection, MOVEMENT, what)

    moved = await meanwhile(engine, first, second)
    assert (moved.jobs, moved.stayed) == (3, 2)
    elsewhere = {job.uid for job in claim(engine, THERE).jobs}
    assert len(elsewhere) == 3
    assert elsewhere.isdisjoint(claimed)
    assert claim(engine, HERE).jobs == []


async def test_a_claim_takes_nothing_that_is_being_moved(three: Client, engine: Engine) -> None:
    queued(engine, 3)
    with engine.begin() as connection:
        (what,) = moving.queued(connection, HERE)
    taken = await meanwhile(
        engine, lambda connection: moving.move(connection, MOVEMENT, what), lambda: claim(engine, HERE).jobs
    )
    assert taken == []
    assert len(claim(engine, THERE).jobs) == 3


async def test_a_launch_that_is_to_be_cut_yet_is_cut_for_the_other_cluster(
    three: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(three, stage, 4)
    sql(
        engine,
        "UPDATE argosy.launch SET state = 'resolved', jobs = 6, media_ids = '{1,2,3,4,5,6}', next_try_at = clock_timestamp()",
    )
    moved = three.move_jobs("here", "there")
    assert (counted(moved), moved.launches, moved.uncut) == ((4, 0, 0), 1, 2)
    expand(stage, gid)
    assert placed(engine) == {(THERE,): 6}


def test_a_launch_whose_workflows_are_there_already_is_cut_for_them(
    three: Client, stage: Launching, engine: Engine
) -> None:
    """A caller has sent again what a restored database had lost."""
    gid = three.launch("hello", project=1, user=7, media_ids=[1, 2]).gid
    with engine.begin() as connection:
        taken = launches.claim(connection, gid, "w", 0.0)
        assert taken is not None
    advance(stage, taken)
    sql(
        engine,
        "INSERT INTO argosy.stray (cluster_id, k8s_uid, uid, number, gid, name) "
        "SELECT 1, 'k', CAST(:uid AS uuid), 1, CAST(:gid AS uuid), 'n'",
        uid=str(JobUids(gid, 2)[0]),
        gid=str(gid),
    )
    moved = three.move_jobs("here", "there")
    assert counted(moved) == (0, 0, 2)
    assert "its jobs may run there already" in moved.stayed[0].reason


@pytest.mark.parametrize("held", [HERE, THERE])
def test_a_held_cluster_gives_and_takes_nothing(three: Client, engine: Engine, held: int) -> None:
    queued(engine, 2)
    with engine.begin() as connection:
        holds.hold(connection, held, "this database is a copy")
    with pytest.raises(Conflict, match=r"is held \(this database is a copy\)"):
        three.move_jobs("here", "there")
    assert placed(engine) == {(HERE,): 2}


async def test_a_hold_that_comes_between_two_batches_ends_the_move_and_says_what_was_moved(
    three: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(engine, 2)
    queued(engine, 2)
    looked, against = [], moving.against

    def hold_at_third(connection: Connection, movement: moving.Movement) -> str:
        looked.append(movement)
        if len(looked) == 3:
            holds.hold(connection, HERE, "restored")
        return against(connection, movement)

    monkeypatch.setattr(moving, "against", hold_at_third)
    with pytest.raises(Conflict, match="2 jobs were moved, and then: cluster 'here' is held"):
        three.move_jobs("here", "there")
    assert placed(engine) == {(HERE,): 2, (THERE,): 2}


def test_nothing_is_moved_while_a_create_of_a_lost_claim_may_still_arrive(three: Client, engine: Engine) -> None:
    queued(engine, 1)
    sql(engine, "UPDATE argosy.installation SET doubted_at = clock_timestamp()")
    with pytest.raises(Conflict, match="may still arrive; try again in 7"):
        three.move_jobs("here", "there")
    sql(engine, "UPDATE argosy.installation SET doubted_at = clock_timestamp() - interval '2 minutes'")
    assert counted(three.move_jobs("here", "there")) == (1, 0, 0)


def test_what_the_other_clusters_policy_refuses_stays_and_keeps_no_other_from_it(
    three: Client, stage: Launching, engine: Engine
) -> None:
    privileged = HELLO.replace("container:", "container:\n        securityContext: {privileged: true}")
    assert privileged != HELLO
    three.update_cluster("here", policy=Policy(profile="trusted"))
    three.register_algorithm(name="deep", project=1, user=7, manifest=privileged, files_per_job=1, cluster=HERE)
    refused = launched(three, stage, 3, "deep")
    launched(three, stage, 2)
    moved = three.move_jobs("here", "there")
    assert counted(moved) == (2, 0, 3)
    (stays,) = moved.stayed
    assert (stays.gid, stays.algorithm) == (refused, "deep")
    assert "privileged" in stays.reason
    assert placed(engine) == {(HERE,): 3, (THERE,): 2}


def test_what_others_may_take_too_waits_for_them_and_the_new_one(three: Client, engine: Engine) -> None:
    three.update_cluster("here", labels={"gpu": "yes"})
    with engine.begin() as connection:
        either = placement(connection, HERE, THIRD)
        labelled = placement(connection, labels='{"gpu": "yes"}')
    for each in (either, labelled, THIRD):  # a cluster's own placement has its number
        queued(engine, 1, placement=each)
    assert counted(three.move_jobs("here", "there")) == (2, 0, 0)
    assert placed(engine) == {(THERE, THIRD): 1, (THERE,): 1, (THIRD,): 1}


def test_what_has_ended_is_retried_where_its_launch_was_moved_to(
    three: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(three, stage, 3)
    for job in claim(engine, HERE, 2).jobs:
        record(engine, created(job))
        end(engine, job, State.FAILED)
    three.move_jobs("here", "there")
    three.update_algorithm("hello", cluster=THERE)
    three.remove_cluster("here", abandon=True)
    first, second, _ = three.list(gid=gid)
    assert three.retry(first.uid) == 1
    assert three.retry(second.uid, extra_params=[{"name": "threshold", "value": "1"}]) == 1
    assert placed(engine) == {(THERE,): 3}
    assert three.retry(gid, where=RetryFilter(status=["Cancelled"])) == 0


def test_a_cluster_is_not_moved_to_itself(three: Client) -> None:
    with pytest.raises(InvalidRequest, match="name another one"):
        three.move_jobs("here", HERE)
