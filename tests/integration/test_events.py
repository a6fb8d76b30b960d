"""What happened, as triggers write it in the transaction of each change."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching
from argosy.shapes.history import EventShape
from argosy.states import State
from argosy.store import queue, retention, tracking
from argosy.store.actor import acting
from tests.support.jobs import claim, end, launched, record, registered, run, stage
from tests.support.queues import sql

__all__ = ["registered", "stage"]


def told(client: Client, key: UUID) -> list[tuple[str, int | None]]:
    return [(event.kind, event.attempt) for event in client.events(key).events]


def node(uid: UUID, **fields: Any) -> tracking.NodeRow:
    empty = {"task": "step", "type": "Pod", "phase": "Running", "message": "", "children": (), "exit_code": None}
    rest = {"started_at": None, "finished_at": None, "pod": "p", "host": "h", "resources": {"cpu": 3}, "boundary": ""}
    return tracking.NodeRow(uid, 1, **{"node_id": "n", **empty, **rest, **fields})


def write(engine: Engine, *nodes: tracking.NodeRow) -> None:
    with engine.begin() as connection:
        tracking.write_nodes(connection, nodes)


def test_a_job_tells_its_life_in_order_with_that_of_its_launch(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 2)
    (waiting,) = run(engine, State.RUNNING, 1)
    end(engine, waiting, State.FAILED)
    registered.retry(waiting.uid)
    life = told(registered, waiting.uid)
    assert life == [
        ("accepted", None),
        ("resolved", None),
        ("expanded", None),
        *[(state, 1) for state in ("pending", "running", "failed")],
        ("queued", 2),
    ]
    assert told(registered, gid) == life  # the other job was queued only, and the launch tells that
    first, *_, retried = registered.events(waiting.uid).events
    assert (first.actor, first.detail) == ("user 7", {"jobs": 2})
    assert "attempt 1 ended failed: why" in retried.message
    made = registered.events(waiting.uid).events[3]
    assert (made.actor, made.cluster) == ("w", "c")


def test_a_claim_that_runs_out_is_told(registered: Client, stage: Launching, engine: Engine) -> None:
    launched(registered, stage, 1)
    (waiting,) = claim(engine)
    sql(engine, "UPDATE argosy.attempt SET lease_until = now() - interval '1 s'")
    claim(engine)
    sql(engine, "UPDATE argosy.attempt SET message = 'the cluster said nothing'")
    assert registered.events(waiting.uid).events[-1].kind == "submitting"


def test_who_cancels_and_pauses_is_told(registered: Client, stage: Launching) -> None:
    gid = launched(registered, stage, 1)
    (job,) = registered.list(gid=gid)
    with acting("user 9"):
        registered.cancel(job.uid)
        registered.pause(cluster="c", reason="new disks")
    registered.resume(cluster="c")
    assert [(e.kind, e.actor) for e in registered.events(job.uid).events[-2:]] == [
        ("cancel_requested", "user 9"),
        ("cancelled", "user 9"),
    ]
    cluster = [(e.kind, e.actor, e.message) for e in registered.events(cluster="c").events]
    assert cluster == [("registered", "", ""), ("paused", "user 9", "new disks"), ("resumed", "", "")]


def test_what_happens_again_alike_is_counted_and_not_repeated(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 1)
    for number in range(5):
        sql(engine, "UPDATE argosy.attempt SET not_before = NULL WHERE state = 'queued'")
        (waiting,) = claim(engine)
        reason = f"cluster said 503 after {number} s: 'request {number}' of 0a1b2c3d4e5f"
        record(engine, queue.Returned(waiting.uid, waiting.number, waiting.epoch, reason, 0))
    assert [(e.kind, e.times) for e in registered.events(gid).events[3:]] == [("queued", 5)]
    last = registered.events(gid).events[-1]
    assert "after 4 s" in last.message
    assert last.last_at > last.at


def test_a_failed_step_tells_where_it_ran_and_what_it_used(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    launched(registered, stage, 1)
    (waiting,) = run(engine, State.RUNNING)
    pulling = node(waiting.uid, phase="Pending", message="ImagePullBackOff: back-off 10s")
    write(engine, pulling)
    write(engine, node(waiting.uid, phase="Pending", message="ImagePullBackOff: back-off 20s"))
    write(engine, node(waiting.uid))
    write(engine, node(waiting.uid, phase="Failed", message="Error (exit code 3)", exit_code=3))
    write(engine, node(waiting.uid, node_id="dag", type="DAG", phase="Failed", message="child 'n' failed"))
    pending, failed = registered.events(waiting.uid).events[-2:]
    assert (pending.kind, pending.times) == ("node_pending", 2)
    assert (failed.kind, failed.message, failed.node) == ("node_failed", "Error (exit code 3)", "n")
    assert failed.detail == {"task": "step", "exit_code": 3, "pod": "p", "host": "h", "resources": {"cpu": 3}}


def test_a_change_that_is_rolled_back_is_not_told(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 1)
    before = told(registered, gid)
    with engine.connect() as connection:
        connection.execute(text("UPDATE argosy.attempt SET state = 'lost', message = 'x'"))
        connection.rollback()
    assert told(registered, gid) == before


def test_somebody_who_follows_misses_nothing_that_is_committed_late(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, 2)
    first, second = claim(engine)
    page = registered.events(gid)
    with engine.connect() as slow:
        slow.execute(text("UPDATE argosy.attempt SET message = 'slow' WHERE uid = :uid"), {"uid": first.uid})
        sql(engine, "UPDATE argosy.attempt SET message = 'quick' WHERE uid = :uid", uid=second.uid)
        between = registered.events(gid, after=page.cursor)
        slow.commit()
    last = registered.events(gid, after=between.cursor)
    seen = {event.id: event.message for event in (*between.events, *last.events)}
    assert {"slow", "quick"} <= set(seen.values())
    assert registered.events(gid, after=last.cursor).events == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "1@",
        "1.0@2026-01-01T00:00:00.000",
        "-1.0@2026-01-01T00:00:00+00:00",
        "9" * 30 + ".0@2026",
        "1.0@" + "x" * 30,
    ],
)
def test_no_cursor_is_refused_in_words(registered: Client, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="not the cursor"):
        registered.events(cluster="c", after=cursor)


def test_a_cursor_gives_no_more_than_a_page_and_then_the_rest(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """Found by a hostile reader: an old cursor read the whole history of a launch at once."""
    gid = launched(registered, stage, 10)
    run(engine, State.FAILED)
    whole = {event.id for event in registered.events(gid, limit=1000).events}
    got: list[int] = []
    cursor = "0.0@2000-01-01T00:00:00+00:00"
    while page := registered.events(gid, limit=7, after=cursor).events:
        assert len(page) <= 7
        got += [event.id for event in page]
        cursor = registered.events(gid, limit=7, after=cursor).cursor
    assert (len(got), set(got)) == (len(whole), whole)


def test_a_cursor_of_another_database_is_refused(registered: Client) -> None:
    with pytest.raises(InvalidRequest, match="begin anew"):
        registered.events(cluster="c", after=f"{1 << 60}.0@2026-01-01T00:00:00+00:00")


def test_who_follows_is_told_that_a_lost_job_runs_again(registered: Client, stage: Launching, engine: Engine) -> None:
    """Found by a hostile reader: the history ended with "lost", and since when it runs was untrue."""
    launched(registered, stage, 1)
    (waiting,) = run(engine, State.RUNNING)
    end(engine, waiting, State.LOST)
    page = registered.events(waiting.uid)
    end(engine, waiting, State.RUNNING)
    (again,) = registered.events(waiting.uid, after=page.cursor).events
    assert (again.kind, again.times) == ("running", 2)
    assert registered.events(waiting.uid).events[-1].kind == "running"
    assert registered.explain(waiting.uid).since >= page.events[-1].last_at


def test_what_a_tenant_writes_makes_no_event_dear(engine: Engine) -> None:
    """Found by a hostile reader: 1,000 messages of a kind took PostgreSQL 12 s. Two hundred letters are looked at, and no pattern repeats
    what repeats or looks back at what it found: that is what makes a pattern's work grow faster than its text."""
    (row,) = sql(engine, "SELECT pg_get_functiondef('argosy.alike'::regproc) AS code")
    patterns = re.findall(r"'((?:[^']|'')+)', '[^']*', 'g'", row.code)
    assert len(patterns) == 2
    assert [each for each in patterns if re.search(r"\)[*+?{]|[*+?}][*+{]|\\[1-9]", each)] == []
    for message in ("0x" * 250, "abcdef01g" * 55, "'" * 500, "a/" * 250, 'x"' * 250, "a" * 500, "-" * 500):
        often = "SELECT count(DISTINCT argosy.alike(left(:m, 200) || n)) AS found FROM generate_series(1, 100) n"
        assert [each.found for each in sql(engine, often, m=message)] == [1]


