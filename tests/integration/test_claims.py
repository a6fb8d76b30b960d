"""The claim on a real PostgreSQL: whose jobs a cluster takes, how many, and that several workers never take one too many."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from argosy.client import Client
from argosy.scheduling import pace
from argosy.scheduling.share import part
from argosy.store import claims, pacing, queue, retention
from tests.support.certificates import PEM
from tests.support.jobs import record
from tests.support.launching import HELLO
from tests.support.queues import claim, clusters, fill, finish, placement, render, sql

ACTIVE = "state IN ('submitting', 'pending', 'running')"


def active(at: Engine) -> Counter[int]:
    """Unfinished workflows by project, in one snapshot."""
    rows = sql(at, f"SELECT project, count(*) AS active FROM argosy.attempt WHERE {ACTIVE} GROUP BY project")
    return Counter({row.project: row.active for row in rows})


def projects(claimed: claims.Claims) -> list[int]:
    return [job.project for job in claimed.jobs]


def test_limits_hold_under_several_workers_while_jobs_end(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=7, project_max_active=5)
    client.limit_project(2, "c", 3)
    with engine.begin() as connection:
        fill(connection, 1, 50, until=3)
    done = Event()
    seen: list[Counter[int]] = []

    def work() -> None:
        while True:
            claimed = claim(engine, limit=4).jobs
            seen.append(active(engine))
            if not claimed and not active(engine):
                return
            finish(engine, [job.uid for job in claimed])

    def observe() -> None:
        while not done.is_set():
            seen.append(active(engine))

    with ThreadPoolExecutor(5) as threads:
        observer = threads.submit(observe)
        for worker in [threads.submit(work) for _ in range(4)]:
            worker.result()
        done.set()
        observer.result()
    assert sql(engine, "SELECT count(*) FROM argosy.attempt WHERE state = 'succeeded'") == [(150,)]
    assert max(counts.total() for counts in seen) <= 7
    assert max(counts[2] for counts in seen) <= 3
    assert max(counts[1] for counts in seen) <= 5
    assert len(seen) > 20


def test_claims_of_a_cluster_take_turns(client: Client, engine: Engine) -> None:
    """The second is held up until the first is committed, and then counts what that took."""
    clusters(client, "c", max_active=5)
    with engine.begin() as connection:
        fill(connection, 1, 20)
    second: list[Future[claims.Claims]] = []
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def while_the_second_waits(waiting: claims.Waiting) -> claims.Rendering | str:
        if not second:
            second.append(threads.submit(claim, engine))
            while not second[0].done() and sql(engine, waits) == [(0,)]:
                pass
        return render(waiting)

    with ThreadPoolExecutor(1) as threads:
        first = claim(engine, limit=3, rendering=while_the_second_waits)
        assert (len(first.jobs), len(second[0].result().jobs)) == (3, 2)


def test_a_limit_that_changes_holds_from_the_next_claim_on(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=4)
    with engine.begin() as connection:
        fill(connection, 1, 20)
    first = claim(engine).jobs
    assert len(first) == 4
    client.update_cluster("c", max_active=6)
    assert len(claim(engine).jobs) == 2
    client.update_cluster("c", max_active=3)
    finish(engine, [job.uid for job in first[:3]])
    assert claim(engine).jobs == []
    finish(engine, [first[3].uid])
    assert len(claim(engine).jobs) == 1
    client.limit_project(1, "c", 3)
    client.update_cluster("c", max_active=9)
    assert claim(engine).jobs == []
    client.limit_project(1, "c", None)
    assert len(claim(engine).jobs) == 6


def test_a_projects_own_limit_takes_the_place_of_the_clusters_for_all(client: Client, engine: Engine) -> None:
    clusters(client, "c", "d", project_max_active=2)
    client.limit_project(2, "c", 3)
    client.limit_project(3, "c", 1)
    client.limit_project(1, "d", 1)
    with engine.begin() as connection:
        fill(connection, 1, 9, until=3)
    assert Counter(projects(claim(engine, limit=64))) == {1: 2, 2: 3, 3: 1}


def test_a_project_that_may_have_nothing_here_waits_and_others_do_not(client: Client, engine: Engine) -> None:
    clusters(client, "c")
    client.limit_project(1, "c", 0)
    with engine.begin() as connection:
        fill(connection, 1, 3, until=2)
    assert projects(claim(engine)) == [2, 2, 2]


def test_claims_that_ran_out_come_first_and_hold_their_slots(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=3)
    with engine.begin() as connection:
        fill(connection, 1, 5)
    first = claim(engine, limit=2).jobs
    sql(engine, "UPDATE argosy.attempt SET lease_until = clock_timestamp() - interval '1 s' WHERE state = 'submitting'")
    again = claim(engine).jobs
    assert [job.uid for job in again[:2]] == [job.uid for job in first]
    assert [job.stale for job in again] == [True, True, False]
    assert [(job.tries, job.epoch) for job in again] == [(1, 2), (1, 2), (0, 1)]
    assert claim(engine).jobs == []


def test_a_delayed_job_joins_when_its_time_has_come(client: Client, engine: Engine) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 2, delay=60)
    assert claim(engine).jobs == []
    with engine.connect() as connection:
        assert claims.clusters_with_work(connection) == []
    sql(engine, "UPDATE argosy.attempt SET not_before = clock_timestamp() - interval '1 s'")
    with engine.connect() as connection:
        assert claims.clusters_with_work(connection) == [1]
    assert len(claim(engine).jobs) == 2


def test_a_job_that_cannot_be_rendered_is_rejected_and_the_others_go_on(client: Client, engine: Engine) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 4)
    (bad,) = sql(engine, "SELECT uid FROM argosy.attempt ORDER BY seq LIMIT 1")
    found = claim(engine, rendering=lambda job: "no such thing" if job.uid == bad.uid else render(job))
    assert (len(found.jobs), found.rejected) == (3, 1)
    assert sql(engine, "SELECT uid, message FROM argosy.attempt WHERE state = 'rejected'") == [
        (bad.uid, "no such thing")
    ]


def test_a_run_of_jobs_that_cannot_be_rendered_says_so_and_ends_with_the_queue(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=2)
    with engine.begin() as connection:
        fill(connection, 1, 5)
    assert [claim(engine, rendering=lambda job: "no").rejected for _ in range(4)] == [2, 2, 1, 0]


def test_priority_orders_a_users_jobs_across_algorithms_and_takes_nothing_from_others(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 2, priority=0)
        fill(connection, 1, 1, priority=7)
        fill(connection, 1, 2, priority=5, algorithm=2)
        fill(connection, 1, 1, priority=100, user=8)
        fill(connection, 2, 3, priority=-100)
    order = {row.uid: row.priority for row in sql(engine, "SELECT uid, priority FROM argosy.attempt")}
    jobs = [next(iter(claim(engine, limit=1).jobs)) for _ in range(9)]
    assert Counter(job.project for job in jobs[:4]) == {1: 2, 2: 2}
    assert [order[job.uid] for job in jobs if job.project == 1 and order[job.uid] != 100] == [7, 5, 5, 0, 0]


def test_a_quiet_tenants_single_job_comes_within_as_many_slots_as_there_are_tenants(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c", max_active=1)
    with engine.begin() as connection:
        fill(connection, 1, 500)
        fill(connection, 2, 20, until=4)
    before = [claim(engine).jobs for _ in range(1)]
    for _ in range(30):
        finish(engine, [job.uid for job in before.pop()])
        before.append(claim(engine).jobs)
    with engine.begin() as connection:
        fill(connection, 9, 1)
    order = []
    while 9 not in order:
        finish(engine, [job.uid for job in before.pop()])
        before.append(claim(engine).jobs)
        order += [job.project for job in before[0]]
    assert len(order) <= 5


def test_what_was_paid_long_ago_is_forgotten_and_changes_no_turn(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=100)
    client.set_project(2, weight=0.5)
    with engine.begin() as connection:
        fill(connection, 1, 1)
        assert projects(claim(connection)) == [1]
        fill(connection, 2, 30, until=3)
        assert len(claim(connection, limit=20).jobs) == 20
        fill(connection, 1, 30)
        with connection.begin_nested() as kept:
            turns = projects(claim(connection, limit=15))
            kept.rollback()
        assert set(turns) == {1, 2, 3}
        assert retention.forget_turns(connection) == 1
        assert retention.forget_turns(connection) == 0
        assert projects(claim(connection, limit=15)) == turns


def test_a_tenant_whose_jobs_somebody_else_has_locked_is_passed_over_and_not_charged(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 2, until=2)
    with engine.begin() as somebody:
        somebody.execute(text("SELECT FROM argosy.attempt WHERE project = 1 FOR UPDATE"))
        assert projects(claim(engine)) == [2, 2]
        assert sql(engine, "SELECT DISTINCT project FROM argosy.turn") == [(2,)]
    assert projects(claim(engine)) == [1, 1]


def test_a_paused_algorithm_among_several_of_a_user_waits_alone(client: Client, engine: Engine) -> None:
    clusters(client, "c")
    client.register_algorithm(name="other", project=1, user=7, cluster=1, manifest=HELLO, files_per_job=1)
    with engine.begin() as connection:
        fill(connection, 1, 3, algorithm=1, priority=9)
        fill(connection, 1, 2, algorithm=2)
    client.pause(algorithm="hello")
    assert len(claim(engine).jobs) == 2
    client.resume(algorithm="hello")
    assert len(claim(engine).jobs) == 3


def test_an_unclear_create_of_a_paused_project_waits_too_unless_it_is_to_be_cancelled(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 1)
    (job,) = claim(engine).jobs
    record(engine, queue.Unresolved(job.uid, 1, job.epoch, "no answer", -1.0, unclear=True))
    client.pause(project=1)
    assert claim(engine).jobs == []
    client.cancel(job.uid)
    (again,) = claim(engine).jobs
    assert again.cancel_requested


# Placements


@pytest.fixture
def two(client: Client, engine: Engine) -> int:
    """Clusters 1 and 2 of 10 slots; the placement that lets a job go to either."""
    clusters(client, "one", "two", max_active=10)
    with engine.begin() as connection:
        return placement(connection, 1, 2)


def queued(engine: Engine, jobs: int, choice: int, project: int = 1) -> None:
    with engine.begin() as connection:
        fill(connection, project, jobs, placement=choice)


def test_two_clusters_are_filled_evenly_by_a_short_queue_and_wholly_by_a_long_one(
    client: Client, engine: Engine, two: int
) -> None:
    client.update_cluster("two", max_active=30)
    queued(engine, 8, two)
    assert [len(claim(engine, cluster, 64).jobs) for cluster in (1, 2, 1, 2)] == [2, 6, 0, 0]
    queued(engine, 100, two)
    assert [len(claim(engine, cluster, 64).jobs) for cluster in (1, 2)] == [8, 24]


def test_a_single_job_goes_to_the_cluster_with_the_most_free_share(engine: Engine, two: int) -> None:
    with engine.begin() as connection:
        fill(connection, 1, 3, placement=1)
    assert len(claim(engine, 1).jobs) == 3
    queued(engine, 1, two)
    assert claim(engine, 1).jobs == []
    assert len(claim(engine, 2).jobs) == 1
    assert sql(engine, "SELECT cluster_id FROM argosy.attempt WHERE placement_id = :p", p=two) == [(2,)]


WORSE = {
    "unhealthy": "health = 'unreachable'",
    "paused": "paused_at = now()",
    "open": "open_until = clock_timestamp() + interval '1 min'",
    "failing": "open_tries = 1, open_until = clock_timestamp() + interval '1 min'",
    "removed": "removed_at = now()",
    "full": "max_active = 0",
}


@pytest.mark.parametrize("why", WORSE)
def test_a_cluster_that_cannot_take_a_job_leaves_it_to_the_other(engine: Engine, two: int, why: str) -> None:
    queued(engine, 4, two)
    sql(engine, f"UPDATE argosy.cluster SET {WORSE[why]} WHERE id = 1")
    assert claim(engine, 1).jobs == []
    assert len(claim(engine, 2).jobs) == 4


def test_where_no_cluster_is_known_to_be_healthy_either_may_try(engine: Engine, two: int) -> None:
    queued(engine, 4, two)
    sql(engine, "UPDATE argosy.cluster SET health = 'unknown'")
    assert len(claim(engine, 1).jobs) == 4


@pytest.mark.parametrize("busy", range(1, 100))
def test_of_two_equally_full_clusters_one_takes_the_next_job(busy: int) -> None:
    """In floating point 100 * (1 - 0.93) is less than 7, and both left it to the other."""
    assert part(1, (100, busy), [(100, busy)]) == 1


@given(
    own=st.tuples(st.integers(1, 500), st.integers(0, 600)),
    others=st.lists(st.tuples(st.integers(1, 500), st.integers(0, 600)), max_size=4),
    jobs=st.integers(1, 3000),
)
def test_no_job_is_left_to_nobody_and_none_goes_where_it_is_fuller(
    own: tuple[int, int], others: list[tuple[int, int]], jobs: int
) -> None:
    every = [own, *others]
    jobs = min(jobs, sum(max(slots - taken, 0) for slots, taken in every))
    parts = [part(jobs, one, every[:at] + every[at + 1 :]) for at, one in enumerate(every)]
    assert jobs <= sum(parts) < jobs + len(every)
    for (slots, taken), more in zip(every, parts, strict=True):
        assert more == 0 or taken + more <= slots
        # Its last job would be no better off elsewhere.
        assert more == 0 or all(
            (taken + more - 1) * other < (busy + got + 1) * slots
            for (other, busy), got in zip(every, parts, strict=True)
        )


def test_a_job_that_the_better_cluster_does_not_take_is_not_left_for_ever(
    client: Client, engine: Engine, two: int
) -> None:
    """Its project may have nothing there, so that one stays the emptier for good."""
    client.limit_project(1, "two", 0)
    queued(engine, 4, two)
    assert len(claim(engine, 1).jobs) == 2
    sql(engine, "UPDATE argosy.attempt SET queued_at = queued_at - interval '10 s'")
    assert claim(engine, 2).jobs == []
    assert len(claim(engine, 1).jobs) == 2


def test_an_unclear_create_stays_on_its_cluster_and_one_that_surely_did_not_happen_is_free_again(
    engine: Engine, two: int
) -> None:
    queued(engine, 2, two)
    sql(engine, "UPDATE argosy.cluster SET health = 'unreachable' WHERE id = 2")
    unclear, back = claim(engine, 1).jobs
    record(
        engine,
        queue.Unresolved(unclear.uid, 1, unclear.epoch, "no answer", -1.0),
        queue.Returned(back.uid, 1, back.epoch, "it asks to wait", -1.0),
    )
    sql(engine, "UPDATE argosy.cluster SET health = CASE id WHEN 1 THEN 'unreachable' ELSE 'ok' END")
    assert [job.uid for job in claim(engine, 2).jobs] == [back.uid]
    assert [job.uid for job in claim(engine, 1).jobs] == [unclear.uid]
    assert sorted(sql(engine, "SELECT uid, cluster_id FROM argosy.attempt")) == sorted(
        [(unclear.uid, 1), (back.uid, 2)]
    )


def test_a_create_that_surely_did_not_happen_where_there_is_no_choice_stays_there(
    client: Client, engine: Engine
) -> None:
    clusters(client, "one", "two")
    with engine.begin() as connection:
        fill(connection, 1, 1, placement=2)
    (job,) = claim(engine, 2).jobs
    record(engine, queue.Returned(job.uid, 1, job.epoch, "it asks to wait", -1.0))
    assert claim(engine, 1).jobs == []
    assert sql(engine, "SELECT cluster_id FROM argosy.attempt") == [(2,)]


def test_a_cluster_that_is_labelled_or_registered_later_serves_what_waits(client: Client, engine: Engine) -> None:
    clusters(client, "one")
    with engine.begin() as connection:
        choice = placement(connection, labels='{"gpu": "yes"}')
    queued(engine, 5, choice)
    assert claim(engine, 1).jobs == []
    client.update_cluster("one", labels={"gpu": "yes", "zone": "a"}, max_active=2)
    assert len(claim(engine, 1).jobs) == 2
    client.add_cluster(name="new", host="127.0.0.1", port=99, cert=PEM, token="t", labels={"gpu": "yes"}, pace=False)
    sql(engine, "UPDATE argosy.cluster SET health = 'ok'")
    with engine.connect() as connection:
        assert claims.clusters_with_work(connection) == [2]
    assert len(claim(engine, 2).jobs) == 3


def test_two_clusters_that_claim_at_once_double_nothing(engine: Engine, two: int) -> None:
    queued(engine, 300, two)

    def work(cluster: int) -> list[tuple[UUID, int]]:
        got: list[tuple[UUID, int]] = []
        while sql(engine, "SELECT count(*) FROM argosy.attempt WHERE state = 'queued'") != [(0,)]:
            claimed = claim(engine, cluster, 4).jobs
            got += [(job.uid, job.epoch) for job in claimed]
            finish(engine, [job.uid for job in claimed])
        return got

    with ThreadPoolExecutor(4) as threads:
        got = [job for found in threads.map(work, (1, 2, 1, 2)) for job in found]
    assert len(got) == len(set(got)) == 300
    assert {epoch for _, epoch in got} == {1}


# The probe


def test_a_cluster_that_failed_is_given_one_job_and_nobody_else_claims_meanwhile(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 5)
    sql(engine, "UPDATE argosy.cluster SET open_tries = 1, open_until = clock_timestamp() - interval '1 s'")
    found = claim(engine)
    assert (len(found.jobs), found.probe) == (1, True)
    assert claim(engine).jobs == []


def test_a_probe_is_another_job_than_one_whose_create_is_unclear_if_there_is_one(
    client: Client, engine: Engine
) -> None:
    """Else a tenant whose workflows choke the cluster would be every probe, and nobody would ever come by."""
    clusters(client, "c")
    with engine.begin() as connection:
        fill(connection, 1, 2)
    poison = claim(engine).jobs
    record(engine, *(queue.Unresolved(job.uid, 1, job.epoch, "no answer", -1.0, unclear=True) for job in poison))
    with engine.begin() as connection:
        fill(connection, 2, 1)
    for expected in (2, 1):
        sql(engine, "UPDATE argosy.cluster SET open_tries = 1, open_until = clock_timestamp() - interval '1 s'")
        assert projects(claim(engine)) == [expected]


# What it costs, and when it is worth it


STATES = st.sampled_from(["ok", "paused", "open", "over", "full", "window", "removed"])
CHANGES = {
    "ok": "max_active = 5",
    "paused": "paused_at = now()",
    "open": "open_until = clock_timestamp() + interval '1 min'",
    "over": "open_until = clock_timestamp() - interval '1 s', open_tries = 1",
    "full": "max_active = 1",
    "window": "max_active = 5, pace = true, pace_window = 2",
    "removed": "removed_at = now()",
}


@examples(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.tuples(STATES, STATES),
    rows=st.lists(
        st.tuples(
            st.sampled_from([1, 1, 1, 2, 2, 3]),
            st.sampled_from(["queued", "delayed", "due", "stale", "submitting", "pending", "succeeded"]),
            st.integers(1, 2),
        ),
        max_size=6,
    ),
    kept=st.sampled_from(["", "", "", "paused", "limited"]),
)
def test_where_there_is_work_a_claim_finds_some(
    many: Engine,
    states: tuple[str, str],
    rows: list[tuple[int, str, int]],
    kept: str,
) -> None:
    """Never missed; and said in vain only where a pause, a tenant's limit or the other cluster keeps a claim from it."""
    with many.connect() as connection:
        for cluster, state in enumerate(states, 1):
            connection.execute(text(f"UPDATE argosy.cluster SET {CHANGES[state]} WHERE id = {cluster}"))
        for choice, state, jobs in rows:
            fill(connection, 1, jobs, placement=choice, delay={"delayed": 60, "due": -1}.get(state, 0))
            if state in {"stale", "submitting", "pending", "succeeded"}:
                _turn_into(connection, state, cluster=min(choice, 2))
        if kept == "paused":
            connection.execute(text("INSERT INTO argosy.project (id, paused_at) VALUES (1, now())"))
        if kept == "limited":
            connection.execute(text("INSERT INTO argosy.project_limit VALUES (1, 1, 1), (1, 2, 1)"))
        said = set(claims.clusters_with_work(connection))
        found = set()
        for cluster in (1, 2):
            with connection.begin_nested() as savepoint:
                if claim(connection, cluster).jobs:
                    found.add(cluster)
                savepoint.rollback()
        connection.rollback()
    shared = any(choice == 3 for choice, _, _ in rows)
    assert found <= said
    assert kept or shared or found == said


