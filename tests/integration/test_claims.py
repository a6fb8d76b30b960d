"""The claim on a real PostgreSQL: whose jobs a cluster takes, how many, and that several workers never take one too many."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event

from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.scheduling import pace
from argosy.store import claims, pacing, queue, retention
from tests.support.jobs import record
from tests.support.launching import HELLO
from tests.support.queues import claim, clusters, fill, finish, render, sql

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


def test_the_gauges_say_how_each_cluster_stands(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=300, pace=True)

    def standing() -> pacing.Gauges:
        with engine.begin() as connection:
            (found,) = pacing.standing(connection)
        return replace(found, age=round(found.age, -2))

    fresh = pacing.Gauges(1, "c", pace.FIRST, 0, open=False, paused=False, held="", health="ok", age=0)
    assert standing() == fresh
    with engine.begin() as connection:
        pacing.failed(connection, 1, "it fails", probe=False)
    assert standing() == replace(fresh, capacity=pace.FIRST // 2, open=True)
    sql(
        engine,
        "UPDATE argosy.cluster SET open_until = clock_timestamp(), paused_at = clock_timestamp(), held_at = clock_timestamp(), "
        "held_reason = 'restored', health = 'unreachable', as_of = clock_timestamp() - interval '300 s'",
    )
    assert standing() == replace(
        fresh, capacity=pace.FIRST // 2, paused=True, held="restored", health="unreachable", age=300
    )


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
