"""Jobs that several clusters may take: which of them takes one, and that none is left to nobody."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from argosy.client import Client
from argosy.scheduling.share import part
from argosy.store import claims, queue
from tests.support.certificates import PEM
from tests.support.jobs import record
from tests.support.queues import claim, clusters, fill, finish, placement, sql


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
