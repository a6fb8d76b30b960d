"""Retries with what is registered now, or with other parameters: what each attempt ran can be read, and nothing else changes."""

from hashlib import sha256
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from argosy.shapes.given import Parameter
from argosy.states import State
from argosy.store import registry
from argosy.submit.rendering import Renderers
from tests.support.certificates import PEM
from tests.support.jobs import claim, created, end, record, run, statuses
from tests.support.launching import HELLO, api, registered, stage
from tests.support.queues import sql

__all__ = ["api", "registered", "stage"]

MENDED = HELLO.replace("generateName: hello-", "generateName: mended-")


def digest(manifest: str) -> str:
    return sha256(manifest.encode()).hexdigest()


def launch(client: Client, stage: Launching, media: int = 3, **fields: object) -> UUID:
    given = {"project": 1, "user": 7, "media_ids": range(1, media + 1)} | fields
    gid = client.launch("hello", **given).gid  # type: ignore[arg-type]
    expand(stage, gid)
    return gid


def rendered(engine: Engine, settings: Settings, revision: int, gid: UUID) -> dict[str, str]:
    """The parameters of a workflow of a launch."""
    with Session(engine) as session:
        cluster = registry.clusters(session)[0]
    with engine.begin() as connection:
        renderer = Renderers(settings, "i").of(connection, gid, revision, cluster, {})
    body = orjson.loads(renderer.render(gid, 1, [1]).body)
    return {each["name"]: each["value"] for each in body["spec"]["arguments"]["parameters"]}


