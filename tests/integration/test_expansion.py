"""A launch is cut in batches: whoever does it, whatever comes in between, its jobs are made once each."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine

import argosy.launch.expand
import argosy.launch.expander
from argosy.batches import JobUids
from argosy.client import Client
from argosy.errors import Conflict, QueueFull
from argosy.launch.expand import Launching, advance, expand, take
from argosy.launch.expander import Expander
from argosy.store import launches, retention, retries, secrets, strays
from tests.integration.api_server import ApiServer
from tests.integration.launching import its_time_has_come
from tests.support.certificates import PEM
from tests.support.launching import api, outcome, registered, stage
from tests.support.queues import claim, finish, sql
from tests.support.stack import until

__all__ = ["api", "registered", "stage"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argosy.launch.expand, "_BATCH", 2)


@pytest.fixture
def one_each(registered: Client) -> Client:
    registered.update_algorithm("hello", files_per_job=1)
    return registered


def half_cut(client: Client, stage: Launching, media: range = range(1, 6), **fields: str) -> launches.Claim:
    """A launch of which the first two jobs are made."""
    gid = client.launch("hello", project=1, user=7, media_ids=media, **fields).gid  # type: ignore[arg-type]
    claimed = take(stage, gid)
    for _ in range(2):  # frozen, then cut once
        assert claimed is not None
        claimed = advance(stage, claimed).claim
    assert claimed is not None
    return claimed


def media(client: Client, gid: UUID) -> list[list[int]]:
    return [job.media_ids for job in client.list(gid=gid, limit=100)]


def test_a_worker_goes_on_where_a_dead_one_stopped(one_each: Client, stage: Launching, engine: Engine) -> None:
    gid = half_cut(one_each, stage).gid
    assert media(one_each, gid) == [[1], [2]]
    its_time_has_come(engine)
    assert expand(stage, gid) == [1]
    assert media(one_each, gid) == [[1], [2], [3], [4], [5]]
    assert sql(engine, "SELECT ordinal FROM argosy.job JOIN argosy.attempt USING (uid) ORDER BY seq") == [
        (ordinal,) for ordinal in range(5)
    ]
    assert outcome(one_each, gid) == ("expanded", "")


def test_what_a_worker_writes_whose_claim_is_over_changes_nothing(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    late = half_cut(one_each, stage)
    its_time_has_come(engine)
    assert take(stage, late.gid) is not None
    assert advance(stage, late).claim is None
    assert media(one_each, late.gid) == [[1], [2]]


def test_a_half_cut_launch_shows_what_there_is_and_its_first_jobs_run_already(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    found = one_each.launch("hello", project=1, user=7, media_ids=range(1, 6))
    claimed = take(stage, found.gid)
    assert claimed is not None
    claimed = advance(stage, claimed).claim
    assert claimed is not None
    assert advance(stage, claimed).clusters == [1]
    (shown,) = one_each.launches()
    assert (shown.state, shown.jobs, shown.counts) == ("resolved", 5, {"Queued": 2})
    assert [one_each.get(uid).status for uid in found.uids] == ["Queued"] * 5
    assert [waiting.uid for waiting in claim(engine).jobs] == found.uids[:2]


def test_a_half_cut_launch_counts_once_against_its_projects_cap(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    half_cut(one_each, stage)
    one_each.set_project(1, max_queued=6)
    with pytest.raises(QueueFull, match="project 1 has 5, this adds 2"):
        one_each.launch("hello", project=1, user=7, media_ids=[1, 2])
    assert one_each.launch("hello", project=1, user=7, media_ids=[1]).position == 5


@pytest.mark.parametrize("by_project", [False, True])
def test_a_cancel_between_two_batches_ends_what_there_is_and_the_rest_is_never_made(
    one_each: Client, stage: Launching, engine: Engine, by_project: bool
) -> None:
    claimed = half_cut(one_each, stage, token="t")
    uids = JobUids(claimed.gid, 5)
    (first,) = claim(engine, limit=1).jobs
    if by_project:
        one_each.cancel(project=1)
    else:
        one_each.cancel(claimed.gid)
    assert advance(stage, claimed).claim is None
    its_time_has_come(engine)
    assert expand(stage, claimed.gid) == []
    (shown,) = one_each.launches()
    assert (shown.state, shown.jobs, shown.counts) == ("cancelled", 2, {"Cancelling": 1, "Cancelled": 1})
    assert [one_each.get(uid).status for uid in uids] == ["Cancelling", *["Cancelled"] * 4]
    sealed = "SELECT token_sealed IS NOT NULL FROM argosy.launch"
    with engine.begin() as connection:
        secrets.wipe_tokens(connection)
    assert sql(engine, sealed) == [(True,)], "its workflow may have to be made again to be ended"
    finish(engine, [first.uid], "cancelled")
    with engine.begin() as connection:
        secrets.wipe_tokens(connection)
    assert sql(engine, sealed) == [(False,)]


def test_a_job_that_is_cancelled_before_its_batch_begins_cancelled(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    claimed = half_cut(one_each, stage)
    uids = JobUids(claimed.gid, 5)
    one_each.cancel(uids[1])
    one_each.cancel(uids[2])
    one_each.delete(uids[4])
    its_time_has_come(engine)
    expand(stage, claimed.gid)
    assert [one_each.get(uid).status for uid in uids] == ["Queued", "Cancelled", "Cancelled", "Queued", "Cancelled"]
    assert media(one_each, claimed.gid) == [[1], [2], [3], [4]]
    assert sql(engine, "SELECT count(*) FROM argosy.early_cancel") == [(0,)]


def test_many_workers_make_the_jobs_of_many_batches_once(one_each: Client, stage: Launching) -> None:
    gid = one_each.launch("hello", project=1, user=7, media_ids=range(60)).gid
    with ThreadPoolExecutor(4) as pool:
        grown = list(pool.map(lambda _: expand(stage, gid), range(8)))
    assert len([clusters for clusters in grown if clusters]) == 1
    assert media(one_each, gid) == [[medium] for medium in range(60)]


async def test_a_large_launch_holds_up_no_small_one(
    one_each: Client, stage: Launching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argosy.launch.expander, "_CUTTING", 1)
    large = one_each.launch("hello", project=1, user=7, media_ids=range(200)).gid
    small = one_each.launch("hello", project=1, user=7, media_ids=[1, 2]).gid
    expander = Expander(stage, lambda _: None)
    expander.start(large)
    expander.start(small)
    await until(lambda: outcome(one_each, large)[0], lambda state: state == "expanded")
    expander.stop()
    last = "SELECT gid FROM argosy.attempt GROUP BY gid ORDER BY max(seq)"
    assert sql(engine, last) == [(small,), (large,)]


# Clusters that go


def test_a_launch_whose_cluster_is_removed_while_its_media_are_asked_for_is_rejected_in_words(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.gate.clear()
    api.media = [1]
    gid = registered.launch("hello", project=1, user=7).gid
    with ThreadPoolExecutor(1) as pool:
        expanding = pool.submit(expand, stage, gid)
        while not api.asked:
            assert not expanding.done()
        registered.remove_cluster("c", abandon=True)
        api.gate.set()
        assert expanding.result() == []
    state, reason = outcome(registered, gid)
    assert (state, "no registered cluster may run its jobs any more" in reason) == ("rejected", True)


def test_a_launch_goes_on_with_the_clusters_that_are_left(registered: Client, stage: Launching, api: ApiServer) -> None:
    registered.add_cluster(name="d", host="127.0.0.1", port=99, cert=PEM, token="t")
    registered.update_algorithm("hello", clusters=[1, 2])
    claimed = take(stage, registered.launch("hello", project=1, user=7, media_ids=range(9)).gid)
    assert claimed is not None
    claimed = advance(stage, claimed).claim
    assert claimed is not None
    registered.update_algorithm("hello", cluster=2)
    registered.remove_cluster("c", abandon=True)
    assert advance(stage, claimed).clusters == [2]


def test_a_cluster_is_not_removed_under_a_launch_that_needs_it(registered: Client, stage: Launching) -> None:
    claimed = take(stage, registered.launch("hello", project=1, user=7, media_ids=range(9)).gid)
    assert claimed is not None
    advance(stage, claimed)
    with pytest.raises(Conflict, match="unfinished"):
        registered.remove_cluster("c")


def test_a_launch_that_lost_its_last_cluster_half_way_is_not_queued_for_none(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    claimed = half_cut(one_each, stage)
    sql(engine, "UPDATE argosy.cluster SET removed_at = clock_timestamp()")  # abandoned
    assert advance(stage, claimed).claim is None
    (shown,) = one_each.launches()
    assert (shown.state, shown.jobs) == ("rejected", 2)
    assert one_each.get(JobUids(claimed.gid, 5)[4]).status == "Rejected"


def test_a_workflow_that_says_it_is_the_last_attempt_that_a_number_can_hold_is_not_taken_for_its_job(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    """A retry of that job, and of all that are retried with it, would fail for ever."""
    gid = half_cut(one_each, stage).gid
    third, fourth, _ = JobUids(gid, 5)[2:]
    with engine.begin() as connection:
        found = [strays.Stray("3", third, 3, gid, "job-3"), strays.Stray("4", fourth, (1 << 31) - 1, gid, "job-4")]
        strays.note(connection, 1, found)
    its_time_has_come(engine)
    expand(stage, gid)
    assert [(job.status, job.attempt) for job in one_each.list(gid=gid)][2:] == [
        ("Pending", 3),
        ("Queued", 1),
        ("Queued", 1),
    ]


def test_what_an_abandoned_cluster_had_run_of_a_launch_that_is_cut_later_is_lost_and_does_not_run_anew(
    one_each: Client, stage: Launching, engine: Engine
) -> None:
    """Found by the audit: its workflows had been seen, and were forgotten with it."""
    other = one_each.add_cluster(name="other", host="127.0.0.1", port=1, cert=PEM, token="t").id
    one_each.update_algorithm("hello", clusters=[1, other], max_attempts=2)
    half_cut(one_each, stage)
    one_each.update_algorithm("hello", clusters=[1], max_attempts=2)
    gid = one_each.launch("hello", project=1, user=7, media_ids=range(1, 6)).gid
    third, fourth, _ = JobUids(gid, 5)[2:]
    with engine.begin() as connection:
        strays.note(
            connection, other, [strays.Stray("3", third, 1, gid, "job-3"), strays.Stray("4", fourth, 2, gid, "job-4")]
        )
    one_each.remove_cluster("other", abandon=True)
    its_time_has_come(engine)
    expand(stage, gid)
    shown = [(job.status, job.attempt, job.cluster) for job in one_each.list(gid=gid)][2:]
    assert shown == [("Lost", 1, "other"), ("Lost", 2, "other"), ("Queued", 1, "c")]
    assert "abandoned" in one_each.get(third).message
    with engine.begin() as connection:
        assert retries.follow(connection) == 1
    assert [(job.status, job.attempt) for job in one_each.list(gid=gid)][2:4] == [("Queued", 2), ("Lost", 2)]


def test_what_an_abandoned_cluster_had_is_forgotten_after_the_retention_window(
    one_each: Client, engine: Engine
) -> None:
    with engine.begin() as connection:
        strays.note(connection, 1, [strays.Stray("1", uuid1(), 1, uuid1(), "job")])
    sql(engine, "UPDATE argosy.stray SET noted_at = now() - interval '91 days'")
    for removed, left in ((None, 1), ("now", 0)):
        sql(engine, "UPDATE argosy.cluster SET removed_at = CAST(:at AS timestamptz)", at=removed)
        with engine.begin() as connection:
            retention.forget(connection, 90)
        assert len(sql(engine, "SELECT FROM argosy.stray")) == left
