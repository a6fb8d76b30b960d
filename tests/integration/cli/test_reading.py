"""`argosy list`, `argosy get`: what is shown."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid1

import orjson
import pytest
import yaml
from sqlalchemy import Engine
from sqlalchemy import text as sql

from argosy.cli import text, times
from argosy.cli.progress import all_jobs, node_tree
from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.shown import AlgorithmShape, JobShape, LaunchShape, NodeShape
from tests.support.cli import Run, error, printed


def test_jobs_are_listed_in_every_format(argosy: Run, client: Client, launch: LaunchShape) -> None:
    jobs = client.list(gid=launch.gid)
    plain = argosy("list", "--gid", str(launch.gid)).stdout.splitlines()
    assert plain[0].split() == ["UID", "GID", "INDEX", "ALGORITHM", "STATUS", "MEDIA", "AGE", "TOOK", "MESSAGE"]
    assert [line.split()[:6] for line in plain[1:]] == [
        [str(job.uid), str(launch.gid), str(number), "hello", "Queued", str(len(job.media_ids))]
        for number, job in enumerate(jobs)
    ]
    wide = argosy("list", "-o", "wide").stdout.splitlines()
    assert str(launch.gid) in wide[1]
    assert "AS-OF" in wide[0]
    assert argosy("list", "-o", "name").stdout.split() == [str(job.uid) for job in jobs]
    for found in (
        orjson.loads(argosy("list", "-o", "json", "--nodes").stdout),
        yaml.safe_load(argosy("list", "-o", "yaml", "--nodes").stdout),
    ):
        assert [JobShape.model_validate(job) for job in found["items"]] == jobs
    (first, *_) = lines = [orjson.loads(line) for line in argosy("list", "-o", "jsonl").stdout.splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert "nodes" not in first


def test_list_takes_filters(argosy: Run, client: Client, launch: LaunchShape) -> None:
    uids = [str(job.uid) for job in client.list(gid=launch.gid)]
    for line, numbers in {
        "--media 5": [1],
        "--project 2": [],
        "--status queued --algorithm hello --since 1h --all-projects": [0, 1, 2, 3],
        "--status Running --status failed": [],
        "--failed": [],
        "--until 1h": [],
        "--user 7 --index 2": [2],
        "--sort oldest --limit 2": [3, 2],
        "--cluster elsewhere": [],
        "--param a=b": [],
        f"--gid {launch.gid} --deleted": [0, 1, 2, 3],
    }.items():
        assert argosy("list", *line.split(), "-o", "name").stdout.split() == [uids[n] for n in numbers], line
    page = argosy("list", "--limit", "3")
    cursor = page.stderr.split()[-1]
    assert argosy("list", "--after", cursor, "-o", "name").stdout.split() == [uids[3]]


def test_a_job_is_named_by_its_launch_and_its_index(argosy: Run, client: Client, launch: LaunchShape) -> None:
    job = client.list(gid=launch.gid)[2]
    assert client.get(f"{launch.gid}/2") == job
    assert str(job.uid) in argosy("get", f"{launch.gid}/2").stdout
    assert "does not exist" in error(argosy("get", f"{launch.gid}/9"), 1)
    assert "write a uid or a gid" in error(argosy("get", f"{launch.gid}/x"), 2)
    assert str(job.uid) in argosy("get", str(job.uid)[:18]).stdout
    assert str(job.uid) in argosy("explain", f"job-{job.uid}-1").stdout
    assert argosy("search", str(job.uid)[:13], "-o", "name").stdout.split() == [str(job.uid)]
    assert "nothing is found" in argosy("search", "nothing").stderr


def test_launches_are_listed_with_their_jobs_counted(argosy: Run, launch: LaunchShape) -> None:
    row = argosy("list", "--launches").stdout.splitlines()[1]
    assert str(launch.gid) in row
    assert "4 (4 Queued)" in row
    assert argosy("list", "--launches", "-o", "name").stdout.split() == [str(launch.gid)]
    found = orjson.loads(argosy("list", "--launches", "-o", "json").stdout)["items"]
    of_one = {"resources": None, "notifications": None, "splits": None}
    assert [LaunchShape.model_validate(one) for one in found] == [launch.model_copy(update=of_one)]


def test_get_shows_a_job_or_a_launch_by_the_kind_of_id(argosy: Run, client: Client, launch: LaunchShape) -> None:
    jobs = client.list(gid=launch.gid)
    one = argosy("get", str(jobs[0].uid))
    assert re.search(r"^media +3: 1-3$", one.stdout, re.MULTILINE)
    assert orjson.loads(argosy("get", str(jobs[0].uid), "-o", "json").stdout) == jobs[0].model_dump(mode="json")
    whole = argosy("get", str(launch.gid)).stdout
    assert re.search(r"^jobs +4 \(4 Queued\)$", whole, re.MULTILINE)
    assert all(str(job.uid) in whole for job in jobs)
    found = orjson.loads(argosy("get", str(launch.gid), "-o", "json").stdout)
    assert found == {
        "launch": launch.model_dump(mode="json"),
        "jobs": [job.model_dump(mode="json") for job in jobs],
        "failures": [],
    }
    assert argosy("get", str(launch.gid), "-o", "name").stdout.split() == [str(job.uid) for job in jobs]
    assert "attempt 2" in error(argosy("get", str(jobs[0].uid), "--attempt", "2"), 1)


def test_text_of_others_cannot_steer_the_terminal(argosy: Run, engine: Engine, launch: LaunchShape) -> None:
    with engine.begin() as connection:
        connection.execute(sql("UPDATE argosy.attempt SET message = E'[red]a\\x1b[2J\\nb\\u202e'"))
    for args in (["list"], ["get", str(launch.gid)], ["list", "-o", "wide"]):
        shown = argosy(*args).stdout
        assert "[red]a [2J b" in shown
        assert "\x1b" not in shown


def test_a_launch_with_more_jobs_than_a_page_is_read_whole(
    client: Client, engine: Engine, settings: Settings, algorithm: AlgorithmShape
) -> None:
    client.update_algorithm("hello", files_per_job=1)
    gid = client.launch("hello", project=1, user=7, media_ids=range(2001)).gid
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    assert [job.media_ids for job in all_jobs(client, gid, nodes=False)] == [[medium] for medium in range(2001)]


def test_times_are_told_as_people_tell_them() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    then = datetime(2026, 1, 1, 11, 57, 30, tzinfo=UTC)
    assert (times.ago(then, now), times.age(then, now), text.took(then, None, now)) == ("2m ago", "2m", "2m 30s")
    assert (times.ago(None, now), text.took(None, None, now)) == ("", "")
    assert [text.span(seconds) for seconds in (0, 59, 60, 3_600, 90_000)] == ["0s", "59s", "1m 00s", "1h 00m", "1d 1h"]


def test_one_option_writes_times_by_the_clock_in_every_command_that_shows_some(
    argosy: Run, client: Client, launch: LaunchShape, half_past: None
) -> None:
    made = launch.created_at.replace(microsecond=0)
    utc, local = f"{made:%Y-%m-%dT%H:%M:%S}Z", f"{made.astimezone():%Y-%m-%dT%H:%M:%S}+05:30"
    job = str(client.list(limit=1)[0].uid)
    day = utc[:11]
    for args, shown in (
        (("list",), utc), (("list", "--launches"), utc), (("get", str(launch.gid)), utc), (("get", job), day),
        (("describe", job), day), (("explain", job), day), (("events", job), day),
        (("cluster", "list"), day), (("cluster", "get", "north"), day), (("cluster", "describe", "north"), day),
    ):  # fmt: skip
        assert shown in argosy(*args, "--time", "utc").stdout, args
        assert day not in argosy(*args, "--time", "ago").stdout, args
    listed = argosy("list", "--time", "local").stdout
    assert local in listed
    assert "LAUNCHED" in listed
    assert " AGE " not in listed
    assert argosy("list", "--since", utc, "-o", "name").stdout.count("\n") == 4
    assert argosy("list", "--until", utc, "-o", "name").stdout == ""
    assert "'--time': 'noon' is not one of 'ago', 'local', 'utc'" in error(argosy("list", "--time", "noon"), 2)


@pytest.fixture
def half_past(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place five and a half hours before UTC."""
    with monkeypatch.context() as here:
        here.setenv("TZ", "XYZ-05:30")
        time.tzset()
        yield
    time.tzset()


