"""`argosy launch`."""

import re
from pathlib import Path
from uuid import UUID, uuid1

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy import text as sql

from argosy.cli import arguments, text
from argosy.cli.boundary import UsageError
from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.shown import AlgorithmShape, ClusterShape, LaunchShape
from argosy.states import State
from tests.support.cli import SECRET, Run, error
from tests.support.jobs import claim, created, end, record
from tests.support.launching import sent
from tests.support.queues import finish


def test_launch_prints_the_gid_and_into_how_many_jobs_it_was_cut(argosy: Run, launch: LaunchShape) -> None:
    result = argosy(*f"launch hello --project 1 --user 7 --media 1-10 --gid {launch.gid}".split())
    assert result.exit_code == 0
    assert result.stdout == f"{launch.gid}\n"
    assert "there already" in result.stderr
    assert "expanded into 4 jobs" in result.stderr


def test_all_media_of_the_project_are_taken_only_where_it_is_said(
    argosy: Run, client: Client, algorithm: AlgorithmShape
) -> None:
    args = ["launch", "hello", "--project", "1", "--user", "7", "--wait", "0"]
    assert "or --all for all media of project 1" in error(argosy(*args), 2)
    assert not client.launches()
    assert argosy(*args, "--all").exit_code == 0
    assert len(client.launches()) == 1


