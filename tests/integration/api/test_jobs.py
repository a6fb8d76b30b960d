"""Launching, listing and ending jobs through the gateway."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid1, uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

import argosy.api.jobs
from argosy.batches import JobUids
from argosy.settings import Settings
from argosy.states import State
from argosy.store import live
from tests.integration.api.conftest import World
from tests.integration.api.launches import cut, launch, listed
from tests.support.jobs import run
from tests.support.launching import HELLO
from tests.support.manifests import LONG
from tests.support.platform import FULL
from tests.support.queues import sql
from tests.support.stack import until

WITH_TOKEN = LONG + '          - {name: TOKEN, value: "{{workflow.parameters.rest_token}}"}\n'


NEEDS: dict[str, Any] = {
    "name": "needs", "project": 1, "user": 7, "files_per_job": 1, "parameters": [{"name": "a", "value": "1"}],
    "manifest": LONG + '          - {name: A, value: "{{workflow.parameters.a}}"}\n',
}  # fmt: skip
"""An algorithm whose launches are rejected once nobody gives the parameter any more (`forget`)."""


def forget(world: World) -> None:
    world.client.update_algorithm("needs", parameters=[])


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_launch_by_ids_is_answered_with_its_jobs_and_listed_at_once(
    registered: World, engine: Engine, is_cut: bool
) -> None:
    gid, uids = launch(registered, media_ids=[1, 2, 3, 4])
    if is_cut:
        cut(registered, engine, gid)
    assert len(uids) == 2
    found = listed(registered, gid=gid)
    assert [job["uid"] for job in found] == uids
    assert {(job["status"], job["state"]) for job in found} == {("Running", "Queued")}
    one = registered.http.get(f"/rest/Job/{uids[0]}").json()
    assert (one["uid"], one["gid"], one["user"], one["project"]) == (uids[0], gid, 7, 1)
    assert one["id"] == f"job-{uids[0]}-1"


def test_the_platforms_status_words_and_the_true_ones(registered: World, engine: Engine) -> None:
    gid, uids = launch(registered, media_ids=list(range(1, 22)))
    cut(registered, engine, gid)
    for state in (State.SUCCEEDED, State.FAILED, State.ERROR, State.LOST, State.DELETED):
        run(engine, state, 1)
    registered.http.delete(f"/rest/Job/{uids[5]}")
    sql(engine, "UPDATE argosy.job SET hidden = false")
    found = {job["uid"]: (job["status"], job["state"]) for job in listed(registered)}
    assert [found[uid] for uid in uids] == [
        ("Succeeded", "Succeeded"),
        ("Failed", "Failed"),
        ("Error", "Error"),
        ("Failed", "Lost"),
        ("Failed", "Deleted"),
        ("Failed", "Cancelled"),
        ("Running", "Queued"),
    ]


def test_jobs_of_any_of_some_media(registered: World, engine: Engine) -> None:
    gid, uids = launch(registered, media_ids=list(range(1, 10)))
    other, _ = launch(registered, media_ids=[2])
    for is_cut in (False, True):
        if is_cut:
            cut(registered, engine, gid)
        assert [job["uid"] for job in listed(registered, gid=gid, media_id="2,3,7,99")] == [uids[0], uids[2]]
        assert {job["gid"] for job in listed(registered, media_id="1")} == {gid}
        assert {job["gid"] for job in listed(registered, media_id="2")} == {gid, other}


def test_a_delete_by_media_ends_only_their_jobs(registered: World, engine: Engine) -> None:
    """The platform itself ignores the filter and deletes all jobs of the project."""
    gid, uids = launch(registered, media_ids=list(range(1, 10)))
    cut(registered, engine, gid)
    answer = registered.http.delete("/rest/Jobs/1", params={"media_id": "4"})
    assert answer.json() == {"message": "1 cancelled, 0 are being cancelled, 0 had ended"}
    assert [job["uid"] for job in listed(registered)] == [uids[0], uids[2]]
    answer = registered.http.delete("/rest/Jobs/1")
    assert (answer.status_code, listed(registered)) == (200, [])
    assert registered.http.get(f"/rest/Job/{uids[0]}").json()["state"] == "Cancelled"


def test_what_is_not_cut_yet_is_deleted_too(registered: World) -> None:
    gid, uids = launch(registered, media_ids=list(range(1, 10)))
    assert registered.http.delete("/rest/Jobs/1", params={"media_id": "4,5"}).status_code == 200
    assert registered.http.get(f"/rest/Job/{uids[1]}").json()["state"] == "Cancelled"
    assert registered.http.delete("/rest/Jobs/1", params={"gid": gid}).status_code == 200
    assert listed(registered) == []


def test_jobs_that_ended_long_ago_are_not_listed_but_read(registered: World, engine: Engine) -> None:
    gid, uids = launch(registered, media_ids=[1, 2, 3, 4])
    cut(registered, engine, gid)
    run(engine, State.SUCCEEDED, 1)
    assert len(listed(registered)) == 2
    sql(engine, "UPDATE argosy.attempt SET finished_at = finished_at - interval '8 days' WHERE finished_at IS NOT NULL")
    assert [job["uid"] for job in listed(registered)] == uids[1:]
    assert registered.http.get(f"/rest/Job/{uids[0]}").json()["status"] == "Succeeded"


def test_a_list_that_is_too_long_says_so_and_is_read_in_parts(
    registered: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gid, uids = launch(registered, media_ids=list(range(1, 31)))
    cut(registered, engine, gid)
    monkeypatch.setattr(argosy.api.jobs, "_CHUNK", 3)
    assert [job["uid"] for job in listed(registered)] == uids
    assert [job["uid"] for job in listed(registered, start=2, stop=4)] == uids[2:4]
    assert "x-argosy-cut" not in registered.http.get("/rest/Jobs/1").headers
    monkeypatch.setattr(argosy.api.jobs, "MOST", 5)
    answer = registered.http.get("/rest/Jobs/1")
    assert (len(answer.json()), answer.headers["x-argosy-cut"]) == (5, "the newest 5 jobs")


def test_all_children_of_a_node_are_among_the_nodes(registered: World, engine: Engine) -> None:
    """The platform's page fails otherwise."""
    gid, uids = launch(registered, media_ids=[1])
    cut(registered, engine, gid)
    for node, children in (("a", "{b,gone}"), ("b", "{}")):
        sql(
            engine,
            f"INSERT INTO argosy.node (uid, attempt, node_id, task, phase, children) VALUES ('{uids[0]}', 1, '{node}', "
            f"'{node}', 'Running', '{children}')",
        )
    (job,) = listed(registered)
    assert {node["id"]: node["children"] for node in job["nodes"]} == {"a": ["b"], "b": []}  # type: ignore[attr-defined]


