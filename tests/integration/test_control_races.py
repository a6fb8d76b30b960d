"""Cancel, automatic retry and the tracker against each other, in two transactions: lock first, ask in a second statement.

In READ COMMITTED a statement that waits for a lock goes on with the eyes of before it waited: what the other has inserted meanwhile it
does not see.
"""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlmodel import Session

from argosy.client import Client
from argosy.errors import Conflict
from argosy.launch.expand import Launching
from argosy.shapes.shown import CancelShape
from argosy.states import State
from argosy.store import cancels, claims, registry, retries, targets, tracking
from tests.integration.races import meanwhile
from tests.support.jobs import claim, created, launched, record, registered, run, stage, statuses

__all__ = ["registered", "stage"]


def erred(waiting: claims.Waiting) -> Callable[[Connection], None]:
    """The tracker's transaction that writes an attempt's end, and with it the next attempt."""
    k8s_uid = f"k-{waiting.uid}-{waiting.number}"
    change = tracking.Change(waiting.uid, waiting.number, 1, "name", State.ERROR, k8s_uid, "why", "", None, None)

    def write(connection: Connection) -> None:
        tracking.known(connection, [(waiting.uid, waiting.number)], 1)
        tracking.change(connection, [change])

    return write


@pytest.mark.parametrize("of", ["job", "launch", "project"])
async def test_a_cancel_is_not_lost_to_an_automatic_retry_that_is_written_meanwhile(
    registered: Client, stage: Launching, engine: Engine, of: str
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    (waiting,) = claim(engine)
    record(engine, created(waiting))

    def cancel() -> CancelShape:
        if of == "project":
            return registered.cancel(project=1)
        return registered.cancel(gid if of == "launch" else waiting.uid)

    done = await meanwhile(engine, erred(waiting), cancel)
    assert done == CancelShape(cancelled=1, cancelling=0, ended=0)
    assert registered.get(waiting.uid).attempt == 2
    assert statuses(registered, gid) == ["Cancelled"]
    assert claim(engine) == []


async def test_an_automatic_retry_is_not_written_over_a_cancel_that_commits_meanwhile(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    (waiting,) = claim(engine)
    record(engine, created(waiting))

    def cancel(connection: Connection) -> None:
        cancels.cancel(connection, targets.locked(connection, gid, None))

    def end() -> None:
        with engine.begin() as connection:
            erred(waiting)(connection)

    await meanwhile(engine, cancel, end)
    assert registered.get(waiting.uid).attempt == 1
    assert claim(engine) == []


async def test_a_job_that_is_found_absent_while_its_cancel_commits_is_not_lost(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    (waiting,) = claim(engine)
    record(engine, created(waiting))
    with engine.begin() as connection:
        expected = tracking.expected(connection, 1)

    def cancel(connection: Connection) -> None:
        cancels.cancel(connection, targets.locked(connection, gid, None))

    def absent() -> list[tracking.Expected]:
        with engine.begin() as connection:
            return tracking.absent(connection, expected)

    assert await meanwhile(engine, cancel, absent) == expected
    assert statuses(registered, gid) == ["Cancelling"]


async def test_two_changes_of_a_cluster_at_once_are_two_versions_of_its_credentials(
    registered: Client, engine: Engine
) -> None:
    """Else who has loaded the first never connects with the second's."""

    def other(connection: Connection) -> None:
        connection.execute(text("UPDATE argosy.cluster SET credential_version = credential_version + 1"))

    await meanwhile(engine, other, lambda: registered.update_cluster("c", service_account="runner"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT credential_version FROM argosy.cluster")).scalar_one() == 3


def test_an_old_attempt_is_not_judged_while_a_retry_of_it_is_under_way(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """Else the old attempt, which shows up again, is re-opened beside the new one."""
    gid = launched(registered, stage, 1)
    (waiting,) = run(engine, State.LOST)
    key = waiting.uid, 1

    def judged() -> tuple[dict[tuple[UUID, int], tracking.Known], set[tuple[UUID, int]]]:
        with engine.begin() as connection:
            return tracking.known(connection, [key], 1)

    with engine.begin() as connection:
        retries.retry(connection, targets.locked(connection, gid, None), retries.Again())
        assert judged() == ({}, {key})
    rows, busy = judged()
    assert not rows[key].newest
    assert not busy


@pytest.mark.parametrize("automatic", [True, False])
async def test_no_retry_goes_to_a_cluster_whose_removal_commits_meanwhile(
    registered: Client, stage: Launching, engine: Engine, automatic: bool
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, State.FAILED)
    registered.update_algorithm("stubborn", cluster=None)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE argosy.attempt SET state = 'lost', retries_left = :left"), {"left": int(automatic)}
        )

    def remove(connection: Connection) -> None:
        registry.remove_cluster(Session(connection), "c")

    def retry() -> object:
        with engine.begin() as connection:
            if automatic:
                return retries.follow(connection)
            try:
                return retries.retry(connection, targets.locked(connection, gid, None), retries.Again())
            except Conflict as error:
                return error

    await meanwhile(engine, remove, retry)
    assert statuses(registered, gid) == ["Lost"]