def test_the_media_of_what_failed_are_launched_again(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    first, second, *_ = claim(engine, 3)
    record(engine, created(first), created(second))
    assert "nothing of launch" in error(argosy("launch", "--failed-of", str(launch.gid)), 2)
    end(engine, first, State.SUCCEEDED)
    end(engine, second, State.FAILED)
    made = argosy("launch", "--failed-of", str(launch.gid), "--param", "x=1", "--wait", "0", "-o", "json")
    found = orjson.loads(made.stdout)
    assert (found["algorithm"], found["project"], found["user"], found["state"]) == ("hello", 1, 7, "accepted")
    with engine.connect() as connection:
        (row,) = connection.execute(
            sql("SELECT media_ids, extra_params FROM argosy.launch WHERE gid = :gid"), {"gid": found["gid"]}
        )
    assert tuple(row) == ([4, 5, 6], [{"name": "x", "value": "1"}])
    assert argosy("launch", "hello", "--failed-of", str(uuid1())).exit_code == 1


def test_launch_says_plainly_that_nobody_has_worked_on_it_yet(
    argosy: Run, client: Client, algorithm: AlgorithmShape
) -> None:
    result = argosy(
        *["launch", "hello", "--project", "1", "--user", "7", "--media", "1,2,5-9", "--param", "t=0.5", "--wait", "0"]
    )
    assert result.exit_code == 0
    assert "not yet cut into jobs" in result.stderr
    assert "argosy worker" in result.stderr
    (found,) = client.launches()
    assert result.stdout == f"{found.gid}\n"
    assert found.state == "accepted"


def test_a_rejected_launch_fails_with_its_reason(
    argosy: Run, client: Client, engine: Engine, settings: Settings, cluster: ClusterShape
) -> None:
    args = ["launch", "nothing", "--project", "1", "--user", "7", "--media", "1", "--wait", "0"]
    refused = argosy(*args)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "argosy: error: unknown algorithm 'nothing' in project 1" in refused.stderr
    gid = sent(client, algorithm_name="nothing")
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    for more in ([], ["--watch"]):
        result = argosy(*args, "--gid", str(gid), *more)
        assert result.exit_code == 1
        assert f"launch {gid} was rejected: unknown algorithm 'nothing'" in result.stderr.splitlines()[-1]
    shown = argosy("get", str(gid))
    assert re.search(r"^status +rejected$", shown.stdout, re.MULTILINE)
    assert "unknown algorithm" in shown.stdout


def test_what_is_done_is_left_out_and_said(
    argosy: Run, client: Client, engine: Engine, settings: Settings, algorithm: AlgorithmShape
) -> None:
    stage = Launching(engine, settings, RestMediaSource(settings))
    expand(stage, client.launch("hello", project=1, user=7, media_ids=[1, 2]).gid)
    with engine.begin() as connection:
        finish(connection, [job.uid for job in client.list()])
    some, none = (
        argosy(*f"launch hello --project 1 --user 7 --media {media} --skip-done --wait 0".split()).stdout.strip()
        for media in ("1-3", "1-2")
    )
    for gid in (some, none):
        expand(stage, UUID(gid))
    again = argosy(*f"launch hello --project 1 --user 7 --media 1-3 --skip-done --gid {some}".split())
    assert (
        f"expanded into 1 job, 2 media left out because they are done; follow them: argosy watch {some}" in again.stderr
    )
    assert re.search(r"^left out +2 media that are done$", argosy("get", some).stdout, re.MULTILINE)
    for more in ([], ["--watch"]):
        again = argosy(*f"launch hello --project 1 --user 7 --media 1-2 --skip-done --gid {none}".split(), *more)
        assert again.exit_code == 0
        assert "nothing to do: the algorithm has Succeeded on all 2 media already" in again.stderr
    assert "nothing to do" in argosy("get", none).stdout


def test_media_and_token_come_from_files(
    argosy: Run, client: Client, engine: Engine, algorithm: AlgorithmShape, tmp_path: Path, token_file: str
) -> None:
    ids = tmp_path / "ids"
    ids.write_text("3, 1\n7-9\n\n2\n")
    args = f"launch hello --project 1 --user 7 --media-file {ids} --token-file {token_file} --wait 0".split()
    gid = argosy(*args).stdout.strip()
    with engine.connect() as connection:
        row = connection.execute(
            sql("SELECT media_ids, token_sealed FROM argosy.launch WHERE gid = :gid"), {"gid": gid}
        )
        media, sealed = row.one()
    assert media == [3, 1, 7, 8, 9, 2]
    assert SECRET.encode() not in bytes(sealed)


@given(st.lists(st.integers(0, 10_000) | st.integers(0, 2**63 - 1), min_size=1, max_size=40))
def test_media_ranges_are_read_as_they_are_written(media: list[int]) -> None:
    assert arguments.media(text.ranges(media)) == media
    assert arguments.media(" ,".join(map(str, media))) == media


@given(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 1000))
def test_a_run_of_media_is_written_as_one_range(start: int, more: int, other: int) -> None:
    run = range(start, start + more + 2)
    assert text.ranges(run) == f"{start}-{start + more + 1}"
    assert arguments.media(f"{other},{start}-{start + more + 1}") == [other, *run]


@pytest.mark.parametrize("bad", ["", " , ", "a", "1-", "-1", "1--2", "5-2", "1;2", "٣", "1-99999999999", "1" * 5000])
def test_what_is_no_media_id_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="--media"):
        arguments.media(bad)


def test_a_launch_after_another_one_says_what_it_waits_for(argosy: Run, client: Client, launch: LaunchShape) -> None:
    args = f"launch hello --project 1 --user 7 --media 1-3 --after {launch.gid}".split()
    waits = argosy(*args)
    gid = waits.stdout.strip()
    assert f"waits until all jobs of launch {launch.gid} have Succeeded; follow: argosy watch {gid}" in waits.stderr
    assert re.search(rf"^after +{launch.gid}$", argosy("get", gid).stdout, re.MULTILINE)
    argosy(*args, "--after-any", "--cancel-with", "--wait", "0")
    assert (
        "1 launch cancelled before it was cut into jobs; 4 jobs cancelled" in argosy("cancel", str(launch.gid)).stderr
    )
    assert {found.state for found in client.launches()} == {"expanded", "accepted", "cancelled"}
    unknown = argosy(*args[:-1], str(uuid1()))
    assert unknown.exit_code == 1
    assert "does not exist in project 1; launch that one first" in unknown.stderr
