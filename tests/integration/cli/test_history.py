"""`argosy events`, `explain`, `project usage`, and the failures that `get` shows."""

import re
import signal
from uuid import uuid1

import orjson
import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.shapes.shown import LaunchShape
from argosy.states import State
from tests.support.cli import Run, error, started
from tests.support.jobs import run
from tests.support.queues import manned, sql


def test_events_are_listed_for_people_and_for_programs(argosy: Run, client: Client, launch: LaunchShape) -> None:
    uid = str(client.list(gid=launch.gid)[0].uid)
    argosy("cancel", uid)
    shown = argosy("events", uid).stdout
    assert re.search(rf"{uid}/1 +cancelled +\S+@\S+ +cancelled before it was submitted", shown)
    assert "expanded" in shown
    found = orjson.loads(argosy("events", str(launch.gid), "-o", "json").stdout)
    assert [event["kind"] for event in found][-2:] == ["cancel_requested", "cancelled"]
    assert "registered" in argosy("events", "--cluster", "north").stdout


def test_events_of_nothing_are_refused_in_one_line(argosy: Run) -> None:
    assert "say which" in error(argosy("events"), 2)
    assert "say which" in error(argosy("events", str(uuid1()), "--cluster", "c"), 2)
    assert "is not the id of" in error(argosy("events", str(uuid1())), 1)
    assert "nowhere" in error(argosy("events", "--cluster", "nowhere"), 1)


@pytest.mark.timeout(60)
def test_events_are_followed_until_somebody_stops_it(
    client: Client, launch: LaunchShape, environment: dict[str, str]
) -> None:
    with started("events", "--follow", "-o", "json", str(launch.gid), environment=environment) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, b"")
        while orjson.loads(next(lines))["kind"] != "expanded":
            pass
        client.cancel(launch.gid)
        kinds = [orjson.loads(next(lines))["kind"] for _ in range(8)]
        assert sorted(kinds) == ["cancel_requested"] * 4 + ["cancelled"] * 4
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)


def test_explain_says_why_and_what_to_do(argosy: Run, client: Client, launch: LaunchShape) -> None:
    manned(client.engine)
    uid = str(client.list(gid=launch.gid)[0].uid)
    client.pause(cluster="north", reason="new disks")
    shown = argosy("explain", uid).stdout
    assert "- cluster north is paused: new disks\n  do: argosy cluster resume north" in shown
    assert argosy("explain", uid, "-o", "name").stdout == "cluster_paused\n"
    assert orjson.loads(argosy("explain", uid, "-o", "json").stdout)["status"] == "Queued"
    assert "that is a launch" in (whole := argosy("explain", str(launch.gid))).stderr
    assert "cluster north is paused" in whole.stdout
    assert "argosy get GID" in error(argosy("explain", str(uuid1())), 1)


def test_get_shows_failures_first_and_retry_takes_one_group(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    run(engine, State.FAILED)
    sql(engine, "UPDATE argosy.attempt SET message = 'cannot read /m/1', exit_code = 2 WHERE uid = :uid",
        uid=client.list(gid=launch.gid)[0].uid)  # fmt: skip
    shown = argosy("get", str(launch.gid)).stdout
    assert re.search(r"^done +4 of 4 \(100%\)", shown, re.MULTILINE)
    key = client.failures(launch.gid)[1].key
    assert re.search(rf"{key} +1 +Failed +2 +\S+ +cannot read /m/1", shown)
    assert shown.index(key) < shown.index("UID")
    assert "1 job queued again" in argosy("retry", str(launch.gid), "--error", key).stderr
    assert "no job there has ended and matches" in argosy("retry", str(launch.gid), "--status", "lost").stderr
    assert "3 jobs queued again" in argosy("retry", str(launch.gid), "--status", "failed", "--media", "1-99").stderr
    assert "status" in error(argosy("retry", str(launch.gid), "--status", "running"), 2)


def test_usage_of_a_project_is_told(argosy: Run, engine: Engine, launch: LaunchShape) -> None:
    run(engine, State.SUCCEEDED)
    sql(engine, """UPDATE argosy.attempt SET resources = '{"cpu": 5}'""")
    assert re.search(r"^cpu +20 s$", argosy("project", "usage", "1").stdout, re.MULTILINE)
    assert orjson.loads(argosy("project", "usage", "1", "-o", "json").stdout)["attempts"] == 4
