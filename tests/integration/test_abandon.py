"""A cluster that is gone for good is removed by abandoning it, and nothing that hung on it hangs for ever."""

from collections import Counter

import pytest
from sqlalchemy import Connection, Engine

from argosy.client import Client
from argosy.errors import Conflict, Fenced, InvalidRequest, NotFound
from argosy.states import State
from argosy.store import abandoning, leases, queue, retries, secrets, tracking
from tests.integration.races import meanwhile
from tests.support.jobs import created, end, record
from tests.support.queues import claim, clusters, fill, placement, sql

GONE, OTHER = 1, 2


@pytest.fixture
def two(client: Client) -> Client:
    """Clusters "gone" and "other"; the algorithm "hello" names the other one."""
    clusters(client, "gone", "other")
    client.update_algorithm("hello", cluster=OTHER)
    return client


def queued(engine: Engine, jobs: int, **options: int) -> None:
    with engine.begin() as connection:
        fill(connection, 1, jobs, **options)


def states(engine: Engine) -> Counter[str]:
    query = "SELECT a.state FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt"
    return Counter(row.state for row in sql(engine, query))


def test_what_runs_or_waits_there_ends_and_the_cluster_is_removed(two: Client, engine: Engine) -> None:
    queued(engine, 7)
    queued(engine, 2, delay=60)
    running, submitting, cancelling = claim(engine, limit=3).jobs
    record(engine, created(running), created(cancelling))
    end(engine, running, State.RUNNING)
    two.cancel(cancelling.uid)
    secrets.intend(engine, running.gid, GONE)
    with pytest.raises(Conflict, match="9 unfinished jobs"):
        two.remove_cluster("gone")
    assert two.remove_cluster("gone", abandon=True) == 9
    assert [cluster.name for cluster in two.clusters()] == ["other"]
    assert states(engine) == {"lost": 2, "cancelled": 7}
    assert {two.get(job.uid).status for job in (running, submitting)} == {"Lost"}
    assert two.get(cancelling.uid).status == "Cancelled"
    assert "abandoned, and nobody saw how it ended" in two.get(running.uid).message
    assert sql(engine, "SELECT FROM argosy.launch_secret") == []
    record(engine, created(submitting))
    assert two.get(submitting.uid).status == "Lost"
    with pytest.raises(NotFound):
        two.remove_cluster("gone", abandon=True)
    with pytest.raises(Conflict, match="cluster gone was removed"):
        two.retry(running.uid)


def test_what_another_cluster_may_take_is_left_to_it_and_tried_again_there(two: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        either = placement(connection, GONE, OTHER)
    queued(engine, 2, placement=either)
    sql(engine, "UPDATE argosy.launch SET max_attempts = 2")
    sql(engine, "UPDATE argosy.attempt SET retries_left = 1")
    (job,) = claim(engine, GONE, 1).jobs
    assert two.remove_cluster("gone", abandon=True) == 1
    assert states(engine) == {"queued": 2}
    again = two.get(job.uid)
    assert (again.attempt, two.get(job.uid, attempt=1).status) == (2, "Lost")
    sql(engine, "UPDATE argosy.attempt SET not_before = NULL")
    assert len(claim(engine, OTHER).jobs) == 2


def test_what_a_held_cluster_perhaps_ran_goes_elsewhere_only_when_somebody_says_so(two: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        either = placement(connection, GONE, OTHER)
    queued(engine, 2, placement=either)
    uncut = two.launch("hello", project=1, user=7, media_ids=[1]).gid
    two.database_restored()
    with pytest.raises(
        InvalidRequest, match=r"--waiting: cluster 'gone' is held.*jobs: 2, launches that are not cut yet: 1"
    ):
        two.remove_cluster("gone", abandon=True)
    assert two.cluster("gone").paused_at is None
    two.remove_cluster("gone", abandon=True, waiting="lost")
    assert states(engine) == {"lost": 2}
    assert [launch.state for launch in two.launches(gid=uncut)] == ["rejected"]


def test_no_automatic_retry_goes_to_a_cluster_that_is_abandoned_and_none_waits_for_it(
    two: Client, engine: Engine
) -> None:
    queued(engine, 1)
    sql(engine, "UPDATE argosy.attempt SET retries_left = 1")
    claim(engine, GONE, 1)
    two.remove_cluster("gone", abandon=True)
    with engine.begin() as connection:
        assert retries.follow(connection) == 0
    assert states(engine) == {"lost": 1}
    assert sql(engine, "SELECT FROM argosy.attempt WHERE retries_left > 0") == []


def test_a_launch_that_is_not_cut_to_its_end_and_may_go_nowhere_else_is_rejected(two: Client, engine: Engine) -> None:
    queued(engine, 2)
    sql(engine, "UPDATE argosy.launch SET state = 'resolved', jobs = 5, expanded_jobs = 2, token_sealed = 'x'")
    assert two.remove_cluster("gone", abandon=True) == 2
    (launch,) = two.launches()
    assert (launch.state, launch.jobs, launch.counts) == ("rejected", 2, {"Cancelled": 2})
    assert "abandoned" in launch.reason
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1


def test_while_an_algorithm_names_it_nothing_is_ended(two: Client, engine: Engine) -> None:
    two.update_algorithm("hello", cluster=GONE)
    queued(engine, 1)
    with pytest.raises(Conflict, match="named by the algorithms hello"):
        two.remove_cluster("gone", abandon=True)
    assert states(engine) == {"queued": 1}
    assert two.cluster("gone").paused_at is None


def test_many_jobs_end_in_batches_and_whoever_dies_in_between_goes_on_with_the_same_call(
    two: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abandoning, "_BATCH", 2)
    queued(engine, 5)
    claim(engine, GONE, 3)
    with engine.begin() as connection:
        assert abandoning.end(connection, GONE) == 2
    assert two.remove_cluster("gone", abandon=True) == 3


async def test_a_tracker_that_sees_a_job_there_meanwhile_does_not_leave_it_running_for_ever(
    two: Client, engine: Engine
) -> None:
    queued(engine, 1)
    (job,) = claim(engine, GONE, 1).jobs
    record(engine, created(job))
    sql(engine, "UPDATE argosy.attempt SET state = 'lost', finished_at = now()")
    with engine.begin() as connection:
        epoch = leases.acquire(connection, leases.of_cluster(GONE), "tracker", 60.0) or 0

    def seen(connection: Connection) -> None:
        leases.fence(connection, leases.of_cluster(GONE), epoch)
        tracking.known(connection, [(job.uid, 1)], GONE)
        change = tracking.Change(job.uid, 1, GONE, "name", State.RUNNING, f"k-{job.uid}-1", "", "", None, None)
        tracking.change(connection, [change])

    assert await meanwhile(engine, seen, lambda: two.remove_cluster("gone", abandon=True)) == 1
    assert states(engine) == {"lost": 1}
    with engine.begin() as connection, pytest.raises(Fenced):
        leases.fence(connection, leases.of_cluster(GONE), epoch)


def test_a_worker_that_hands_a_job_back_meanwhile_changes_nothing(two: Client, engine: Engine) -> None:
    queued(engine, 1)
    (job,) = claim(engine, GONE, 1).jobs
    two.remove_cluster("gone", abandon=True)
    record(engine, queue.Returned(job.uid, 1, job.epoch, "the cluster asks to wait", 0.0))
    assert states(engine) == {"lost": 1}
