"""Retries: asked for by somebody, or automatic, and their back-off."""

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest
from argosy.labels import workflow_name
from argosy.launch.expand import Launching
from argosy.settings import Settings
from argosy.states import State
from argosy.store import retries, secrets, targets, tracking
from tests.support.jobs import claim, created, end, launched, record, registered, run, stage, statuses

__all__ = ["registered", "stage"]


def test_a_retry_takes_only_what_failed_and_keeps_the_old_attempts(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 4)
    first, second, third = claim(engine, 3)
    record(engine, created(first), created(second), created(third))
    end(engine, first, State.SUCCEEDED)
    end(engine, second, State.FAILED)
    end(engine, third, State.RUNNING)
    assert registered.retry(gid) == 1
    assert registered.retry(gid) == 0
    again = registered.get(second.uid)
    assert (again.attempt, again.status) == (2, "Queued")
    assert "attempt 1 ended failed: why" in again.message
    assert registered.get(second.uid, attempt=1).status == "Failed"
    assert {(waiting.uid, waiting.number) for waiting in claim(engine)} >= {(second.uid, 2)}


def test_everything_that_ended_is_retried_when_asked_for(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 2)
    run(engine, State.SUCCEEDED, 1)
    assert registered.retry(gid) == 0
    assert registered.retry(gid, failed_only=False) == 1


def test_a_cancelled_job_that_is_retried_is_cancelled_no_more(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    registered.cancel(gid)
    assert registered.retry(gid) == 1
    (waiting,) = claim(engine)
    assert not waiting.cancel_requested
    assert statuses(registered, gid) == ["Submitting"]


def test_a_retry_on_a_removed_cluster_is_refused_by_its_name(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    run(engine, State.FAILED)
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.cluster SET removed_at = now()"))
    with pytest.raises(Conflict, match="cluster c was removed"):
        registered.retry(gid)


def test_a_launch_without_jobs_cannot_be_retried(registered: Client, stage: Launching) -> None:
    early = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    with pytest.raises(Conflict, match="not cut into jobs yet"):
        registered.retry(early)
    registered.cancel(early)
    with pytest.raises(Conflict, match="was cancelled"):
        registered.retry(early)


def test_a_token_that_was_wiped_must_be_given_anew(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    gid = launched(registered, stage, 2, token="first")
    claimed = run(engine, State.FAILED)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    with pytest.raises(InvalidRequest, match="token"):
        registered.retry(claimed[0].uid)
    assert registered.retry(claimed[0].uid, token="second") == 1
    with pytest.raises(Conflict, match="unfinished jobs"):
        registered.retry(claimed[1].uid, token="third")
    assert registered.retry(claimed[1].uid) == 1
    assert statuses(registered, gid) == ["Queued", "Queued"]


def test_a_token_is_not_wiped_under_a_retry_that_commits_meanwhile(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="first")
    run(engine, State.FAILED)
    with engine.begin() as retrying:
        retries.retry(retrying, targets.locked(retrying, gid, None), retries.Again())
        with engine.begin() as wiping:
            assert secrets.wipe_tokens(wiping) == 0
    with engine.begin() as wiping:
        assert secrets.wipe_tokens(wiping) == 0


def test_an_error_is_tried_again_by_itself_until_its_attempts_are_used_up(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    waits = []
    for attempt in (1, 2, 3):
        (waiting,) = run(engine, State.ERROR)
        assert waiting.number == attempt
        with engine.begin() as connection:
            waits.append(
                connection.execute(
                    text(
                        "SELECT round(extract(epoch FROM not_before - queued_at)) FROM argosy.attempt WHERE state = 'queued'"
                    )
                ).scalar_one_or_none()
            )
            connection.execute(text("UPDATE argosy.attempt SET not_before = NULL"))
    assert waits == [7, 14, None]
    assert statuses(registered, gid) == ["Error"]
    assert registered.get(waiting.uid).attempt == 3


@pytest.mark.parametrize("state", [State.FAILED, State.SUCCEEDED, State.DELETED, State.CANCELLED])
def test_only_error_and_lost_are_tried_again_by_themselves(
    registered: Client, stage: Launching, engine: Engine, state: State
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, state)
    assert statuses(registered, gid) == [state.capitalize()]


def test_automatic_retry_is_off_by_default(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 1)
    run(engine, State.ERROR)
    assert statuses(registered, gid) == ["Error"]


def test_a_lost_job_is_tried_again_by_itself_in_the_transaction_that_found_it_lost(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    (waiting,) = claim(engine)
    record(engine, created(waiting))
    with engine.begin() as connection:
        assert tracking.absent(connection, tracking.expected(connection, 1)) == []
    assert statuses(registered, gid) == ["Queued"]
    assert registered.get(waiting.uid, attempt=1).status == "Lost"


def test_a_cancel_ends_a_job_that_waits_for_its_automatic_retry(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, State.ERROR)
    assert registered.cancel(gid).cancelled == 1
    assert statuses(registered, gid) == ["Cancelled"]


def waits(engine: Engine) -> list[int]:
    """Seconds that queued attempts have to wait from their making on."""
    with engine.connect() as connection:
        query = "SELECT round(extract(epoch FROM not_before - queued_at)) FROM argosy.attempt WHERE state = 'queued'"
        return [int(seconds) for seconds in connection.execute(text(query)).scalars()]


def numbered(engine: Engine, number: int) -> None:
    """As if each job had been cancelled and retried so often."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.attempt SET number = :number"), {"number": number})
        connection.execute(text("UPDATE argosy.job SET attempt = :number"), {"number": number})


@pytest.mark.parametrize("number", [11, 1026, 5000])
def test_the_back_off_counts_no_attempts_that_somebody_asked_for_and_never_overflows(
    registered: Client, stage: Launching, engine: Engine, number: int
) -> None:
    launched(registered, stage, 1, "stubborn")
    numbered(engine, number)
    run(engine, State.ERROR)
    assert waits(engine) == [7]


def test_the_back_off_ends_at_an_hour(registered: Client, stage: Launching, engine: Engine) -> None:
    registered.update_algorithm("stubborn", max_attempts=100, retry_backoff=3600)
    launched(registered, stage, 1, "stubborn")
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.attempt SET retries_left = 1"))
    run(engine, State.ERROR)
    assert waits(engine) == [3600]


def test_a_job_whose_next_attempt_cannot_be_written_keeps_nobody_elses_end_from_being_written(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 5, "stubborn")
    claimed = claim(engine)
    record(engine, *(created(waiting) for waiting in claimed))
    bad = claimed[2]
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, placement_id, state) "
                "SELECT uid, 2, gid, project, user_id, algorithm_id, placement_id, 'rejected' FROM argosy.attempt WHERE uid = :uid"
            ),
            {"uid": bad.uid},
        )
    changes = [
        tracking.Change(waiting.uid, 1, 1, "name", State.ERROR, f"k-{waiting.uid}-1", "why", "", None, None)
        for waiting in claimed
    ]
    with engine.begin() as connection, capture_logs() as logged:
        tracking.known(connection, [(waiting.uid, 1) for waiting in claimed], 1)
        tracking.change(connection, changes)
    assert statuses(registered, gid) == ["Queued", "Queued", "Error", "Queued", "Queued"]
    assert "could not be written" in registered.get(bad.uid).message
    (line,) = logged
    of_job = (line["workflow"], line["gid"], line["cluster"])
    assert of_job == (workflow_name(bad.uid, 1), gid, registered.cluster(1).name)
    with engine.begin() as connection:
        assert retries.follow(connection) == 0
