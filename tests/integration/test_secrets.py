"""Secrets and tokens of launches: when they go, and that none goes under a job that needs it."""

import pytest
from sqlalchemy import Engine, event

from argosy.client import Client
from argosy.errors import Conflict
from argosy.housekeeping import Housekeeping
from argosy.launch import Launching
from argosy.settings import Settings
from argosy.states import State
from argosy.store import control, queue, secrets
from tests.integration.queues import sql
from tests.integration.races import with_old_eyes
from tests.integration.test_control import claim, created, end, launched, record, registered, run, stage, statuses
from tests.stack import Direct

__all__ = ["registered", "stage"]


async def test_a_secret_is_not_deleted_under_a_job_that_was_told_to_go_ahead(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="first")
    (first,) = claim(engine)
    secrets.intend(engine, gid, 1)
    record(engine, queue.Ended(first.uid, first.number, first.epoch, "lost", "why"))
    launched(registered, stage, 1)  # at which the look stops
    async with with_old_eyes(engine, secrets.due) as looking:
        assert registered.retry(gid) == 1
        assert [again.number for again in claim(engine) if again.gid == gid] == [2]
        secrets.intend(engine, gid, 1)
    assert await looking == []
    assert sql(engine, "SELECT deleting FROM argosy.launch_secret") == [(False,)]


def test_a_job_that_asks_for_a_secret_whose_deletion_is_settled_in_the_middle_of_it_waits(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="first")
    secrets.intend(engine, gid, 1)
    sql(engine, "UPDATE argosy.launch_secret SET deleting = true")

    def settle(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            with engine.begin() as connection:
                secrets.settle(connection, secrets.Debt(gid, 1))

    event.listen(engine, "after_cursor_execute", settle)
    with pytest.raises(Conflict, match="made again"):
        secrets.intend(engine, gid, 1)


def test_the_token_of_a_job_that_waits_for_its_automatic_retry_is_not_wiped(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """No cluster carries its labels at the moment; when one does again, its pods need the token."""
    registered.update_cluster("c", labels={"gpu": "a100"})
    registered.update_algorithm("stubborn", cluster_labels={"gpu": "a100"})
    gid = launched(registered, stage, 1, "stubborn", token="first")
    claimed = claim(engine)
    record(engine, *(created(waiting) for waiting in claimed))
    registered.update_cluster("c", labels={})
    end(engine, claimed[0], State.ERROR)
    assert statuses(registered, gid) == ["Error"]
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 0
        assert control.follow(connection) == 0
    registered.update_cluster("c", labels={"gpu": "a100"})
    with engine.begin() as connection:
        assert control.follow(connection) == 1
        assert secrets.sealed(connection, gid) is not None
    assert statuses(registered, gid) == ["Queued"]


def test_the_token_of_a_job_that_no_cluster_will_ever_take_again_is_wiped(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, "stubborn", token="first")
    claimed = claim(engine)
    record(engine, *(created(waiting) for waiting in claimed))
    sql(engine, "UPDATE argosy.cluster SET removed_at = now()")
    end(engine, claimed[0], State.ERROR)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    assert statuses(registered, gid) == ["Error"]


async def test_what_waits_for_its_automatic_retry_needs_nobody_elses_end(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    gid = launched(registered, stage, 1, "stubborn")
    run(engine, State.FAILED)
    sql(engine, "UPDATE argosy.attempt SET state = 'lost', retries_left = 1")
    worker = Direct(settings)
    for chore in Housekeeping(engine, settings, worker.clusters, worker).chores():
        if chore.__name__ == "_follow":
            await chore()
    assert statuses(registered, gid) == ["Queued"]