async def test_a_launch_on_a_query_waits_for_its_media(registered: World, engine: Engine) -> None:
    async def post(**fields: object) -> dict[str, object]:
        answer = await asyncio.to_thread(
            registered.http.post, "/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [], **fields}
        )
        assert answer.status_code == 201, answer.text
        found: dict[str, object] = answer.json()
        return found

    async def worker() -> None:
        found = await until(lambda: sql(engine, "SELECT gid FROM argosy.launch WHERE state = 'accepted'"), bool)
        await asyncio.to_thread(cut, registered, engine, found[0][0])

    made, _ = await asyncio.gather(post(media_query="type=1"), worker())
    assert len(made["id"]) == 4  # type: ignore[arg-type]


def test_where_nobody_resolves_the_query_soon_the_answer_has_the_gid(
    registered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argosy.api.jobs, "_PATIENCE", 0.1)
    answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_query": "type=1"}).json()
    assert answer["id"] == []
    assert list(answer["object"][0]) == ["gid"]


def test_the_same_gid_is_the_same_launch(registered: World) -> None:
    gid = str(uuid1())
    first = launch(registered, media_ids=[1, 2], gid=gid)
    assert launch(registered, media_ids=[1, 2], gid=gid) == first
    answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [3], "gid": gid})
    assert (answer.status_code, "belongs to another launch" in answer.json()["message"]) == (409, True)


