"""Launches that wait for the end of another one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID, uuid1

import psycopg
import pytest
from sqlalchemy import Engine, text

from argosy.client import Client, Launched
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from argosy.shapes.shown import LaunchShape
from argosy.states import State
from argosy.store import followers, launches, notices, retention, targets
from tests.support.jobs import claim, created, end, record, run, statuses
from tests.support.launching import HELLO, api, registered, sent, stage
from tests.support.queues import sql
from tests.support.stack import finished, running, until

__all__ = ["api", "registered", "stage"]


def launch(client: Client, *, media: int = 3, **fields: object) -> Launched:
    given = {"project": 1, "user": 7, "media_ids": range(1, media + 1)} | fields
    return client.launch("hello", **given)  # type: ignore[arg-type]


def shown(client: Client, gid: UUID) -> LaunchShape:
    (found,) = client.launches(gid=gid)
    return found


@contextmanager
def noticed(settings: Settings) -> Iterator[psycopg.Connection]:
    """Listens to what trackers listen to."""
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"LISTEN {notices.LAUNCHES}".encode())
        yield connection


def gids(connection: psycopg.Connection) -> list[UUID]:
    """The launches that were notified of since."""
    return [UUID(notice.payload) for notice in connection.notifies(timeout=0.2)]


def test_a_launch_waits_for_the_last_job_and_is_woken_by_the_transaction_that_ends_it(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    first = launch(registered, media=6)
    expand(stage, first.gid)
    second = launch(registered, after=first.gid)
    assert (second.state, len(second.uids)) == ("accepted", 1)
    found = shown(registered, second.gid)
    assert (found.state, found.waiting, found.after) == ("accepted", True, first.gid)
    assert found.reason == f"waits until all jobs of launch {first.gid} have Succeeded"
    job = registered.get(second.uids[0])
    assert (job.status, job.message) == ("Queued", found.reason)
    assert expand(stage, second.gid) == []
    with noticed(settings) as heard:
        run(engine, State.SUCCEEDED, 1)
        assert gids(heard) == []
        run(engine, State.SUCCEEDED, 1)
        assert gids(heard) == [second.gid]
    assert expand(stage, second.gid)
    found = shown(registered, second.gid)
    assert (found.state, found.waiting, found.reason, found.jobs) == ("expanded", False, "", 1)


@pytest.mark.parametrize("state", [State.FAILED, State.LOST, State.CANCELLED])
@pytest.mark.parametrize("after_if", ["ok", "any"])
def test_one_that_needs_success_is_rejected_where_a_job_has_none_and_another_begins(
    registered: Client, stage: Launching, engine: Engine, state: State, after_if: str
) -> None:
    first = launch(registered, media=6).gid
    expand(stage, first)
    second = launch(registered, after=first, after_if=after_if).gid
    run(engine, State.SUCCEEDED, 1)
    run(engine, state, 1)
    expand(stage, second)
    found = shown(registered, second)
    if after_if == "any":
        assert (found.state, found.reason) == ("expanded", "")
    else:
        words = f"launch {first}, after which it was to run, has 1 jobs that did not succeed (1 {state.capitalize()})"
        assert (found.state, found.waiting) == ("rejected", False)
        assert found.reason.startswith(words)


@pytest.mark.parametrize("way", ["rejected", "cancelled", "half"])
@pytest.mark.parametrize("after_if", ["ok", "any"])
def test_a_predecessor_that_ends_before_it_has_jobs(
    registered: Client, stage: Launching, settings: Settings, engine: Engine, way: str, after_if: str
) -> None:
    wrong = {"extra_params": [{"name": "gid", "value": 1}]} if way == "rejected" else {}
    first = sent(registered, media_ids=[1, 2, 3], **wrong)
    second = launch(registered, after=first, after_if=after_if).gid
    with noticed(settings) as heard:
        if way == "rejected":
            expand(stage, first)
        elif way == "cancelled":
            registered.cancel(first)
        else:
            sql(
                engine,
                "UPDATE argosy.launch SET state = 'resolved', jobs = 2, expanded_jobs = 1 WHERE gid = :gid",
                gid=first,
            )
            registered.cancel(first)
        assert gids(heard) == [second]
    expand(stage, second)
    found = shown(registered, second)
    assert found.state == ("expanded" if after_if == "any" else "rejected")
    if after_if == "ok":
        assert f"launch {first}, after which it was to run, was " in found.reason


def test_one_that_has_ended_is_waited_for_no_more(registered: Client, stage: Launching, engine: Engine) -> None:
    first = launch(registered).gid
    expand(stage, first)
    run(engine, State.SUCCEEDED)
    second = launch(registered, after=first).gid
    assert expand(stage, second)
    assert shown(registered, second).state == "expanded"


def test_one_without_jobs_has_succeeded(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    expand(stage, launch(registered).gid)
    run(engine, State.SUCCEEDED)
    first = launch(registered, skip_done=True).gid
    second = launch(registered, after=first).gid
    with noticed(settings) as heard:
        expand(stage, first)
        assert gids(heard) == [second]
    assert expand(stage, second)


def test_other_algorithms_of_the_project_may_follow_and_nothing_of_other_projects(
    registered: Client, stage: Launching
) -> None:
    registered.register_algorithm(name="other", project=1, user=7, manifest=HELLO, files_per_job=1)
    registered.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=1)
    first = launch(registered).gid
    assert registered.launch("other", project=1, user=8, media_ids=[1], after=first).new
    for project, name in ((2, "theirs"), (1, "hello")):
        after = first if project == 2 else uuid1()
        with pytest.raises(NotFound, match=f"after: launch {after} does not exist in project {project}"):
            registered.launch(name, project=project, user=7, media_ids=[1], after=after)
    with pytest.raises(InvalidRequest, match="only together with after"):
        launch(registered, cancel_with=True)
    with pytest.raises(InvalidRequest, match="after_if"):
        launch(registered, after=first, after_if="perhaps")


def test_no_circle_can_be_made_of_gids_that_are_known_before(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    one, other = uuid1(), uuid1()
    with pytest.raises(InvalidRequest, match="cannot run after itself"):
        launch(registered, gid=one, after=one)
    with pytest.raises(NotFound):
        launch(registered, gid=one, after=other)
    # Each in a transaction of its own, neither committed: neither sees the other.
    with engine.connect() as first, engine.connect() as second:
        for connection, gid, after in ((first, one, other), (second, other, one)):
            with connection.begin(), pytest.raises(NotFound):
                launch(registered, gid=gid, after=after, connection=connection)
    launch(registered, gid=one)
    launch(registered, gid=other, after=one)
    with pytest.raises(Exception, match="belongs to another launch"):
        launch(registered, gid=one, after=other)


def test_both_may_be_written_in_one_transaction_and_the_same_request_again_is_the_same_launch(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    first, second = uuid1(), uuid1()
    with engine.begin() as connection:
        launch(registered, gid=first, connection=connection)
        launch(registered, gid=second, after=first, connection=connection)
    assert not launch(registered, gid=second, after=first).new
    registered.cancel(first)
    expand(stage, second)
    sql(engine, "DELETE FROM argosy.launch WHERE gid = :gid", gid=first)
    again = launch(registered, gid=second, after=first)
    assert (again.new, again.state) == (False, "rejected")


def test_a_retry_of_the_predecessor_has_it_wait_on(registered: Client, stage: Launching, engine: Engine) -> None:
    first = launch(registered).gid
    expand(stage, first)
    second = launch(registered, after=first).gid
    run(engine, State.FAILED)
    with engine.begin() as connection:
        claimed = launches.claim(connection, second, "w", 20.0)
    assert claimed is not None
    registered.retry(first)  # before the worker that has claimed it has decided
    with engine.begin() as connection:
        assert not followers.begin(connection, claimed, first, "ok")
    found = shown(registered, second)
    assert (found.state, found.waiting) == ("accepted", True)
    assert expand(stage, second) == []
    run(engine, State.SUCCEEDED)
    assert expand(stage, second)


def test_a_job_that_is_tried_again_by_itself_has_not_ended(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.update_algorithm("hello", max_attempts=2, retry_backoff=60)
    first = launch(registered).gid
    expand(stage, first)
    second = launch(registered, after=first, after_if="any").gid
    sql(engine, "UPDATE argosy.cluster SET held_at = clock_timestamp()")  # so that the next attempt is not written yet
    assert claim(engine, 1) == []
    sql(engine, "UPDATE argosy.cluster SET held_at = NULL")
    (waiting,) = claim(engine, 1)
    record(engine, created(waiting))
    sql(engine, "UPDATE argosy.cluster SET held_at = clock_timestamp()")
    end(engine, waiting, State.ERROR)
    assert statuses(registered, first) == ["Error"]
    assert expand(stage, second) == []
    assert shown(registered, second).waiting


def test_housekeeping_finds_what_was_missed(registered: Client, stage: Launching, engine: Engine) -> None:
    first = launch(registered, media=6).gid
    expand(stage, first)
    second = launch(registered, after=first).gid
    with engine.begin() as connection:
        assert launches.due(connection, 0) == []
    # Two transactions end the last two jobs, and neither sees the other.
    one, other = claim(engine)
    record(engine, created(one), created(other))
    with engine.connect() as slow, slow.begin():
        slow.execute(
            text("UPDATE argosy.attempt SET state = 'succeeded', finished_at = now() WHERE uid = :uid"),
            {"uid": one.uid},
        )
        notices.jobs_ended(slow, [one.uid])
        end(engine, other, State.SUCCEEDED)
    with engine.begin() as connection:
        assert launches.due(connection, 0) == [second]
    assert expand(stage, second)


def test_a_cancel_cancels_with_it_who_asked_for_that_down_the_chain(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    first = launch(registered, media=6).gid
    expand(stage, first)
    with_it = launch(registered, after=first, cancel_with=True, token="t").gid
    in_turn = launch(registered, after=with_it, cancel_with=True).gid
    alone = launch(registered, after=with_it, after_if="any").gid
    beside = launch(registered, after=first, after_if="any").gid
    registered.cancel(registered.list(gid=first)[0].uid)  # a job is not the launch
    assert [shown(registered, gid).state for gid in (with_it, in_turn)] == ["accepted"] * 2
    with noticed(settings) as heard:
        assert registered.cancel(first).launches == 2
        assert set(gids(heard)) == {alone, beside}
    states = {gid: shown(registered, gid).state for gid in (with_it, in_turn, alone, beside)}
    assert states == {with_it: "cancelled", in_turn: "cancelled", alone: "accepted", beside: "accepted"}
    assert shown(registered, in_turn).reason == f"cancelled with launch {first}, after which it was to run"
    assert sql(engine, "SELECT token_wiped, token_sealed FROM argosy.launch WHERE gid = :gid", gid=with_it) == [
        (True, None)
    ]
    assert expand(stage, alone)
    assert expand(stage, beside)
    assert registered.cancel(first).launches == 0


def test_cancels_of_both_ends_of_a_chain_at_once_do_not_block_each_other(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    first = launch(registered).gid
    chain = [first]
    for _ in range(20):
        chain.append(launch(registered, after=chain[-1], cancel_with=True).gid)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(registered.cancel, [chain[10], chain[0], chain[20], chain[5]]))
    assert {shown(registered, gid).state for gid in chain} == {"cancelled"}


def test_retention_keeps_what_is_waited_for_and_a_follower_of_what_is_gone_says_so(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    first = launch(registered).gid
    second = launch(registered, after=first, after_if="any").gid
    registered.cancel(first)
    sql(engine, "UPDATE argosy.launch SET created_at = now() - interval '100 days' WHERE gid = :gid", gid=first)
    with engine.begin() as connection:
        assert retention.forget(connection, 90) == 0
    sql(engine, "DELETE FROM argosy.launch WHERE gid = :gid", gid=first)
    with engine.begin() as connection:
        assert launches.due(connection, 0) == [second]
    expand(stage, second)
    found = shown(registered, second)
    assert (found.state, "is not there any more" in found.reason) == ("rejected", True)


@pytest.mark.parametrize(("ends", "length"), [("expanded", 200), ("rejected", 100), ("cancelled", 1000)])
def test_a_long_chain_goes_from_notice_to_notice(
    registered: Client, stage: Launching, engine: Engine, settings: Settings, ends: str, length: int
) -> None:
    expand(stage, launch(registered, media=1).gid)
    run(engine, State.SUCCEEDED)  # so that each of the chain has nothing to do
    skip = ends != "rejected"
    wrong = {"extra_params": [{"name": "gid", "value": 1}]} if not skip else {}
    chain = [sent(registered, skip_done=skip, **wrong)]
    with engine.begin() as connection:
        for _ in range(length - 1):
            chain.append(
                launch(
                    registered, media=1, after=chain[-1], skip_done=True, cancel_with=True, connection=connection
                ).gid
            )
    with noticed(settings) as heard:
        if ends == "cancelled":
            assert registered.cancel(chain[0]).launches == length
        else:
            expand(stage, chain[0])
            for notice in heard.notifies(timeout=200):
                expand(stage, UUID(notice.payload))
                if notice.payload == str(chain[-1]):
                    break
    states = dict(sql(engine, "SELECT state, count(*) FROM argosy.launch WHERE after_gid IS NOT NULL GROUP BY state"))
    assert states == {ends: length - 1}


def test_followers_are_asked_for_by_an_index(registered: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(
            row[0]
            for row in connection.execute(text("EXPLAIN " + notices._OF_JOBS.text), {"channel": "c", "ids": [uuid1()]})
        )
    assert "ix_launch_waiting" in plan


async def test_a_follower_runs_by_itself_in_the_whole_product(settings: Settings, registered: Client) -> None:
    from argosy.demo.simulator import SimulatedCluster

    with SimulatedCluster() as cluster:
        at = cluster.connection
        registered.add_cluster(name="s", host=at.host, port=at.port, cert=at.ca, token=at.token)
        registered.update_algorithm("hello", cluster=registered.cluster("s").id)
        first = launch(registered).gid
        second = launch(registered, after=first).gid
        async with running(settings):
            jobs = await finished(registered, second)
        assert [job.status for job in jobs] == ["Succeeded"]
        (before,) = registered.list(gid=first)
        assert before.stop_time is not None
        assert jobs[0].start_time is not None
        assert before.stop_time <= jobs[0].start_time
    await until(lambda: shown(registered, second), lambda found: not found.waiting)


def test_batches_of_a_cancel_wake_followers_with_the_last(
    registered: Client, stage: Launching, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "BATCH", 1)
    first = launch(registered, media=9).gid
    expand(stage, first)
    second = launch(registered, after=first, after_if="any").gid
    with noticed(settings) as heard:
        registered.cancel(first)
        assert gids(heard) == [second]