def test_a_retry_runs_the_old_manifest_and_with_latest_the_one_that_is_registered_now(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    assert MENDED != HELLO
    gid = launch(registered, stage)
    (first,) = run(engine, State.FAILED)
    registered.update_algorithm("hello", manifest=MENDED, parameters=[Parameter(name="mended", value="yes")])
    assert registered.retry(gid) == 1
    (second,) = run(engine, State.FAILED)
    assert registered.retry(gid, latest=True) == 1
    (third,) = run(engine, State.FAILED)
    assert [registered.get(first.uid, attempt=n).manifest_digest for n in (1, 2, 3)] == [
        digest(HELLO),
        digest(HELLO),
        digest(MENDED),
    ]
    assert [first.revision, second.revision, third.revision] == [0, 0, 1]
    assert "mended" not in rendered(engine, settings, 0, gid)
    assert rendered(engine, settings, 1, gid)["mended"] == "yes"
    assert registered.retry(gid) == 1  # goes on with what it ran last
    (fourth,) = claim(engine)
    assert fourth.revision == 1


def test_parameters_of_a_retry_replace_and_add_and_stay_for_the_next(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    registered.update_algorithm("hello", parameters=[Parameter(name="a", value="1")])
    gid = launch(registered, stage, extra_params=[{"name": "b", "value": "2"}])
    run(engine, State.FAILED)
    registered.retry(gid, extra_params=[{"name": "a", "value": 10}, {"name": "c", "value": 3}])
    (waiting,) = run(engine, State.FAILED)
    had = rendered(engine, settings, waiting.revision, gid)
    assert (had["a"], had["b"], had["c"]) == ("10", "2", "3")
    registered.update_algorithm("hello", parameters=[Parameter(name="a", value="1"), Parameter(name="d", value="4")])
    registered.retry(gid, latest=True)
    (waiting,) = run(engine, State.FAILED)
    had = rendered(engine, settings, waiting.revision, gid)
    assert (had["a"], had["b"], had["c"], had["d"]) == ("10", "2", "3", "4")


def test_the_same_again_is_the_same_revision(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launch(registered, stage, 7)
    registered.update_algorithm("hello", manifest=MENDED)
    for _ in range(2):
        run(engine, State.FAILED)
        assert registered.retry(gid, latest=True) == 3
    assert sql(engine, "SELECT number FROM argosy.revision") == [(1,)]


def test_jobs_that_ran_different_things_keep_what_is_their_own(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launch(registered, stage, 6)
    first, second = run(engine, State.FAILED)
    registered.update_algorithm("hello", manifest=MENDED)
    registered.retry(first.uid, latest=True)
    run(engine, State.FAILED)
    assert registered.retry(gid, extra_params=[{"name": "x", "value": "1"}]) == 2
    assert registered.get(first.uid).manifest_digest == digest(MENDED)
    assert registered.get(second.uid).manifest_digest == digest(HELLO)
    assert {waiting.revision for waiting in claim(engine)} == {2, 3}


def test_what_cannot_run_is_refused_before_anything_is_queued(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    with pytest.raises(InvalidRequest, match="reserved"):
        registered.retry(gid, extra_params=[{"name": "uid", "value": "1"}])
    with pytest.raises(InvalidRequest, match="given twice"):
        registered.retry(gid, extra_params=[{"name": "x", "value": "1"}, {"name": "x", "value": "2"}])
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.algorithm SET manifest = 'kind: Pod'"))
    with pytest.raises(InvalidRequest, match="hello"):
        registered.retry(gid, latest=True)
    registered.remove_algorithm("hello")
    with pytest.raises(NotFound, match="unknown algorithm 'hello'"):
        registered.retry(gid, latest=True)
    assert statuses(registered, gid) == ["Failed"]
    assert registered.retry(gid) == 1


def test_the_newest_also_says_where(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    other = registered.add_cluster(name="other", host="127.0.0.1", port=9, cert=PEM, token="t", namespace="b")
    registered.update_algorithm("hello", cluster=other.id, run_deadline=5)
    registered.retry(gid)
    (waiting,) = run(engine, State.FAILED)
    assert waiting.number == 2
    registered.retry(gid, latest=True)
    assert claim(engine) == []  # it waits for the other one
    assert sql(engine, "SELECT cluster_id, revision FROM argosy.attempt WHERE number = 3") == [(other.id, 1)]


def test_deadlines_are_those_of_what_it_runs(registered: Client, stage: Launching, engine: Engine) -> None:
    registered.update_algorithm("hello", run_deadline=5)
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    registered.update_algorithm("hello", run_deadline=None, pending_deadline=60)
    registered.retry(gid, latest=True)
    claim(engine)
    found = sql(engine, "SELECT run_deadline, stop_at IS NULL FROM argosy.attempt ORDER BY number")
    assert found == [(5, True), (None, False)]


def test_a_split_runs_what_the_batches_ran_or_the_newest(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    registered.update_algorithm("hello", manifest=MENDED)
    registered.retry(gid, latest=True)
    run(engine, State.FAILED)
    made = registered.split(gid, extra_params=[{"name": "x", "value": "1"}])
    expand(stage, made.gid)  # type: ignore[arg-type]
    (job, *_) = registered.list(gid=made.gid)
    assert job.manifest_digest == digest(MENDED)
    (found,) = sql(engine, f"SELECT parameters, extra_params FROM argosy.launch WHERE gid = '{made.gid}'")
    assert found == ([["x", "1"]], [{"name": "x", "value": "1"}])


def test_media_are_done_by_what_ran_on_them(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    registered.update_algorithm("hello", manifest=MENDED)
    registered.retry(gid, latest=True)
    run(engine, State.SUCCEEDED)
    again = launch(registered, stage, skip_done=True)
    assert registered.launches(gid=again)[0].skipped == 3
    registered.update_algorithm("hello", manifest=HELLO)
    again = launch(registered, stage, skip_done=True)
    assert registered.launches(gid=again)[0].skipped == 0


def test_an_automatic_retry_runs_the_same_revision(registered: Client, stage: Launching, engine: Engine) -> None:
    registered.update_algorithm("hello", max_attempts=3, retry_backoff=0)
    gid = launch(registered, stage)
    (first,) = claim(engine)
    record(engine, created(first))
    end(engine, first, State.FAILED)
    registered.update_algorithm("hello", manifest=MENDED)
    registered.retry(gid, latest=True)
    (second,) = claim(engine)
    record(engine, created(second))
    end(engine, second, State.ERROR)
    assert sql(engine, "SELECT number, revision FROM argosy.attempt ORDER BY number") == [(1, 0), (2, 1), (3, 1)]


def test_an_old_worker_that_would_run_the_old_manifest_is_named(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launch(registered, stage)
    run(engine, State.FAILED)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO argosy.process (id, kind, host, pid, version, revision) "
                "VALUES ('w', 'worker', 'old-host', 1, '0', '0025')"
            )
        )
    with pytest.raises(Conflict, match="a worker on old-host is older"):
        registered.retry(gid, latest=True)
    assert registered.retry(gid) == 1


def test_it_says_whether_something_else_is_registered_now(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launch(registered, stage, extra_params=[{"name": "n", "value": 1.5}])
    run(engine, State.FAILED)
    assert registered.outdated(gid) is None
    registered.update_algorithm("hello", parameters=[Parameter(name="p", value=True)])
    found = registered.outdated(gid)
    assert found is not None
    assert found.ran == [found.registered] == [digest(HELLO)]
    registered.update_algorithm("hello", manifest=MENDED)
    found = registered.outdated(gid)
    assert found is not None
    assert (found.ran, found.registered) == ([digest(HELLO)], digest(MENDED))
    registered.retry(gid, latest=True)
    assert registered.outdated(gid) is None
    assert registered.outdated(gid, project=2) is None
    registered.remove_algorithm("hello")
    assert registered.outdated(gid) is None
