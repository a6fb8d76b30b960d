"""`argosy list`, `argosy get`: what is shown."""

import re
from datetime import UTC, datetime
from uuid import uuid1

import orjson
import pytest
import yaml
from sqlalchemy import Engine
from sqlalchemy import text as sql

from argosy.cli import text
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
    assert plain[0].split() == ["UID", "ALGORITHM", "STATUS", "MEDIA", "STARTED", "TOOK", "MESSAGE"]
    assert [line.split()[:4] for line in plain[1:]] == [
        [str(job.uid), "hello", "Queued", str(len(job.media_ids))] for job in jobs
    ]
    wide = argosy("list", "-o", "wide").stdout.splitlines()
    assert str(launch.gid) in wide[1]
    assert "AS-OF" in wide[0]
    assert argosy("list", "-o", "name").stdout.split() == [str(job.uid) for job in jobs]
    for found in (
        orjson.loads(argosy("list", "-o", "json").stdout),
        yaml.safe_load(argosy("list", "-o", "yaml").stdout),
    ):
        assert [JobShape.model_validate(job) for job in found] == jobs
    assert argosy("list", "--media-id", "5", "-o", "name").stdout.split() == [str(jobs[1].uid)]
    assert argosy("list", "--project", "2", "-o", "name").stdout == ""
    assert argosy("list", "--limit", "1", "--offset", "2", "-o", "name").stdout.split() == [str(jobs[2].uid)]


def test_launches_are_listed_with_their_jobs_counted(argosy: Run, launch: LaunchShape) -> None:
    row = argosy("list", "--launches").stdout.splitlines()[1]
    assert str(launch.gid) in row
    assert "4 (4 Queued)" in row
    assert argosy("list", "--launches", "-o", "name").stdout.split() == [str(launch.gid)]
    found = orjson.loads(argosy("list", "--launches", "-o", "json").stdout)
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
    assert (text.ago(then, now), text.age(then, now), text.took(then, None, now)) == ("2m ago", "2m", "2m 30s")
    assert (text.ago(None, now), text.took(None, None, now)) == ("", "")
    assert [text.span(seconds) for seconds in (0, 59, 60, 3_600, 90_000)] == ["0s", "59s", "1m 00s", "1h 00m", "1d 1h"]


def test_a_chain_of_nodes_is_shown_under_what_holds_it(job: JobShape) -> None:
    lines = printed(node_tree(job, datetime.now(UTC)))
    depth = {
        name: next(line for line in lines if name in line).index("Succeeded") for name in ("root", "[0]", "one", "two")
    }
    assert depth["root"] < depth["[0]"] == depth["one"] == depth["two"]
    assert sum("two" in line for line in lines) == 1


@pytest.fixture
def job() -> JobShape:
    """A job whose nodes are chained as Argo chains steps, one of them below two others."""

    def node(name: str, kind: str, *children: str) -> NodeShape:
        return NodeShape(
            id=name, task=name, status="Succeeded", start_time=None, stop_time=None, children=[*children], type=kind
        )

    return JobShape(
        uid=uuid1(),
        gid=uuid1(),
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