def test_the_callers_own_token_goes_sealed_into_the_launch(registered: World, engine: Engine) -> None:
    launch(registered, media_ids=[1])
    (row,) = sql(engine, "SELECT token_sealed FROM argosy.launch")
    assert FULL.encode() not in bytes(row[0])


def test_a_session_launches_what_needs_no_token(registered: World) -> None:
    registered.client.register_algorithm(name="calls-back", project=1, user=7, manifest=WITH_TOKEN, files_per_job=1)
    headers = {"Cookie": f"sessionid={FULL}", "Origin": registered.platform.gateway}
    with registered.as_(None) as http:
        body = {"algorithm_name": "hello", "media_ids": [1]}
        assert http.post("/rest/Jobs/1", json=body, headers=headers).status_code == 201
        answer = http.post("/rest/Jobs/1", json={**body, "algorithm_name": "calls-back"}, headers=headers)
        assert (answer.status_code, "these credentials hold none" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"algorithm_name": "hello", "media_ids": [-1]}, "media_ids.0"),
        ({"algorithm_name": "hello", "media_ids": "1"}, "media_ids"),
        ({"algorithm_name": "hello", "media_idz": [1]}, "media_idz"),
        ({"media_ids": [1]}, "algorithm_name"),
        ({"algorithm_name": "hello", "media_ids": [1], "media_query": "a=b"}, "not both"),
        ({"algorithm_name": "hello", "media_ids": [1], "gid": "x"}, "gid"),
        ({"algorithm_name": "hello", "media_ids": [1], "gid": str(uuid4())}, "version-1"),
        ({"algorithm_name": "hello", "media_ids": [1], "extra_params": [{"name": "a", "value": {}}]}, "extra_params"),
        ({"algorithm_name": "a\0", "media_ids": [1]}, "algorithm_name"),
        ([], "body"),
    ],
)
def test_what_cannot_be_launched_is_refused_in_words(registered: World, body: object, words: str) -> None:
    answer = registered.http.post("/rest/Jobs/1", json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.text
    assert isinstance(answer.json()["message"], str)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/rest/Jobs/1?gib=1", "no such parameter here; there are gid, media_id, start, stop"),
        ("GET", "/rest/Jobs/1?media_id=1,x", "media_id"),
        ("GET", f"/rest/Jobs/1?media_id={1 << 63}", "media_id"),
        ("GET", "/rest/Jobs/one", "project"),
        ("GET", f"/rest/Jobs/{1 << 70}", "project"),
        ("GET", "/rest/Job/x", "uid: not a UUID"),
        ("DELETE", "/rest/Jobs/1?media_id=", "media_id"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_words(
    registered: World, method: str, path: str, words: str
) -> None:
    answer = registered.http.request(method, path)
    assert (answer.status_code, words in answer.json()["message"]) == (400, True), answer.text


def test_a_job_that_is_not_there(registered: World) -> None:
    for method in ("GET", "DELETE"):
        answer = registered.http.request(method, f"/rest/Job/{uuid1()}")
        assert (answer.status_code, "does not exist" in answer.json()["message"]) == (404, True)


def test_a_rejected_launch_says_why(registered: World, engine: Engine) -> None:
    registered.client.register_algorithm(**NEEDS)
    answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "needs", "media_ids": [1, 2]}).json()
    forget(registered)
    cut(registered, engine, answer["object"][0]["gid"])
    found = registered.http.get(f"/rest/Job/{answer['id'][1]}").json()
    assert (found["status"], found["state"]) == ("Failed", "Rejected")
    assert '"a"' in found["message"]
    (shown,) = listed(registered, gid=answer["object"][0]["gid"])
    assert (shown["uid"], shown["state"]) == (answer["id"][0], "Rejected"), "one stands for all of them"


