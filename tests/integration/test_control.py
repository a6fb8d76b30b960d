"""Cancel and retry as rows: what a caller is answered, and what a later claim then finds. No cluster is asked."""

import asyncio
from uuid import uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.errors import ArgosyError, NotFound, QueueFull
from argosy.launch.expand import Launching, expand
from argosy.shapes.shown import CancelShape
from argosy.states import State
from argosy.store import cancels, ending, queue, secrets, targets
from tests.support.jobs import claim, created, end, launched, record, registered, run, stage, statuses
from tests.support.launching import HELLO

__all__ = ["registered", "stage"]


def test_a_queued_job_is_cancelled_on_the_spot_and_its_record_stays(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage)
    uid = registered.list(gid=gid)[1].uid
    assert registered.cancel(uid) == CancelShape(cancelled=1, cancelling=0, ended=0)
    assert registered.cancel(uid) == CancelShape(cancelled=0, cancelling=0, ended=1)
    assert statuses(registered, gid) == ["Queued", "Cancelled", "Queued"]
    assert uid not in {waiting.uid for waiting in claim(engine)}


def test_a_submitting_job_is_cancelling_and_its_next_claim_knows(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    (waiting,) = claim(engine)
    assert registered.cancel(gid) == CancelShape(cancelled=0, cancelling=1, ended=0)
    assert statuses(registered, gid) == ["Cancelling"]
    record(engine, queue.Unresolved(waiting.uid, 1, waiting.epoch, "no answer", 0.0))
    (again,) = claim(engine)
    assert again.stale
    assert again.cancel_requested


def test_a_create_that_surely_did_not_happen_ends_a_job_that_was_cancelled_meanwhile(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    (waiting,) = claim(engine)
    registered.cancel(gid)
    record(engine, queue.Returned(waiting.uid, 1, waiting.epoch, "the cluster asks to wait", 0.0))
    assert statuses(registered, gid) == ["Cancelled"]
    assert claim(engine) == []


def test_a_running_job_is_cancelling_until_its_workflow_is_seen_final(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    (waiting,) = claim(engine)
    record(engine, created(waiting))
    end(engine, waiting, State.RUNNING)
    registered.cancel(gid)
    assert statuses(registered, gid) == ["Cancelling"]
    with engine.begin() as connection:
        assert ending.ending(connection, 1) == [("name", f"k-{waiting.uid}-1", "cancelled")]
    end(engine, waiting, State.CANCELLED)
    assert statuses(registered, gid) == ["Cancelled"]


def test_a_launch_that_has_no_jobs_yet_is_cancelled_whole_and_never_expanded(
    registered: Client, stage: Launching
) -> None:
    found = registered.launch("hello", project=1, user=7, media_ids=[1, 2], token="t")
    registered.cancel(found.gid)
    assert expand(stage, found.gid) == []
    assert registered.launches(gid=found.gid)[0].state == "cancelled"
    assert registered.get(found.uids[1]).status == "Cancelled"


def test_one_job_of_a_launch_that_has_no_jobs_yet_can_be_cancelled_and_hidden(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    found = registered.launch("hello", project=1, user=7, media_ids=[1, 2, 3])
    registered.cancel(found.uids[0])
    registered.delete(found.uids[1])
    assert [registered.get(uid).status for uid in found.uids] == ["Cancelled", "Cancelled", "Queued"]
    expand(stage, found.gid)
    assert statuses(registered, found.gid) == ["Cancelled", "Queued"]
    assert [registered.get(uid).status for uid in found.uids] == ["Cancelled", "Cancelled", "Queued"]
    assert [waiting.uid for waiting in claim(engine)] == [found.uids[2]]


def test_all_of_a_project_is_cancelled_and_nothing_of_another(registered: Client, stage: Launching) -> None:
    registered.register_algorithm(name="other", project=2, user=7, manifest=HELLO, files_per_job=1)
    mine = launched(registered, stage)
    early = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    theirs = registered.launch("other", project=2, user=7, media_ids=[1]).gid
    expand(stage, theirs)
    assert registered.cancel(project=1).cancelled == 3
    assert statuses(registered, mine) == ["Cancelled"] * 3
    assert registered.launches(gid=early)[0].state == "cancelled"
    assert statuses(registered, theirs) == ["Queued"]


@pytest.mark.parametrize("method", ["cancel", "delete", "retry"])
def test_another_projects_job_and_an_unknown_one_are_not_found(
    registered: Client, stage: Launching, method: str
) -> None:
    gid = launched(registered, stage)
    for key, project in ((gid, 2), (registered.list(gid=gid)[0].uid, 2), (uuid1(), None)):
        with pytest.raises(NotFound):
            getattr(registered, method)(key, project=project)
    assert statuses(registered, gid) == ["Queued"] * 3


def test_a_deleted_launch_is_in_no_default_list_and_still_there(registered: Client, stage: Launching) -> None:
    gid = launched(registered, stage)
    registered.delete(gid)
    assert registered.list() == []
    assert registered.launches() == []
    assert [job.status for job in registered.list(gid=gid, hidden=True)] == ["Cancelled"] * 3
    assert [launch.gid for launch in registered.launches(hidden=True)] == [gid]
    assert registered.launches(gid=gid)[0].counts == {"Cancelled": 3}


async def test_a_cancel_waits_for_an_expansion_that_is_under_way(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """The expansion holds the launch's row; a cancel that came in between must find all jobs."""
    from argosy.store import placements
    from tests.integration.launching import cut

    found = registered.launch("hello", project=1, user=7, media_ids=[1, 2, 3])
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE argosy.launch SET state = 'resolved', placement_id = :p, manifest = :m, parameters = '[]', algorithm_id = 1"
            ),
            {"m": HELLO, "p": placements.put(connection, [1], {})},
        )
    with engine.begin() as expanding:
        cut(expanding, found.gid)
        cancelling = asyncio.create_task(asyncio.to_thread(registered.cancel, found.gid))

        def blocked() -> bool:
            with engine.connect() as connection:
                return bool(
                    connection.execute(
                        text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                    ).scalar_one()
                )

        while not await asyncio.to_thread(blocked):
            assert not cancelling.done()
    assert (await cancelling).cancelled == 3
    assert statuses(registered, found.gid) == ["Cancelled"] * 3


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two jobs."""
    monkeypatch.setattr(targets, "BATCH", 2)


@pytest.mark.usefixtures("small")
def test_a_launch_is_cancelled_deleted_and_retried_batch_by_batch_and_every_job_is_counted_once(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 7)
    run(engine, State.SUCCEEDED, 1)
    record(engine, *(created(waiting) for waiting in claim(engine, 2)))
    assert registered.delete(gid) == CancelShape(cancelled=4, cancelling=2, ended=1)
    assert registered.list(gid=gid) == []
    assert registered.cancel(gid) == CancelShape(cancelled=0, cancelling=2, ended=5)
    assert registered.retry(gid) == 4
    assert registered.retry(gid) == 0
    assert [job.status for job in registered.list(gid=gid)] == ["Queued"] * 4


@pytest.mark.usefixtures("small")
def test_a_caller_that_dies_between_two_batches_of_a_cancel_goes_on_with_the_same_call(
    registered: Client, stage: Launching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gid = launched(registered, stage, 5)
    with engine.begin() as connection:
        _, following = cancels.cancel(connection, targets.locked(connection, gid, None))
    assert following == 2
    assert statuses(registered, gid) == ["Cancelled", "Cancelled", "Queued", "Queued", "Queued"]
    assert registered.cancel(gid) == CancelShape(cancelled=3, cancelling=0, ended=2)


@pytest.mark.usefixtures("small")
def test_no_batch_of_a_cancel_holds_jobs_of_another(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 5)
    others = [job.uid for job in registered.list(gid=gid)[2:]]
    with engine.begin() as cancelling:
        cancels.cancel(cancelling, targets.locked(cancelling, gid, None))
        with engine.begin() as connection:
            free = "SELECT uid FROM argosy.job JOIN argosy.attempt USING (uid) ORDER BY ordinal FOR UPDATE SKIP LOCKED"
            assert connection.execute(text(free)).scalars().all() == others


@pytest.mark.usefixtures("small")
def test_a_retry_in_batches_takes_a_new_token_once_and_writes_nothing_where_not_all_jobs_fit(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 5, token="first")
    registered.cancel(gid)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    registered.set_project(1, max_queued=4)
    with pytest.raises(QueueFull, match="this adds 5"):
        registered.retry(gid, token="second")
    assert statuses(registered, gid) == ["Cancelled"] * 5
    registered.set_project(1, max_queued=5)
    assert registered.retry(gid, token="second") == 5


def test_a_launch_that_was_cancelled_before_it_was_cut_is_counted_and_its_second_cancel_changes_nothing(
    registered: Client,
) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1, 2]).gid
    assert registered.cancel(gid) == CancelShape(cancelled=0, cancelling=0, ended=0, launches=1)
    assert registered.cancel(gid) == CancelShape(cancelled=0, cancelling=0, ended=0)
    registered.launch("hello", project=1, user=7, media_ids=[1, 2])
    assert registered.cancel(project=1).launches == 1


def test_a_launch_that_is_cancelled_half_cut_is_cut_no_further_and_keeps_its_token_for_the_jobs_there_are(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 3, token="first")
    record(engine, *(created(waiting) for waiting in claim(engine, 1)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.launch SET state = 'resolved', jobs = 9"))
    assert registered.cancel(gid) == CancelShape(cancelled=2, cancelling=1, ended=0, launches=1)
    (launch,) = registered.launches(gid=gid)
    assert (launch.state, launch.jobs) == ("cancelled", 3)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 0
    assert registered.retry(gid) == 2
    assert claim(engine) != []


def test_a_uid_that_somebody_took_for_a_launchs_gid_still_names_the_job(registered: Client, stage: Launching) -> None:
    gid = launched(registered, stage, 2)
    uid = registered.list(gid=gid)[0].uid
    registered.register_algorithm(name="other", project=2, user=7, manifest=HELLO, files_per_job=1)
    try:
        registered.launch("other", project=2, user=7, media_ids=[1], gid=uid)
    except ArgosyError:
        return  # refused: as good
    for project in (1, None):
        registered.cancel(uid, project=project)
        assert statuses(registered, gid) == ["Cancelled", "Queued"]
        assert registered.launches(gid=uid)[0].state == "accepted"
