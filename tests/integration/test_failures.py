"""Failures of a launch in groups, retries of a part of them, and how far a launch is."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching
from argosy.states import State
from argosy.store import tracking
from tests.support.jobs import claim, created, launched, record, registered, stage
from tests.support.queues import sql

__all__ = ["registered", "stage"]

MESSAGES = [
    ("detect: cannot open /media/17/a.mp4 (exit code 2)", 2),
    ("detect: cannot open /media/23/b.mp4 (exit code 2)", 2),
    ("detect: cannot open '/media/23/b c.mp4' (exit code 2)", 2),
    ("detect: OOMKilled (exit code 137)", 137),
    ("detect: cannot open /media/17/a.mp4 (exit code 3)", 3),
]


@pytest.fixture
def gid(registered: Client, stage: Launching, engine: Engine) -> UUID:
    """A launch of eight jobs: five failed as in `MESSAGES`, one succeeded, one runs, one is queued."""
    found = launched(registered, stage, 8)
    claimed = claim(engine, 7)
    record(engine, *(created(waiting) for waiting in claimed))
    ends: list[tuple[State, str, int | None]] = [(State.FAILED, *each) for each in MESSAGES]
    ends += [(State.SUCCEEDED, "", None), (State.RUNNING, "", None)]
    changes = [
        tracking.Change(
            w.uid, w.number, 1, "n", state, f"k-{w.uid}-1", message, "", None, None,
            exit_code=code, resources={"cpu": 10, "memory": 7},
        )
        for w, (state, message, code) in zip(claimed, ends, strict=True)
    ]  # fmt: skip
    with engine.begin() as connection:
        tracking.change(connection, changes)
    return found


def test_what_failed_alike_is_one_group_the_most_frequent_first(registered: Client, gid: UUID) -> None:
    jobs = registered.list(gid=gid)
    groups = registered.failures(gid)
    assert sorted((group.count, group.exit_code) for group in groups) == [(1, 2), (1, 3), (1, 137), (2, 2)]
    assert (groups[0].count, groups[0].message) == (2, MESSAGES[0][0])
    assert groups[0].jobs == [jobs[0].uid, jobs[1].uid]
    assert groups[0].status == "Failed"


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"status": ["Failed"]}, 5),
        ({"status": ["Succeeded"]}, 1),
        ({"status": ["Lost"]}, 0),
        ({"media_ids": [4, 6, 99]}, 1),
        ({"media_ids": [4, 6], "status": ["Failed", "Succeeded"]}, 2),
        ({}, 5),
    ],
)
def test_a_part_of_the_jobs_is_retried(registered: Client, gid: UUID, where: Any, count: int) -> None:
    assert registered.retry(gid, where=where) == count


def test_a_group_is_retried_by_its_key_once(registered: Client, gid: UUID) -> None:
    first = registered.failures(gid)[0]
    where: Any = {"error": first.key}
    assert registered.retry(gid, where=where) == 2
    assert registered.retry(gid, where=where) == 0
    assert {job.uid for job in registered.list(gid=gid) if job.attempt == 2} == set(first.jobs)
    assert first.key not in {group.key for group in registered.failures(gid)}


def test_the_key_of_rejected_jobs_retries_them(registered: Client, gid: UUID, engine: Engine) -> None:
    """Found by a hostile reader: it retried nothing, without a word."""
    sql(engine, "UPDATE argosy.attempt SET state = 'rejected' WHERE exit_code = 3")
    (group,) = [group for group in registered.failures(gid) if group.status == "Rejected"]
    where: Any = {"error": group.key}
    assert registered.retry(gid, where=where) == 1


@pytest.mark.parametrize(
    "where",
    [{"error": "x"}, {"error": "'; DROP"}, {"status": []}, {"status": ["Running"]}, {"media_ids": ["a"]}, {"what": 1}],
)
def test_a_filter_that_is_none_is_refused_and_retries_nothing(registered: Client, gid: UUID, where: Any) -> None:
    with pytest.raises(InvalidRequest):
        registered.retry(gid, where=where)
    assert {job.attempt for job in registered.list(gid=gid)} == {1}


def test_a_launch_says_how_far_it_is_how_fast_and_what_it_used(registered: Client, gid: UUID, engine: Engine) -> None:
    sql(engine, "UPDATE argosy.launch SET expanded_at = now() - interval '60 s'")
    (launch,) = registered.launches(gid=gid)
    assert (launch.done, launch.jobs) == (6, 8)
    assert launch.rate == pytest.approx(0.1, rel=0.2)
    assert launch.seconds_left == pytest.approx(20, rel=0.2)
    assert launch.resources == {"cpu": 70, "memory": 49}
    sql(engine, "UPDATE argosy.attempt SET finished_at = now() - interval '1 day' WHERE finished_at IS NOT NULL")
    sql(engine, "UPDATE argosy.launch SET expanded_at = now() - interval '2 days'")
    (launch,) = registered.launches(project=1)
    assert (launch.done, launch.rate, launch.seconds_left, launch.resources) == (6, None, None, None)


def test_what_a_project_used_counts_what_ended_within_the_days(registered: Client, gid: UUID, engine: Engine) -> None:
    assert registered.usage(1).resources == {"cpu": 60, "memory": 42}
    assert registered.usage(2).model_dump() == {"project": 2, "days": 30, "attempts": 0, "resources": {}}
    sql(engine, "UPDATE argosy.attempt SET finished_at = now() - interval '3 days' WHERE state = 'succeeded'")
    assert registered.usage(1, days=2).attempts == 5


def test_failures_of_no_launch_or_another_projects_are_not_found(registered: Client, gid: UUID) -> None:
    with pytest.raises(NotFound):
        registered.failures(gid, project=2)
    with pytest.raises(NotFound):
        registered.failures(registered.list(gid=gid)[0].uid)