def test_a_body_without_an_end_is_not_kept(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argosy.api.app, "MOST_BYTES", 1000)
    answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": list(range(1000))})
    assert (answer.status_code, "at most 1000 bytes" in answer.json()["message"]) == (413, True)


def test_retry_and_launches_in_true_words(registered: World, engine: Engine, settings: Settings) -> None:
    gid, uids = launch(registered, media_ids=[1, 2, 3, 4])
    cut(registered, engine, gid)
    run(engine, State.FAILED, 1)
    (one,) = registered.http.get("/v1/Launches/1").json()["launches"]
    assert (one["gid"], one["counts"]) == (gid, {"Failed": 1, "Queued": 1})
    assert registered.http.post(f"/v1/Launch/{gid}/Retry", json={}).json()["message"] == "1 jobs are queued again"
    assert registered.http.get(f"/v1/Job/{uids[0]}").json()["attempt"] == 2
    assert registered.http.get(f"/v1/Job/{uids[0]}", params={"attempt": 1}).json()["status"] == "Failed"
    run(engine, State.FAILED, 2)
    sql(engine, "UPDATE argosy.launch SET token_sealed = NULL, token_wiped = true")
    assert registered.http.post(f"/v1/Job/{uids[0]}/Retry", json={}).status_code == 201, "with the caller's token"


def test_launches_come_in_pages_without_a_gap(registered: World) -> None:
    made = [launch(registered, media_ids=[number])[0] for number in range(1, 6)]
    got: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = registered.http.get("/v1/Launches/1", params={"stop": "2", **after}).json()
        got += [each["gid"] for each in page["launches"]]
        if page["cursor"] is None:
            break
        after = {"after": page["cursor"]}
    assert got == made[::-1]
    for cursor in ("x", "2026-01-01@x", "@"):
        assert registered.http.get("/v1/Launches/1", params={"after": cursor}).status_code == 400


