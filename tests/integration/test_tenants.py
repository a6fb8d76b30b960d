"""Projects as tenants: caps on what they queue, pauses, priorities, positions, weights."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from argosy.client import Client, Launched
from argosy.errors import InvalidRequest, NotFound, QueueFull
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from argosy.shapes.projects import ProjectSpec
from argosy.store import cutting, projects
from tests.integration.api_server import ApiServer
from tests.integration.launching import its_time_has_come
from tests.support.launching import HELLO, api, outcome, sent, stage
from tests.support.queues import claim, clusters, fill, finish, sql

__all__ = ["api", "stage"]


@pytest.fixture
def registered(client: Client) -> Client:
    clusters(client, "c", default=True)
    client.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=1)
    return client


def launch(client: Client, jobs: int, name: str = "hello", **fields: object) -> Launched:
    arguments = {"project": 1 if name == "hello" else 2, "user": 7, "media_ids": range(1, jobs + 1)} | fields
    return client.launch(name, **arguments)  # type: ignore[arg-type]


def counted(engine: Engine) -> tuple[int, int]:
    """Launches and jobs in the database."""
    ((count, jobs),) = sql(engine, "SELECT (SELECT count(*) FROM argosy.launch), (SELECT count(*) FROM argosy.job)")
    return count, jobs


# Caps


def test_a_launch_over_the_cap_is_refused_with_words_and_nothing_is_written(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.set_project(1, max_queued=5)
    expand(stage, launch(registered, 3).gid)
    with pytest.raises(QueueFull, match="too many queued jobs: project 1 has 3, this adds 3, and it may have 5"):
        launch(registered, 3)
    assert counted(engine) == (1, 3)
    assert launch(registered, 2).new
    assert launch(registered, 100, "theirs").new


def test_jobs_that_have_started_make_room_and_launches_that_are_not_cut_yet_take_it(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.set_project(1, max_queued=5)
    first = launch(registered, 5)
    with pytest.raises(QueueFull):
        launch(registered, 1)
    expand(stage, first.gid)
    with pytest.raises(QueueFull):
        launch(registered, 1)
    assert len(claim(engine, limit=2).jobs) == 2
    assert launch(registered, 2).new
    registered.set_project(1, max_queued=None)
    assert launch(registered, 1000).new


def test_a_retry_over_the_cap_is_refused_and_what_ended_stays_as_it_was(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.set_project(1, max_queued=5)
    gid = launch(registered, 3).gid
    expand(stage, gid)
    finish(engine, [job.uid for job in claim(engine).jobs], "failed")
    expand(stage, launch(registered, 3).gid)
    with pytest.raises(QueueFull, match="project 1 has 3, this adds 3, and it may have 5"):
        registered.retry(gid)
    assert [job.status for job in registered.list(project=1, gid=gid)] == ["Failed"] * 3
    claim(engine, limit=1)
    assert registered.retry(gid) == 3


def test_two_who_change_a_project_at_once_undo_nothing_of_each_other(registered: Client, engine: Engine) -> None:
    with ThreadPoolExecutor(1) as threads, engine.begin() as connection:
        assert projects.locked(connection, 1).weight == 1
        other = threads.submit(registered.set_project, 1, max_queued=5)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not other.done() and sql(engine, waits) == [(0,)]:
            pass
        projects.put(connection, 1, ProjectSpec(weight=2))
        connection.commit()
        other.result()
    assert (registered.project(1).weight, registered.project(1).max_queued) == (2, 5)


def test_a_caller_who_cannot_see_what_was_queued_meanwhile_does_not_slip_past_the_cap(
    registered: Client, settings: Settings
) -> None:
    """In REPEATABLE READ a lock alone lets both in; the failure is one that its transaction is to be repeated for."""
    registered.set_project(1, max_queued=5)
    with psycopg.connect(settings.database_url.get_secret_value()) as caller:
        caller.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        caller.execute("SELECT 1 FROM argosy.launch")
        launch(registered, 3)
        with pytest.raises(psycopg.errors.SerializationFailure):
            launch(registered, 3, connection=caller)
        caller.rollback()
        with pytest.raises(QueueFull):
            launch(registered, 3, connection=caller)


def test_the_same_launch_again_is_no_new_one_however_full_the_queue_is(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.set_project(1, max_queued=3)
    first = launch(registered, 3)
    expand(stage, first.gid)
    again = launch(registered, 3, gid=first.gid)
    assert (again.new, again.state) == (False, "expanded")


@pytest.mark.parametrize("kind", ["psycopg", "sqlalchemy", "session"])
def test_a_refused_launch_leaves_the_callers_transaction_usable(
    registered: Client, engine: Engine, settings: Settings, kind: str
) -> None:
    """Its other rows are the caller's business."""
    registered.set_project(1, max_queued=1)
    sql(engine, "CREATE TABLE callers (id int)")
    url = settings.database_url.get_secret_value()
    if kind == "psycopg":
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO callers VALUES (1)")
            with pytest.raises(QueueFull):
                launch(registered, 2, connection=connection)
    else:
        with Session(engine) if kind == "session" else engine.begin() as caller:
            caller.execute(text("INSERT INTO callers VALUES (1)"))
            with pytest.raises(QueueFull):
                launch(registered, 2, connection=caller)
            caller.commit()
    assert sql(engine, "SELECT id FROM callers") == [(1,)]
    assert counted(engine) == (0, 0)


