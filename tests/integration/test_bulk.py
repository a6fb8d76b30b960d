"""Work on all jobs of a filter: what was counted is what is touched, each job has an end or a reason, and an interruption loses nothing."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from argosy.client import Client
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching
from argosy.settings import Settings
from argosy.shapes.bulk import BulkShape
from argosy.shapes.filters import JobFilter
from argosy.states import State
from argosy.store import bulks
from tests.support.cli import started
from tests.support.jobs import launched, registered, run, stage, statuses
from tests.support.launching import HELLO
from tests.support.readme import exported

__all__ = ["registered", "stage"]


def test_what_matches_later_is_not_touched_and_a_launch_without_jobs_is_cancelled_whole(
    registered: Client, stage: Launching
) -> None:
    gid, early = launched(registered, stage, 3), registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    prepared = registered.prepare("cancel", JobFilter(project=(1,)), user=8)
    assert (prepared.count, prepared.launches, prepared.counts, prepared.state) == (3, 1, {"Queued": 3}, "prepared")
    later = launched(registered, stage, 2)
    report = registered.act(prepared.id)
    assert (report.state, report.done, report.not_done, report.refused) == ("done", 4, 0, [])
    assert statuses(registered, gid) == ["Cancelled"] * 3
    assert registered.launches(gid=early)[0].state == "cancelled"
    assert statuses(registered, later) == ["Queued"] * 2
    assert registered.act(prepared.id) == report, "again is the same"
    assert registered.bulk(prepared.id) == report


def test_only_what_failed_is_retried_and_what_changed_meanwhile_is_told(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 4)
    run(engine, State.FAILED, 3)
    run(engine, State.SUCCEEDED, 1)
    prepared = registered.prepare("retry", JobFilter(gid=gid), user=8)
    assert prepared.counts == {"Failed": 3}
    changed = registered.find(JobFilter(gid=gid, failed=True)).items[1]
    registered.retry(changed.uid)
    run(engine, State.FAILED, 1)
    report = registered.act(prepared.id)
    (refused,) = report.refused
    assert (report.done, refused.uid, refused.index) == (2, changed.uid, changed.index)
    assert "has a newer attempt" in refused.why
    assert sorted(statuses(registered, gid)) == ["Failed", "Queued", "Queued", "Succeeded"]


def test_what_failed_runs_what_is_registered_now_and_a_launch_without_its_algorithm_is_told(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    first = launched(registered, stage, 2)
    run(engine, State.FAILED, 2)
    other = launched(registered, stage, 1)
    run(engine, State.FAILED, 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.launch SET algorithm_name = 'gone' WHERE gid = :gid"), {"gid": other})
    registered.update_algorithm("hello", manifest=HELLO.replace("hello-", "mended-"))
    prepared = registered.prepare("retry_latest", JobFilter(project=(1,)), user=8)
    assert prepared.counts == {"Failed": 3}
    report = registered.act(prepared.id)
    (refused,) = report.refused
    assert (report.verb, report.done, refused.gid) == ("retry_latest", 2, other)
    assert "unknown algorithm 'gone'" in refused.why
    assert registered.outdated(first) is None, "they run what is registered"
    assert statuses(registered, first) == ["Queued"] * 2


def test_one_launch_that_cannot_be_retried_keeps_no_other_back(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    first, second = launched(registered, stage, 2), launched(registered, stage, 2)
    run(engine, State.FAILED, 4)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE argosy.launch SET token_wiped = true, token_sealed = NULL WHERE gid = :gid"), {"gid": first}
        )
    prepared = registered.prepare("retry", JobFilter(failed=True), user=8)
    report = registered.act(prepared.id)
    assert (report.done, report.not_done) == (2, 2)
    assert {refused.gid for refused in report.refused} == {first}
    assert "give it again" in report.refused[0].why
    assert statuses(registered, second) == ["Queued"] * 2


def test_an_interrupted_work_goes_on(registered: Client, stage: Launching, monkeypatch: pytest.MonkeyPatch) -> None:
    gid = launched(registered, stage, 5)
    monkeypatch.setattr(bulks, "BATCH", 2)
    prepared = registered.prepare("cancel", JobFilter(gid=gid), user=8)

    turns = iter((1, 2))

    def dies(connection: Connection, bulk: BulkShape, sealed: bytes | None, latest: bulks.Latest) -> bool:
        done = go_on(connection, bulk, sealed, latest)
        if next(turns) == 2:  # what it did in this transaction is undone
            raise KeyboardInterrupt
        return done

    go_on = bulks.go_on
    with monkeypatch.context() as dying:
        dying.setattr(bulks, "go_on", dies)
        with pytest.raises(KeyboardInterrupt):
            registered.act(prepared.id)
    half = registered.bulk(prepared.id)
    assert (half.state, half.done) == ("running", 2)
    assert registered.act(prepared.id).done == 5
    assert statuses(registered, gid) == ["Cancelled"] * 5


def test_queued_jobs_get_another_priority(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 3)
    run(engine, State.SUCCEEDED, 1)
    prepared = registered.prepare("priority", JobFilter(gid=gid), user=8, priority=5)
    assert registered.act(prepared.id).done == prepared.count == 2
    with engine.connect() as connection:
        found = connection.execute(text("SELECT priority FROM argosy.attempt WHERE state = 'queued'")).scalars()
        assert list(found) == [5, 5]


def test_nothing_of_other_projects_is_written_down(registered: Client, stage: Launching) -> None:
    launched(registered, stage, 2)
    registered.launch("hello", project=1, user=7, media_ids=[1])
    theirs = registered.prepare("cancel", JobFilter(), user=8, projects=frozenset({2}))
    assert (theirs.count, theirs.launches, theirs.projects) == (0, 0, [])
    assert registered.act(theirs.id).state == "done"
    assert registered.counts(JobFilter()).counts == {"Queued": 2}


def test_what_cannot_work_is_refused_in_words(registered: Client) -> None:
    with pytest.raises(InvalidRequest, match="priority: goes with"):
        registered.prepare("cancel", JobFilter(), user=8, priority=1)
    with pytest.raises(InvalidRequest, match="priority: goes with"):
        registered.prepare("priority", JobFilter(), user=8)
    with pytest.raises(NotFound, match="not the id of work"):
        registered.act(uuid4())


def test_several_who_act_on_the_same_over_many_launches_all_stay_until_it_is_done(
    registered: Client, stage: Launching
) -> None:
    for _ in range(25):
        launched(registered, stage, 1)
    for priority in (1, 2):
        prepared = registered.prepare("priority", JobFilter(project=(1,)), user=8, priority=priority)
        with ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(lambda _, id=prepared.id: registered.act(id), range(4)))
        assert [(report.state, report.done) for report in reports] == [("done", 25)] * 4


@pytest.mark.parametrize("place", ["bulk.doing=kill@2", "bulk.done=kill"])
def test_a_command_that_is_killed_in_the_middle_goes_on_by_the_id_that_it_printed(
    registered: Client, stage: Launching, settings: Settings, place: str
) -> None:
    gids = [launched(registered, stage, 2) for _ in range(3)]
    environment = exported(settings)
    words = ("bulk", "cancel", "--project", "1", "--yes")
    with started(*words, environment=environment | {"ARGOSY_FAILPOINTS": place}) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    (command,) = re.findall("argosy (bulk act .*)", said.decode())
    half = registered.bulk(command.split()[-1])
    assert (half.state, half.done, half.not_done) == ("running", 2, 0)
    with started(*command.split(), environment=environment) as process:
        printed, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert re.search(r"^done +6 cancelled", printed.decode(), re.MULTILINE)
    assert [statuses(registered, gid) for gid in gids] == [["Cancelled"] * 2] * 3