def test_events_of_nothing_and_of_another_project_are_not_found(registered: Client, stage: Launching) -> None:
    gid = launched(registered, stage, 1)
    (job,) = registered.list(gid=gid)
    for key in (gid, job.uid):
        with pytest.raises(NotFound):
            registered.events(key, project=2)
    with pytest.raises(NotFound):
        registered.events(uuid1())
    with pytest.raises(NotFound):
        registered.events(cluster="nowhere")
    with pytest.raises(InvalidRequest, match="say which"):
        registered.events()


def test_events_are_forgotten_with_what_they_tell_of(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = launched(registered, stage, 2)
    run(engine, State.SUCCEEDED)
    kept = launched(registered, stage, 1)
    sql(engine, "UPDATE argosy.launch SET created_at = now() - interval '99 days' WHERE gid = :gid", gid=gid)
    sql(engine, "UPDATE argosy.attempt SET finished_at = now() - interval '99 days' WHERE gid = :gid", gid=gid)
    sql(engine, "UPDATE argosy.event SET last_at = now() - interval '99 days' WHERE gid IS NULL")
    with engine.begin() as connection:
        retention.forget(connection, 90)
        retention.forget(connection, 90)
    assert {row.gid for row in sql(engine, "SELECT gid FROM argosy.event")} == {kept}


def test_health_is_told_when_it_changes(registered: Client, engine: Engine) -> None:
    for state in ("ok", "unreachable", "unreachable", "ok"):
        with engine.begin() as connection:
            tracking.health(connection, 1, state, "" if state == "ok" else "no route")
    found: list[EventShape] = registered.events(cluster="c").events
    assert [event.message for event in found if event.kind == "health"] == ["ok", "unreachable: no route", "ok"]
    assert all(datetime.now(UTC) - event.at < timedelta(minutes=1) for event in found)