def test_of_two_launches_at_once_of_which_one_fits_one_is_refused(registered: Client, engine: Engine) -> None:
    """The second waits until the first's transaction has ended, and is then refused; or comes in, if that was given up."""
    registered.set_project(1, max_queued=5)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def meanwhile(commit: bool) -> Future[Launched]:
        with engine.connect() as connection:
            launch(registered, 3, connection=connection)
            second = threads.submit(launch, registered, 3)
            while not second.done() and sql(engine, waits) == [(0,)]:
                pass
            connection.commit() if commit else connection.rollback()
        return second

    with ThreadPoolExecutor(1) as threads:
        assert meanwhile(commit=False).result().new
        registered.set_project(1, max_queued=8)
        with pytest.raises(QueueFull):
            meanwhile(commit=True).result()
    assert counted(engine) == (2, 0)


def test_a_launch_by_query_over_the_cap_is_rejected_when_its_media_are_known(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    registered.set_project(1, max_queued=5)
    api.media = list(range(1, 7))
    found = launch(registered, 0, media_ids=None, media_query="x=1")
    assert expand(stage, found.gid) == []
    state, reason = outcome(registered, found.gid)
    assert state == "rejected"
    assert reason.startswith("too many queued jobs: project 1 has 0, this adds 6, and it may have 5")
    api.media = list(range(1, 6))
    assert expand(stage, launch(registered, 0, media_ids=None, media_query="x=2").gid) == [1]


def test_a_launch_whose_algorithm_is_registered_later_is_held_to_the_cap_too(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.set_project(1, max_queued=5)
    gid = sent(registered, algorithm_name="later", media_ids=range(1, 7))
    registered.register_algorithm(name="later", project=1, user=7, manifest=HELLO, files_per_job=1)
    assert expand(stage, gid) == []
    assert outcome(registered, gid)[0] == "rejected"
    assert counted(engine) == (1, 0)


def test_a_launch_by_query_counts_in_full_from_when_its_media_are_known(
    registered: Client, stage: Launching, api: ApiServer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker may die before it is cut."""
    registered.set_project(1, max_queued=5)
    api.media = [1, 2, 3]
    one, two = (launch(registered, 0, media_ids=None, media_query=f"x={n}").gid for n in range(2))
    with monkeypatch.context() as dies:
        dies.setattr(cutting, "cut", lambda *args: None)
        expand(stage, one)
    assert expand(stage, two) == []
    assert outcome(registered, two)[0] == "rejected"
    its_time_has_come(engine)
    assert expand(stage, one) == [1]
    assert counted(engine) == (2, 3)


# Positions


def test_a_launch_says_its_state_and_how_many_of_its_project_wait_before_it(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    found = launch(registered, 3)
    assert (found.new, found.state, found.position) == (True, "accepted", 0)
    assert launch(registered, 2).position == 3
    expand(stage, found.gid)
    with engine.begin() as connection:
        fill(connection, 1, 4, delay=60)
        fill(connection, 2, 50)
    assert launch(registered, 3, gid=found.gid).position == 2 + 4
    assert launch(registered, 1).position == 3 + 2 + 4
    assert len(claim(engine, limit=2).jobs) == 2
    assert launch(registered, 1, "theirs").position == 50 - 1


# Pauses


def test_nothing_new_of_what_is_paused_is_claimed_until_it_is_resumed(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    for name in ("hello", "theirs"):
        expand(stage, launch(registered, 4, name).gid)
    whats: list[dict[str, Any]] = [{"cluster": "c"}, {"project": 1}, {"algorithm": "hello"}]
    for what in whats:
        registered.pause(**what, reason="moving")
        assert {job.project for job in claim(engine, limit=1).jobs} <= ({2} if "cluster" not in what else set())
        registered.resume(**what)
    assert Counter(job.project for job in claim(engine).jobs) == {1: 4, 2: 2}


def test_a_pause_of_everything_at_once_needs_each_to_be_resumed(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    expand(stage, launch(registered, 1).gid)
    whats: list[dict[str, Any]] = [{"cluster": 1}, {"project": 1}, {"algorithm": 1}]
    for what in whats:
        registered.pause(**what)
    for what in whats:
        assert claim(engine).jobs == []
        registered.resume(**what)
    assert len(claim(engine).jobs) == 1


def test_a_resume_wakes_all_workers_at_once(registered: Client, settings: Settings) -> None:
    registered.pause(project=1)
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as listener:
        listener.execute("LISTEN argosy_queue")
        registered.resume(project=1)
        (notice,) = listener.notifies(timeout=30, stop_after=1)
    assert notice.payload == "1"


def test_a_pause_keeps_a_projects_weight_and_the_time_of_the_first(registered: Client) -> None:
    registered.set_project(1, weight=3, max_queued=9)
    registered.pause(project=1, reason="one")
    since = registered.project(1).paused_at
    registered.pause(project=1, reason="two")
    found = registered.project(1)
    assert (found.weight, found.max_queued, found.paused_reason, found.paused_at) == (3, 9, "two", since)
    registered.set_project(1, weight=4)
    assert registered.project(1).paused_at == since
    registered.resume(project=1)
    assert (registered.project(1).paused_at, registered.project(1).paused_reason) == (None, "")


@pytest.mark.parametrize("what", [{}, {"cluster": 1, "project": 1}, {"project": 1, "algorithm": 1}])
def test_a_pause_says_of_what(registered: Client, what: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        registered.pause(**what)
    with pytest.raises(InvalidRequest):
        registered.resume(**what)


def test_what_is_not_there_is_not_paused_or_limited(registered: Client) -> None:
    whats: list[dict[str, Any]] = [{"cluster": "d"}, {"algorithm": "d"}]
    for what in whats:
        with pytest.raises(NotFound):
            registered.pause(**what)
    with pytest.raises(NotFound):
        registered.limit_project(1, "d", 1)
    with pytest.raises(InvalidRequest):
        registered.limit_project(1, "c", -1)


# Weights


@pytest.mark.parametrize(
    "fields", [{"weight": 0}, {"weight": -1}, {"weight": 1e-16}, {"max_queued": -1}, {"colour": "red"}]
)
def test_a_project_is_not_treated_in_a_way_that_makes_no_sense(registered: Client, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        registered.set_project(1, **fields)
    assert registered.project(1).weight == 1


def test_weights_share_a_clusters_slots_and_a_change_holds_at_once(registered: Client, engine: Engine) -> None:
    registered.update_cluster("c", max_active=12)
    registered.set_project(2, weight=3)
    with engine.begin() as connection:
        fill(connection, 1, 100, until=2)
    claimed = claim(engine, limit=64).jobs
    assert Counter(job.project for job in claimed) == {1: 3, 2: 9}
    registered.set_project(2, weight=1)
    finish(engine, [job.uid for job in claimed])
    assert Counter(job.project for job in claim(engine, limit=64).jobs) == {1: 6, 2: 6}


def test_users_of_a_project_take_turns_and_do_not_add_to_its_share(registered: Client, engine: Engine) -> None:
    registered.update_cluster("c", max_active=12)
    with engine.begin() as connection:
        for user in (7, 8, 9):
            fill(connection, 1, 100, user=user)
        fill(connection, 2, 100)
    claimed = claim(engine, limit=64).jobs
    assert Counter(job.project for job in claimed) == {1: 6, 2: 6}
    users = (
        "SELECT user_id, count(*) FROM argosy.attempt WHERE project = 1 AND state = 'submitting' GROUP BY 1 ORDER BY 1"
    )
    assert sql(engine, users) == [(7, 2), (8, 2), (9, 2)]


def test_a_project_says_how_it_is_treated_and_what_it_has(registered: Client, engine: Engine) -> None:
    registered.limit_project(1, "c", 2)
    with engine.begin() as connection:
        fill(connection, 1, 5)
        fill(connection, 3, 1)
    claim(engine)
    found = registered.project(1)
    assert (found.max_active, found.active, found.queued) == ({"c": 2}, 2, 3)
    assert [project.id for project in registered.projects()] == [1, 3]
    assert registered.limit_project(1, "c", None).max_active == {}
