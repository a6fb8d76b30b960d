"""Launches that leave out media that are done."""

from importlib import import_module
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.errors import InvalidRequest, QueueFull
from argosy.launch.expand import Launching, advance, expand, take
from argosy.shapes.given import Parameter
from argosy.shapes.shown import LaunchShape
from argosy.states import State
from argosy.store import live
from tests.integration.api_server import ApiServer
from tests.integration.launching import its_time_has_come
from tests.support.jobs import run
from tests.support.launching import HELLO, api, registered, sent, stage
from tests.support.queues import sql

__all__ = ["api", "registered", "stage"]


def launch(client: Client, stage: Launching, *media: int, **fields: object) -> LaunchShape:
    given = {"project": 1, "user": 7, "media_ids": media or None} | fields
    gid = client.launch("hello", **given).gid  # type: ignore[arg-type]
    expand(stage, gid)
    (found,) = client.launches(gid=gid)
    return found


def media(client: Client, gid: UUID) -> list[list[int]]:
    return [job.media_ids for job in client.list(gid=gid)]


def test_media_that_succeeded_are_left_out_and_counted(registered: Client, stage: Launching, engine: Engine) -> None:
    launch(registered, stage, 1, 2, 3, 4)
    run(engine, State.SUCCEEDED, 1)  # the batch of 1, 2 and 3
    run(engine, State.FAILED)
    found = launch(registered, stage, 5, 3, 4, 1, 6, 7, skip_done=True)
    assert media(registered, found.gid) == [[5, 4, 6], [7]]
    assert (found.state, found.jobs, found.skipped) == ("expanded", 2, 2)


def test_of_a_query_too(registered: Client, stage: Launching, engine: Engine, api: ApiServer) -> None:
    launch(registered, stage, 1, 2, 3)
    run(engine, State.SUCCEEDED)
    api.media = [1, 2, 3, 4, 5]
    found = launch(registered, stage, media_query="type=3", token="t", skip_done=True)
    assert (media(registered, found.gid), found.skipped) == ([[4, 5]], 3)


def test_if_none_remain_the_launch_ends_well_and_says_why(registered: Client, stage: Launching, engine: Engine) -> None:
    launch(registered, stage, 1, 2, 3)
    run(engine, State.SUCCEEDED)
    found = launch(registered, stage, 3, 2, skip_done=True, token="t")
    assert (found.state, found.jobs, found.skipped, found.counts) == ("expanded", 0, 2, {})
    assert found.reason == "nothing to do: the algorithm has Succeeded on all 2 media already"
    assert registered.cancel(found.gid).cancelled == 0


@pytest.mark.parametrize("change", ["manifest", "parameters", "extra", "name", "project"])
def test_other_inputs_are_not_done(registered: Client, stage: Launching, engine: Engine, change: str) -> None:
    launch(registered, stage, 1, extra_params=[{"name": "x", "value": "1"}, {"name": "y", "value": "2"}])
    run(engine, State.SUCCEEDED)
    same: dict[str, object] = {"extra_params": [{"name": "y", "value": "2"}, {"name": "x", "value": "1"}]}
    if change == "manifest":
        registered.update_algorithm("hello", manifest=HELLO + "\n# other")
    elif change == "parameters":
        registered.update_algorithm("hello", parameters=[Parameter(name="z", value="3")])
    elif change == "extra":
        same = {"extra_params": [{"name": "x", "value": "1"}, {"name": "y", "value": "3"}]}
    elif change == "name":
        registered.update_algorithm("hello", name="former")
        registered.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=3)
    else:
        sql(engine, "UPDATE argosy.launch SET project = 2")
        sql(engine, "UPDATE argosy.job SET project = 2")
    # An algorithm of the same name that was registered anew is the same; everything else is not.
    assert launch(registered, stage, 1, skip_done=True, **same).skipped == (change == "name")


def test_only_the_newest_attempt_counts(registered: Client, stage: Launching, engine: Engine) -> None:
    first = launch(registered, stage, 1)
    run(engine, State.SUCCEEDED)
    registered.retry(first.gid, failed_only=False)
    run(engine, State.FAILED)
    assert launch(registered, stage, 1, skip_done=True).skipped == 0


def test_the_same_gid_again_is_the_same_launch_and_a_crash_before_the_cut_changes_nothing(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    launch(registered, stage, 1, 2, 3)
    gid = uuid1()
    first = registered.launch("hello", project=1, user=7, media_ids=range(1, 9), gid=gid, skip_done=True)
    assert (first.expanded, first.uids, first.new) == (False, [], True)
    claim = take(stage, gid)
    assert claim is not None
    advance(stage, claim)  # resolved, and its worker dies
    run(engine, State.SUCCEEDED)
    its_time_has_come(engine)
    expand(stage, gid)
    again = registered.launch("hello", project=1, user=7, media_ids=range(1, 9), gid=gid, skip_done=True)
    assert (again.expanded, again.new) == (True, False)
    assert again.uids == [job.uid for job in registered.list(gid=gid)]
    assert media(registered, gid) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert [job.uid for job in registered.list(gid=gid, media_id=4)] == [registered.list(gid=gid)[1].uid]


def test_what_is_left_out_takes_no_room_in_the_queue(registered: Client, stage: Launching, engine: Engine) -> None:
    launch(registered, stage, 1, 2, 3)
    run(engine, State.SUCCEEDED)
    registered.set_project(1, max_queued=1)
    assert launch(registered, stage, 1, 2, 3, 4, skip_done=True).jobs == 1
    with pytest.raises(QueueFull):
        registered.launch("hello", project=1, user=7, media_ids=[5], skip_done=True)


def test_jobs_of_media_are_not_guessed_before_it_is_known_what_is_left_out(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    waits = registered.launch("hello", project=1, user=7, media_ids=range(1, 9), skip_done=True).gid
    refused = sent(registered, algorithm_name="unknown", media_ids=[8])
    expand(stage, refused)
    with engine.connect() as connection:
        assert list(live.early(connection, live.LiveFilter(1, media=[8]), 7, 10)) == []
    expand(stage, waits)
    with engine.connect() as connection:
        assert len(live.keys(connection, live.LiveFilter(1, media=[8]), 7, 10)) == 1


def test_launches_from_before_the_migration_count(registered: Client, stage: Launching, engine: Engine) -> None:
    parameters = [{"name": "a-b", "value": "1\n2"}, {"name": "b", "value": ""}, {"name": "B", "value": "\\ü"}]
    launch(registered, stage, 1, extra_params=parameters)
    run(engine, State.SUCCEEDED)
    (before,) = sql(engine, "SELECT inputs_digest FROM argosy.launch")
    sql(engine, "UPDATE argosy.launch SET inputs_digest = NULL")
    with engine.begin() as connection:
        migration = import_module("argosy.store.migrations.versions.0012_skip_split_after")
        connection.execute(text(migration.INPUTS))
    assert sql(engine, "SELECT inputs_digest FROM argosy.launch") == [before]
    assert launch(registered, stage, 1, skip_done=True, extra_params=parameters).skipped == 1


def test_an_empty_list_of_media_is_a_mistake_as_ever(registered: Client, stage: Launching) -> None:
    with pytest.raises(InvalidRequest, match="no media"):
        launch(registered, stage, media_ids=[], skip_done=True)
    with pytest.raises(InvalidRequest, match="skip_done"):
        registered.launch("hello", project=1, user=7, media_ids=[1], skip_done="perhaps")  # type: ignore[arg-type]
