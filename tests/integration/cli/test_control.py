"""`argosy cancel`, `delete`, `retry`."""

import re
from pathlib import Path
from uuid import uuid1

from sqlalchemy import Engine

from argosy.client import Client
from argosy.shapes.shown import AlgorithmShape, LaunchShape
from argosy.states import State
from tests.support.cli import HELLO, Run, error
from tests.support.jobs import run


def test_cancel_delete_and_retry_say_what_they_came_to(argosy: Run, client: Client, launch: LaunchShape) -> None:
    gid, uid = str(launch.gid), str(client.list(gid=launch.gid)[0].uid)
    assert "cancelled" in argosy("cancel", uid).stderr
    assert "had ended before" in argosy("cancel", uid).stderr
    assert "say which" in error(argosy("cancel"), 2)
    assert "1 job queued again" in argosy("retry", uid).stderr
    assert "nothing to retry" in argosy("retry", gid).stderr
    assert "is not the id of a job or a launch" in error(argosy("cancel", str(uuid1())), 1)
    assert argosy("delete", gid, "--yes").exit_code == 0
    assert argosy("list", "-o", "name").stdout == ""
    assert uid in argosy("list", "--deleted", "-o", "name").stdout
    assert "Cancelled" in argosy("get", gid).stdout
    assert argosy("get", uid, "--attempt", "1", "-o", "json").exit_code == 0


def test_a_cancel_of_a_launch_that_is_not_cut_yet_says_that_it_was_cancelled(
    argosy: Run, client: Client, algorithm: AlgorithmShape
) -> None:
    gid = str(client.launch("hello", project=1, user=7, media_ids=[1]).gid)
    assert "1 launch cancelled before it was cut into jobs" in argosy("cancel", gid).stderr
    assert "nothing to cancel" in argosy("cancel", gid).stderr


def test_a_retry_that_splits_prints_the_new_launch(argosy: Run, client: Client, launch: LaunchShape) -> None:
    gid = str(launch.gid)
    assert argosy("retry", gid, "--split").stdout == ""
    client.cancel(launch.gid)
    made = argosy("retry", gid, "--split")
    new = made.stdout.strip()
    assert f"9 jobs of one medium each in a new launch; follow: argosy watch {new}" in made.stderr
    assert f"1 job queued again; follow: argosy watch {gid}" in made.stderr
    again = argosy("retry", gid, "--split")
    assert (again.stdout.strip(), "a launch that was there already" in again.stderr) == (new, True)
    assert re.search(rf"^split of +{gid}$", argosy("get", new).stdout, re.MULTILINE)


def test_a_retry_says_that_another_manifest_is_registered_and_latest_runs_it(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape, tmp_path: Path
) -> None:
    gid = str(launch.gid)
    uid = str(run(engine, State.FAILED)[0].uid)
    assert "registered now" not in argosy("retry", gid).stderr
    mended = tmp_path / "mended.yaml"
    mended.write_text(Path(HELLO).read_text().replace("generateName: hello-", "generateName: mended-"))
    assert argosy("algorithm", "update", "hello", "--file", str(mended)).exit_code == 0
    run(engine, State.FAILED)
    said = argosy("retry", gid).stderr
    old, new = (re.search(rf"{words}([0-9a-f]{{12}})", said) for words in (r"these jobs run \(", r"registered now \("))
    assert old is not None
    assert new is not None
    assert f"to run what is registered: argosy retry {gid} --latest" in said
    run(engine, State.FAILED)
    assert argosy("retry", gid, "--latest").stderr == f"4 jobs queued again; follow: argosy watch {gid}\n"
    assert re.search(rf"^manifest +{new[1]}$", argosy("get", uid).stdout, re.MULTILINE)
    assert re.search(rf"^manifest +{old[1]}$", argosy("get", uid, "--attempt", "1").stdout, re.MULTILINE)
    assert new[1] in argosy("algorithm", "get", "hello", "-o", "wide").stdout
    assert new[1] in argosy("list", "-o", "wide").stdout


def test_a_retry_says_that_other_parameters_are_registered(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    run(engine, State.FAILED)
    argosy("algorithm", "update", "hello", "--param", "a=1")
    assert "other parameters of hello are registered now" in argosy("retry", str(launch.gid), "--param", "b=2").stderr
    run(engine, State.FAILED)
    assert "reserved" in error(argosy("retry", str(launch.gid), "--param", "uid=2"), 2)
    assert "write NAME=VALUE" in error(argosy("retry", str(launch.gid), "--param", "b"), 2)