def test_a_launch_that_is_partly_cut_is_listed_whole_and_deleted_whole(
    registered: World, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: what was not cut yet was missing, and a delete by media missed it."""
    gid, uids = launch(registered, media_ids=list(range(1, 10)))
    cut(registered, engine, gid)
    sql(engine, f"DELETE FROM argosy.attempt WHERE uid IN ('{uids[1]}', '{uids[2]}')")
    sql(engine, f"DELETE FROM argosy.job WHERE uid IN ('{uids[1]}', '{uids[2]}')")
    sql(engine, "UPDATE argosy.launch SET state = 'resolved', expanded_jobs = 1")
    assert sorted(str(job["uid"]) for job in listed(registered)) == sorted(uids)
    assert [job["uid"] for job in listed(registered, media_id="8")] == [uids[2]]
    assert registered.http.delete("/rest/Jobs/1", params={"media_id": "8"}).json()["message"].startswith("1 cancelled")
    assert sorted(str(job["uid"]) for job in listed(registered)) == sorted(uids[:2])


def test_a_delete_by_the_uid_of_a_job_as_gid_ends_nothing(registered: World, engine: Engine) -> None:
    gid, uids = launch(registered, media_ids=[1, 2, 3, 4])
    cut(registered, engine, gid)
    for key in (uids[0], str(uuid1())):
        assert registered.http.delete("/rest/Jobs/1", params={"gid": key}).status_code == 404
        assert listed(registered, gid=key) == []
    assert len(listed(registered)) == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"algorithm_name": "helo", "media_ids": [1]}, 404, "no algorithm 'helo'"),
        ({"algorithm_name": "hello", "media_ids": []}, 400, "media_ids: is empty"),
        ({"algorithm_name": "hello", "media_ids": [], "media_query": ""}, 400, "media_query: is empty"),
    ],
)
def test_a_slip_launches_nothing(registered: World, body: dict[str, object], status: int, words: str) -> None:
    answer = registered.http.post("/rest/Jobs/1", json=body)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text
    assert registered.client.launches() == []


def test_a_session_launches_on_no_query(registered: World) -> None:
    headers = {"Cookie": f"sessionid={FULL}", "Origin": registered.platform.gateway}
    with registered.as_(None) as http:
        answer = http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_query": "a=1"}, headers=headers)
    assert (answer.status_code, registered.client.launches()) == (400, [])


def test_a_million_mistakes_are_one_refusal(registered: World) -> None:
    """Found by a hostile reader: each was kept, a gigabyte of them."""
    answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [""] * 300_000})
    assert (answer.status_code, len(answer.json()["details"])) == (400, 1)


def test_launches_on_queries_leave_threads_for_others(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argosy.api.jobs, "_PATIENCE", 5.0)
    body = {"algorithm_name": "hello", "media_query": "type=1"}
    with ThreadPoolExecutor(20) as pool:
        posts = [pool.submit(registered.http.post, "/rest/Jobs/1", json=body) for _ in range(20)]
        answer = registered.http.get("/rest/Jobs/1", timeout=3)
        assert answer.status_code == 200
        assert {post.result().status_code for post in posts} == {201}


def test_a_filter_of_many_media_costs_the_database_little(registered: World, engine: Engine) -> None:
    """Found by a hostile reader: each id was searched for in each launch, for a minute."""
    registered.client.register_algorithm(name="all", project=1, user=7, manifest=HELLO, files_per_job=10_000)
    gid, _ = launch(registered, algorithm_name="all", media_ids=list(range(300_000)))
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = '2s'"))
        found = list(live.early(connection, live.LiveFilter(1, None, range(299_000, 301_000)), 7, 10))
        assert [(str(each.gid), str(each.uid)) for each in found] == [(gid, launch_uids(gid)[29])]
    assert registered.http.get("/rest/Jobs/1", params={"media_id": ",".join(map(str, range(1001)))}).status_code == 400


def launch_uids(gid: str) -> list[str]:
    return [str(uid) for uid in JobUids(UUID(gid), 30)]


async def test_of_two_who_register_one_name_at_once_one_is_told_so(registered: World) -> None:
    (read,) = registered.http.get("/rest/Algorithms/1").json()
    body = {name: value for name, value in read.items() if name != "id"} | {"name": "same"}
    posts = [asyncio.to_thread(registered.http.post, "/rest/Algorithms/1", json=body) for _ in range(8)]
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


def test_a_delete_of_what_stays_listed_ends(registered: World, engine: Engine) -> None:
    """The job of a rejected launch cannot be hidden alone."""
    registered.client.register_algorithm(**NEEDS)
    gid, _ = launch(registered, algorithm_name="needs", media_ids=[1, 2])
    forget(registered)
    cut(registered, engine, gid)
    assert registered.http.delete("/rest/Jobs/1", params={"media_id": "1"}, timeout=10).status_code == 200
    assert registered.http.delete("/rest/Jobs/1", params={"gid": gid}).status_code == 200
    assert listed(registered) == []


def test_a_body_that_does_not_come_is_not_waited_for(registered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argosy.api.app, "_BODY_SECONDS", 0.2)
    host, _, port = registered.platform.gateway.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as stream:
        head = f"POST /rest/Jobs/1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {FULL}\r\n"
        stream.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert stream.recv(100).startswith(b"HTTP/1.1 408 ")


def test_the_log_of_an_error_has_nothing_that_users_gave(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text("SELECT CAST(:given AS int), 1 / :zero"), {"given": "s3cret", "zero": 0})
    assert "hidden" in str(caught.value)
    assert "[parameters: " not in str(caught.value)