def test_a_chain_of_nodes_is_shown_under_what_holds_it(job: JobShape) -> None:
    lines = printed(node_tree(job, datetime.now(UTC)))
    depth = {
        name: next(line for line in lines if name in line).index("Failed") for name in ("root", "[0]", "one", "two")
    }
    assert depth["root"] < depth["[0]"] == depth["two"] < depth["one"]
    assert sum("two" in line for line in lines) == 1
    assert not any("child" in line for line in lines)


def test_a_workflow_of_any_depth_is_drawn(job: JobShape) -> None:
    for boundary in ("", "n"):
        deep = [
            job.nodes[0].model_copy(
                update={"id": f"n{at}", "children": [f"n{at + 1}"], "boundary": boundary and f"n{at - 1}"}
            )
            for at in range(3000)
        ]
        assert len(printed(node_tree(job.model_copy(update={"nodes": deep}), datetime.now(UTC)))) >= 3000


@pytest.fixture
def job() -> JobShape:
    """A job whose nodes are chained as Argo chains steps, one of them below two others."""

    def node(name: str, kind: str, *children: str) -> NodeShape:
        return NodeShape(
            id=name,
            task=name,
            status="Failed",
            start_time=None,
            stop_time=None,
            children=[*children],
            type=kind,
            message="" if kind == "Pod" else "child 'w-1' failed",
            boundary="" if name == "root" else "root",
        )

    return JobShape(
        uid=uuid1(),
        gid=uuid1(),
        index=0,
        created_at=datetime.now(UTC),
        id="w",
        project=1,
        user=1,
        algorithm="a",
        status="Running",
        message="",
        start_time=None,
        stop_time=None,
        media_ids=[1],
        attempt=1,
        cluster="c",
        as_of=datetime.now(UTC),
        nodes=[
            node("root", "Steps", "[0]"),
            node("[0]", "StepGroup", "one", "other"),
            node("one", "Pod", "two"),
            node("other", "Pod", "two"),
            node("two", "Pod"),
        ],
    )


def test_a_launch_is_what_its_jobs_are_wherever_it_is_shown(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    def shown() -> set[str]:
        listed = orjson.loads(argosy("list", "--launches", "-o", "json").stdout)["items"][0]["status"]
        found = orjson.loads(argosy("search", str(launch.gid), "-o", "json").stdout)["items"][0]["status"]
        (row,) = argosy("list", "--launches").stdout.splitlines()[1:]
        (facts,) = re.findall(r"^status +(.*)$", argosy("get", str(launch.gid)).stdout, re.MULTILINE)
        return {listed, found, row.split()[2], facts, client.launches(gid=launch.gid)[0].status}

    assert shown() == {"Running"}
    for state, word in (("succeeded", "Succeeded"), ("failed", "Failed"), ("cancelled", "Cancelled")):
        with engine.begin() as connection:
            connection.execute(sql("UPDATE argosy.attempt SET state = :state, finished_at = now()"), {"state": state})
        assert shown() == {word}
