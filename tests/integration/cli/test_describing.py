"""`argosy describe`, `top`, `wait`, `version`, `apply`, `cluster describe`, and what the shell completes."""

import re
from pathlib import Path
from uuid import uuid1

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from argosy import settings
from argosy.cli import app, completion
from argosy.client import Client
from argosy.shapes.shown import AlgorithmShape, ClusterShape, LaunchShape
from argosy.states import State
from argosy.store import schema
from tests.support.cli import Run, error
from tests.support.jobs import claim, created, record, run


def test_all_that_is_known_of_a_job_or_a_launch_is_on_one_page(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    (waiting, *_) = run(engine, State.FAILED)
    job = argosy("describe", str(waiting.uid)).stdout
    assert re.search(r"^status +Failed$", job, re.MULTILINE)
    assert "\n- " in job
    assert re.search(rf"{waiting.uid}/1 +failed +", job)
    whole = argosy("describe", str(launch.gid)).stdout
    assert re.search(r"^jobs +4 \(4 Failed\)$", whole, re.MULTILINE)
    assert "expanded" in whole
    assert "does not exist" in error(argosy("describe", str(uuid1())), 1)


def test_top_says_who_uses_the_slots_now(argosy: Run, client: Client, engine: Engine, launch: LaunchShape) -> None:
    assert "no cluster has an unfinished workflow" in argosy("top").stderr
    claimed = claim(engine, 3)
    record(engine, *(created(each) for each in claimed))
    header, line = argosy("top").stdout.splitlines()
    assert header.split() == ["CLUSTER", "PROJECT", "USER", "SLOTS", "RUNNING", "LAUNCHES", "OLDEST", "ALGORITHM"]
    assert line.split()[:6] == ["north", "1", "7", "3", "0", "1"]
    assert argosy("top", "--project", "2", "-o", "jsonl").stdout == ""


def test_wait_ends_with_what_it_waits_for(argosy: Run, client: Client, engine: Engine, launch: LaunchShape) -> None:
    gid = str(launch.gid)
    said = error(argosy("wait", gid, "--timeout", "0"), 1)
    assert said == f"{gid} has not ended after 0 s; how it stands: argosy get {gid}"
    (first, *_) = run(engine, State.SUCCEEDED, 1)
    done = argosy("wait", str(first.uid))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    run(engine, State.FAILED)
    assert "3 of 4 jobs did not succeed (3 Failed)" in error(argosy("wait", gid), 1)
    assert "does not exist" in error(argosy("wait", str(uuid1())), 1)


def test_waiting_for_a_launch_that_has_no_jobs_says_why(argosy: Run, client: Client, algorithm: AlgorithmShape) -> None:
    gid = client.launch("hello", project=1, user=7, media_ids=[1]).gid
    client.cancel(gid)
    assert f"launch {gid} was cancelled" in error(argosy("wait", str(gid)), 1)


def test_versions_are_those_of_the_code_and_of_the_database(argosy: Run, client: Client) -> None:
    said = argosy("version").stdout
    assert re.search(r"^argosy +\d+\.\d+\.\d+$", said, re.MULTILINE)
    assert re.search(rf"^database +schema {schema.NEWEST}$", said, re.MULTILINE)
    assert "ARGOSY_DATABASE_URL" in argosy("version", env={"ARGOSY_DATABASE_URL": "nothing"}).stdout


def test_what_get_prints_of_an_algorithm_can_be_applied(
    argosy: Run, client: Client, algorithm: AlgorithmShape, tmp_path: Path
) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(argosy("algorithm", "get", "hello", "-o", "yaml").stdout)
    assert "algorithm hello is unchanged" in argosy("apply", str(file)).stderr
    assert client.algorithm("hello") == algorithm
    file.write_text(file.read_text().replace("files_per_job: 3", "files_per_job: 9"))
    assert "algorithm hello is changed" in argosy("apply", str(file)).stderr
    assert client.algorithm("hello").files_per_job == 9
    client.remove_algorithm("hello")
    assert "algorithm hello is registered" in argosy("apply", str(file)).stderr
    assert client.algorithm("hello").model_copy(update={"id": algorithm.id, "files_per_job": 3}) == algorithm
    part = argosy("apply", "-", input="name: hello\nfiles_per_job: 4\n")
    assert (part.exit_code, client.algorithm("hello").files_per_job) == (0, 4)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("files_per_job: 3", 2, "which algorithm? write name: NAME"),
        ("name: hello\nfiles: 3", 2, "no such field"),
        ("name: new\nproject: 1", 2, "required field is missing"),
        ("- a", 2, "holds no mapping"),
    ],
)
def test_what_cannot_be_applied_is_refused_in_words(
    argosy: Run, algorithm: AlgorithmShape, text: str, code: int, said: str
) -> None:
    assert said in error(argosy("apply", "-", input=text), code)


def test_a_manifest_that_is_refused_is_told_as_lint_tells_it(argosy: Run, algorithm: AlgorithmShape) -> None:
    refused = argosy("apply", "-", input="name: hello\nmanifest: 'kind: Pod'\n")
    assert refused.exit_code == 1
    assert re.match(r"<stdin>:\d+:\d+: ", refused.stderr)


def test_all_that_is_known_of_a_cluster_is_on_one_page(argosy: Run, client: Client, cluster: ClusterShape) -> None:
    client.pause(cluster="north", reason="new disks")
    said = argosy("cluster", "describe", "north").stdout
    for line in (
        r"address +127\.0\.0\.1:1",
        r"paused +since .*: new disks",
        "policy +profile restricted",
        "slots +0 used of 40, as many as Argo handles at present; its own limit is 500",
    ):
        assert re.search(rf"^{line}", said, re.MULTILINE), line
    assert "paused" in said.split("argo server")[-1]


def test_the_shell_completes_ids_algorithms_and_clusters(
    argosy: Run, client: Client, launch: LaunchShape, environment: dict[str, str]
) -> None:
    gid, uid = str(launch.gid), str(client.list()[0].uid)
    settings.load.cache_clear()
    assert (completion.identifiers(gid[:6]).count(gid), completion.identifiers(uid).count(uid)) == (1, 1)
    assert completion.algorithms("h") == ["hello"]
    assert (completion.clusters("n"), completion.clusters("s")) == (["north"], [])
    asked = {"_ARGOSY_COMPLETE": "complete_bash", "COMP_WORDS": "argosy cluster get n", "COMP_CWORD": "3"}
    assert CliRunner().invoke(app, [], env=asked).stdout.split() == ["north"]


def test_where_nothing_can_be_asked_nothing_is_completed_or_said(
    argosy: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for address in ("nothing", "postgresql://argosy@127.0.0.1:1/argosy"):
        monkeypatch.setenv("ARGOSY_DATABASE_URL", address)
        settings.load.cache_clear()
        assert completion.clusters("n") == []
    assert capsys.readouterr() == ("", "")