def _turn_into(connection: Connection, state: str, cluster: int) -> None:
    lease = "clock_timestamp() - interval '1 s'" if state == "stale" else "clock_timestamp() + interval '1 min'"
    connection.execute(
        text(
            f"UPDATE argosy.attempt SET state = :state, cluster_id = :cluster, lease_until = {lease} "
            "WHERE state = 'queued' AND gid = (SELECT gid FROM argosy.attempt ORDER BY seq DESC LIMIT 1)"
        ),
        {"state": "submitting" if state == "stale" else state, "cluster": cluster},
    )


@pytest.fixture
def many(client: Client, engine: Engine, two: int) -> Engine:
    assert two == 3
    return engine


@pytest.mark.parametrize("tenants", [1, 20])
def test_what_a_claim_reads_does_not_grow_with_the_queue(client: Client, engine: Engine, tenants: int) -> None:
    """Of any table: all of `job` was read for a long queue of one tenant."""
    clusters(client, "c", max_active=64)
    blocks = (
        "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit) FROM pg_statio_user_tables "
        "WHERE schemaname = 'argosy'"
    )

    def read() -> int:
        with engine.connect() as connection:
            before = _flushed(connection, blocks)
            got = claim(connection, limit=64).jobs
            assert len(got) == 64
            connection.rollback()
            return _flushed(connection, blocks) - before

    costs = []
    for jobs in (1_000, 49_000):
        with engine.begin() as connection:
            fill(connection, 1, jobs // tenants, until=tenants)
        sql(engine, "ANALYZE argosy.attempt, argosy.job, argosy.launch")
        read()
        costs.append(read())
    assert costs[1] < 1.5 * costs[0], costs


def _flushed(connection: Connection, statement: str) -> int:
    connection.execute(text("SELECT pg_stat_force_next_flush()"))
    connection.commit()
    found = int(connection.execute(text(statement)).scalar_one())
    connection.commit()
    return found


def test_the_gauges_say_how_each_cluster_stands(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=300, pace=True)
    with engine.begin() as connection:
        assert pacing.standing(connection) == [pacing.Gauges("c", pace.FIRST, 0, False, False, False)]
        pacing.failed(connection, 1, "it fails", probe=False)
        assert pacing.standing(connection) == [pacing.Gauges("c", pace.FIRST // 2, 0, True, False, False)]
        connection.execute(
            text("UPDATE argosy.cluster SET open_until = clock_timestamp(), paused_at = clock_timestamp()")
        )
        assert pacing.standing(connection) == [pacing.Gauges("c", pace.FIRST // 2, 0, False, True, False)]


def test_workers_that_see_a_cluster_fail_at_once_open_its_breaker_once_and_each_failed_probe_for_longer(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c")
    left = "SELECT open_tries, extract(epoch FROM open_until - clock_timestamp()) FROM argosy.cluster"
    for probe, tries, at_most in (
        (False, 1, 5),
        (False, 1, 5),
        (True, 2, 10),
        (False, 2, 10),
        (True, 3, 15),
        (True, 4, 15),
    ):
        with engine.begin() as connection:
            pacing.failed(connection, 1, "it fails", probe)
            counted, seconds = connection.execute(text(left)).one()
        assert (counted, at_most - 1 < seconds <= at_most) == (tries, True)


def test_a_window_grows_while_a_full_cluster_keeps_up_and_is_halved_once_when_workflows_lie_untouched(
    client: Client, engine: Engine
) -> None:
    clusters(client, "c", max_active=2 * pace.FIRST, pace=True)
    with engine.begin() as connection:
        fill(connection, 1, 200)

    def look() -> int | None:
        with engine.begin() as connection:
            return pacing.adapt(connection, 1)

    assert look() == pace.FIRST
    for window in (pace.FIRST + pace.STEP, 2 * pace.FIRST, 2 * pace.FIRST):
        claim(engine, limit=200)
        assert look() == window
    sql(
        engine,
        "UPDATE argosy.attempt SET state = 'pending', submitted_at = now() - interval '11 s' WHERE cluster_id = 1 AND state <> 'queued'",
    )
    assert look() == pace.FIRST
    assert look() == pace.FIRST
    sql(engine, "UPDATE argosy.cluster SET slowed_at = now() - interval '11 s'")
    assert look() == pace.FIRST // 2
    client.update_cluster("c", pace=False)
    assert look() is None
