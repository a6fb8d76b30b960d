"""Launches that leave out what is done, split what failed, or wait for another one, through the gateway."""

import asyncio

import pytest
from sqlalchemy import Engine, text

import argosy.api.jobs
from argosy.states import State
from argosy.store import secrets
from tests.conftest import ROOT
from tests.integration.api.conftest import World
from tests.integration.api.launches import cut, launch
from tests.support.jobs import run
from tests.support.launching import HELLO
from tests.support.stack import until


async def test_the_answer_says_how_many_media_were_left_out(registered: World, engine: Engine) -> None:
    cut(registered, engine, launch(registered, media_ids=[1, 2, 3])[0])
    run(engine, State.SUCCEEDED)
    body = {"algorithm_name": "hello", "media_ids": [1, 2, 3, 4], "skip_done": True}
    asked = asyncio.create_task(asyncio.to_thread(registered.http.post, "/rest/Jobs/1", json=body))
    (found, _) = await until(registered.client.launches, lambda launches: len(launches) == 2)
    await asyncio.to_thread(cut, registered, engine, str(found.gid))
    answer = (await asked).json()
    assert len(answer["id"]) == 1
    assert answer["message"].endswith(": 1 jobs, 3 media left out because they are done")
    shown = registered.http.get(f"/v1/Launch/{found.gid}").json()
    assert (shown["jobs"], shown["skipped"]) == (1, 3)


def test_what_failed_is_retried_with_what_is_registered_now_or_with_other_parameters(
    registered: World, engine: Engine
) -> None:
    gid, uids = launch(registered, media_ids=[1])
    cut(registered, engine, gid)
    digests = [registered.client.get(uids[0]).manifest_digest]
    registered.client.update_algorithm("hello", manifest=(ROOT / "manifests" / "count-media.yaml").read_text())
    for spec in ({}, {"latest": True}, {"extra_params": [{"name": "threshold", "value": 0.5}]}):
        run(engine, State.FAILED)
        answer = registered.http.post(f"/v1/Launch/{gid}/Retry", json=spec)
        assert answer.json()["message"] == "1 jobs are queued again", answer.text
        digests.append(registered.client.get(uids[0]).manifest_digest)
    assert digests[0] == digests[1] != digests[2] == digests[3]
    with engine.connect() as connection:
        found = connection.execute(text("SELECT extra_params FROM argosy.revision ORDER BY number DESC LIMIT 1"))
        assert {"name": "threshold", "value": 0.5} in found.scalar_one()


def test_failed_batches_are_split_with_the_callers_token(registered: World, engine: Engine) -> None:
    gid, uids = launch(registered, media_ids=[1, 2, 3, 4])
    cut(registered, engine, gid)
    run(engine, State.FAILED)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    answer = registered.http.post(f"/v1/Job/{uids[0]}/Retry", json={"split": True})
    assert answer.status_code == 201
    made = answer.json()["gid"]
    assert answer.json()["message"] == f"0 jobs are queued again, 3 jobs of one medium each are in launch {made}"
    again = registered.http.post(f"/v1/Launch/{gid}/Retry", json={"split": True}).json()
    assert again["gid"] == made
    assert again["message"].startswith("1 jobs are queued again")
    assert registered.http.get(f"/v1/Launch/{made}").json()["parent_gid"] == gid
    assert registered.http.post(f"/v1/Launch/{gid}/Retry", json={}).json() == {
        "message": "1 jobs are queued again", "gid": None,
    }  # fmt: skip


def test_a_launch_after_another_one_is_answered_at_once_and_rejected_with_the_reason(
    registered: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = launch(registered, media_ids=[1])
    monkeypatch.setattr(argosy.api.jobs, "_awaited", None)  # nobody looks whether its media are known
    second, uids = launch(registered, media_query="type=3", after=first)
    assert uids == []
    _, uids = launch(registered, media_ids=[1, 2, 3, 4], after=first, after_if="any", cancel_with=True)
    assert len(uids) == 2
    job = registered.http.get(f"/rest/Job/{uids[0]}").json()
    assert (job["status"], job["state"]) == ("Running", "Queued")
    assert job["message"] == f"waits until all jobs of launch {first} have ended"
    cut(registered, engine, first)
    run(engine, State.FAILED)
    cut(registered, engine, second)
    shown = registered.http.get(f"/v1/Launch/{second}").json()
    assert (shown["state"], shown["after"], shown["waiting"]) == ("rejected", first, False)
    assert "1 jobs that did not succeed (1 Failed)" in shown["reason"]


def test_another_projects_launch_is_not_there(registered: World) -> None:
    registered.client.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=3)
    theirs = registered.client.launch("theirs", project=2, user=7, media_ids=[1]).gid
    body = {"algorithm_name": "hello", "media_ids": [1]}
    for after, status, words in ((str(theirs), 404, "does not exist in project 1"), ("x", 400, "after")):
        answer = registered.http.post("/rest/Jobs/1", json=body | {"after": after})
        assert (answer.status_code, words in answer.json()["message"]) == (status, True)
    assert registered.http.post("/rest/Jobs/1", json=body | {"after_if": "never"}).status_code == 400
    assert registered.http.post("/rest/Jobs/1", json=body | {"cancel_with": True}).status_code == 400
