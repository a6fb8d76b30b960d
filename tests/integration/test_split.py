"""Retries that split failed batches, so that one bad medium does not cost the others."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine

from argosy import crypto
from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest, NotFound, QueueFull
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from argosy.shapes.shown import SplitShape
from argosy.states import State
from argosy.store import secrets, targets
from tests.support.jobs import claim, created, end, record, run, statuses
from tests.support.launching import api, registered, stage
from tests.support.queues import sql

__all__ = ["api", "registered", "stage"]


def launch(client: Client, stage: Launching, media: int, **fields: object) -> UUID:
    given = {"project": 1, "user": 7, "media_ids": range(1, media + 1)} | fields
    gid = client.launch("hello", **given).gid  # type: ignore[arg-type]
    expand(stage, gid)
    return gid


def media(client: Client, gid: UUID | None) -> list[list[int]]:
    return [job.media_ids for job in client.list(gid=gid)]


def run_each(client: Client, engine: Engine, bad: set[int]) -> None:
    """Run what is queued; jobs with a bad medium fail."""
    for waiting in claim(engine, 100):
        record(engine, created(waiting))
        fails = bad & set(client.get(waiting.uid).media_ids)
        end(engine, waiting, State.FAILED if fails else State.SUCCEEDED)


def test_failed_batches_become_jobs_of_one_medium_in_a_launch_of_their_own(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    old = launch(registered, stage, 10, priority=5, extra_params=[{"name": "x", "value": 1}])
    run_each(registered, engine, {2, 10})  # of 1-3, 4-6, 7-9 and 10 alone
    registered.update_algorithm("hello", files_per_job=50)  # what was frozen stays
    made = registered.split(old)
    assert (made.jobs, made.new, made.queued) == (3, True, 1)
    expand(stage, made.gid)  # type: ignore[arg-type]
    assert media(registered, made.gid) == [[1], [2], [3]]
    assert statuses(registered, old) == ["Failed", "Succeeded", "Succeeded", "Queued"]
    assert registered.list(gid=old)[3].attempt == 2
    (shown,) = registered.launches(gid=made.gid)
    assert (shown.parent_gid, shown.project, shown.user, shown.state) == (old, 1, 7, "expanded")
    frozen = "manifest, parameters, placement_id, priority, max_attempts, inputs_digest"
    assert len(sql(engine, f"SELECT DISTINCT {frozen} FROM argosy.launch")) == 1
    run_each(registered, engine, {2})
    assert statuses(registered, made.gid) == ["Succeeded", "Failed", "Succeeded"]  # type: ignore[arg-type]


def test_asking_again_is_the_same_launch_until_that_has_ended_and_then_only_what_still_fails(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    old = launch(registered, stage, 6)
    run_each(registered, engine, {2, 5})
    first = registered.split(old)
    assert registered.split(old) == first.model_copy(update={"new": False})
    expand(stage, first.gid)  # type: ignore[arg-type]
    run(engine, State.FAILED, 1)
    assert registered.split(old).gid == first.gid  # one has failed, the others still run
    run_each(registered, engine, {2})
    second = registered.split(old)
    assert (second.new, second.jobs) == (True, 2)
    expand(stage, second.gid)  # type: ignore[arg-type]
    assert media(registered, second.gid) == [[1], [2]]
    run_each(registered, engine, set())
    assert registered.split(old) == SplitShape(gid=None, jobs=0, new=False, queued=0)


def test_two_who_ask_at_once_get_one_launch(registered: Client, stage: Launching, engine: Engine) -> None:
    old = launch(registered, stage, 3)
    run(engine, State.FAILED)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: registered.split(old), range(4)))
    assert len({each.gid for each in made}) == 1
    assert sorted(each.new for each in made) == [False, False, False, True]


def test_one_job_and_then_its_whole_launch_run_no_medium_twice(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    old = launch(registered, stage, 6)
    run(engine, State.FAILED)
    one = registered.split(registered.list(gid=old)[1].uid)
    both = registered.split(old)
    expand(stage, one.gid)  # type: ignore[arg-type]
    expand(stage, both.gid)  # type: ignore[arg-type]
    assert (media(registered, one.gid), media(registered, both.gid)) == ([[4], [5], [6]], [[1], [2], [3]])


def test_a_batch_of_one_medium_is_retried_as_any(registered: Client, stage: Launching, engine: Engine) -> None:
    old = launch(registered, stage, 1)
    run(engine, State.FAILED)
    assert registered.split(old) == SplitShape(gid=None, jobs=0, new=False, queued=1)
    assert statuses(registered, old) == ["Queued"]


def test_the_token_goes_on_and_is_asked_for_once_it_is_wiped(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    def token(gid: UUID | None) -> str | None:
        ((sealed,),) = sql(engine, "SELECT token_sealed FROM argosy.launch WHERE gid = :gid", gid=gid)
        return crypto.open_token(sealed, settings.token_private_key)

    old = launch(registered, stage, 3, token="first")
    run(engine, State.FAILED)
    made = registered.split(old)
    assert token(made.gid) == "first"
    registered.cancel(made.gid)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1  # that of the other one was wiped with its end
    with pytest.raises(InvalidRequest, match="--token-file"):
        registered.split(old)
    again = registered.split(old, token="second")
    assert (token(again.gid), again.new) == ("second", True)


def test_a_refusal_leaves_neither_half(registered: Client, stage: Launching, engine: Engine) -> None:
    old = launch(registered, stage, 4)
    run(engine, State.FAILED)
    registered.set_project(1, max_queued=3)
    with pytest.raises(QueueFull, match="has 1, this adds 3, and it may have 3"):
        registered.split(old)
    assert statuses(registered, old) == ["Failed", "Failed"]
    assert len(registered.launches()) == 1
    registered.set_project(1, max_queued=4)
    assert registered.split(old).queued == 1


def test_what_will_be_tried_again_by_itself_or_still_runs_is_not_split(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.update_algorithm("hello", max_attempts=3, retry_backoff=60)
    old = launch(registered, stage, 6)
    (first,) = claim(engine, 1)
    record(engine, created(first))
    sql(engine, "UPDATE argosy.cluster SET held_at = clock_timestamp()")  # so that the next attempt is not written yet
    end(engine, first, State.ERROR)
    sql(engine, "UPDATE argosy.cluster SET held_at = NULL")
    assert statuses(registered, old) == ["Error", "Queued"]
    assert registered.split(registered.list(gid=old)[1].uid).gid is None
    assert registered.split(old).gid is None


def test_the_workflow_of_a_lost_job_that_shows_up_again_is_ended(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    old = launch(registered, stage, 3)
    (waiting,) = run(engine, State.LOST)
    registered.split(old)
    assert statuses(registered, old) == ["Lost"]
    end(engine, waiting, State.RUNNING)
    assert statuses(registered, old) == ["Cancelling"]


def test_another_projects_launch_and_one_without_jobs_are_refused(registered: Client, stage: Launching) -> None:
    waits = registered.launch("hello", project=1, user=7, media_ids=[1, 2]).gid
    with pytest.raises(NotFound):
        registered.split(waits, project=2)
    with pytest.raises(Conflict, match="not cut into jobs yet"):
        registered.split(waits)


def test_a_large_launch_is_split_and_its_single_jobs_are_retried_batch_by_batch(
    registered: Client, stage: Launching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "BATCH", 2)
    registered.update_algorithm("hello", files_per_job=2)
    old = launch(registered, stage, 9)
    sql(engine, "UPDATE argosy.job SET media_ids = media_ids[1:1] WHERE ordinal IN (1, 2)")
    run(engine, State.FAILED)
    made = registered.split(old)
    assert (made.jobs, made.queued) == (4, 3)
    assert statuses(registered, old) == ["Failed", "Queued", "Queued", "Failed", "Queued"]
