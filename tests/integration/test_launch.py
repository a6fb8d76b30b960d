"""Stage 1 on a real PostgreSQL: what a launch freezes, and how one that can't work ends."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from uuid import UUID, uuid1

import orjson
import pytest
from sqlalchemy import Engine, text

from argosy.batches import JobUids
from argosy.client import Client
from argosy.errors import ArgosyError, Conflict, InvalidRequest
from argosy.launch.expand import Launching, expand
from argosy.settings import Settings
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import LaunchRequest, Parameter
from argosy.shapes.shown import JobShape
from argosy.store import cursors, requests
from tests.integration.api_server import ApiServer
from tests.integration.launching import its_time_has_come
from tests.support.launching import HELLO, api, outcome, registered, sent, stage

__all__ = ["api", "registered", "stage"]


CHOOSY = HELLO.replace(
    "spec:\n", "spec:\n  arguments:\n    parameters:\n      - {name: mode, value: fast, enum: [fast, thorough]}\n", 1
)
"""A manifest that says which values its parameter may have."""

LATER = {"skip_done", "after", "after_if", "cancel_with", "webhook"}
"""Fields of a request that are younger than migration 0004."""


def jobs(client: Client) -> list[JobShape]:
    return client.list(limit=1000)


def test_media_keep_their_order_and_the_first_of_a_double_wins(registered: Client, stage: Launching) -> None:
    launched = registered.launch("hello", project=1, user=7, media_ids=[9, 3, 9, 1, 3, 4, 5])
    assert expand(stage, launched.gid)
    assert [job.media_ids for job in jobs(registered)] == [[9, 3, 1], [4, 5]]
    assert [job.uid for job in jobs(registered)] == launched.uids


def test_a_query_is_resolved_page_by_page_with_the_users_token(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.media = list(range(10, 20))
    launched = registered.launch("hello", project=1, user=7, media_query="type=3&search=fish", token="user-token")
    assert (launched.expanded, launched.uids) == (False, [])
    expand(stage, launched.gid)
    assert [medium for job in jobs(registered) for medium in job.media_ids] == api.media
    assert [asked.get("after") for asked in api.asked] == [None, ["13"], ["17"], ["19"]]
    assert all(asked["search"] == ["fish"] for asked in api.asked)
    assert set(api.tokens) == {"Token user-token"}


def test_neither_ids_nor_query_means_all_media_of_the_project(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.media = [1, 2, 3, 4]
    expand(stage, registered.launch("hello", project=1, user=7).gid)
    assert [job.media_ids for job in jobs(registered)] == [[1, 2, 3], [4]]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"algorithm_name": "helo"}, "unknown algorithm 'helo' in project 1; registered: choosy, hello"),
        ({"algorithm_name": "hello", "project": 2}, "unknown algorithm 'hello' in project 2"),
        ({"media_ids": []}, "no media"),
        ({"extra_params": [{"name": "gid", "value": 1}]}, "gid"),
        ({"extra_params": [{"name": "x", "value": 1}, {"name": "x", "value": 2}]}, "x"),
        ({"extra_params": [{"name": "x", "value": "{{=1}}"}]}, "{{"),
        ({"algorithm_name": "choosy", "extra_params": [{"name": "mode", "value": "slow"}]}, "fast, thorough"),
    ],
)
def test_a_launch_that_cannot_work_is_rejected_with_the_reason_and_leaves_no_job(
    registered: Client, stage: Launching, request_: dict[str, object], words: str
) -> None:
    registered.register_algorithm(name="choosy", project=1, user=7, manifest=CHOOSY, files_per_job=1)
    fields = {"algorithm_name": "hello", "project": 1, "user": 7, "media_ids": [1]} | request_
    with pytest.raises(ArgosyError, match=re.escape(words)):
        registered.launch(**fields)  # type: ignore[arg-type]
    assert registered.launches() == [], "whoever calls is told at once"
    gid = sent(registered, **fields)  # whoever sends a message reads it
    assert expand(stage, gid) == []
    state, reason = outcome(registered, gid)
    assert state == "rejected"
    assert words in reason
    assert jobs(registered) == []


def test_what_was_launched_before_is_the_same_launch_whatever_became_of_its_algorithm(registered: Client) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    registered.remove_algorithm("hello")
    assert not registered.launch("hello", project=1, user=7, media_ids=[1], gid=gid).new


def test_a_launch_is_printed_and_serialised_with_its_ids(registered: Client) -> None:
    many = registered.launch("hello", project=1, user=7, media_ids=range(3000))
    assert isinstance(many.uids, list)
    assert json.loads(many.model_dump_json())["uids"] == [str(uid) for uid in many.uids]
    assert len(many.uids) == many.jobs == 1000
    assert str(many.gid) in str(many)
    assert str(many.uids[2]) in repr(many)
    assert "and 997 more" in str(many)
    assert len(str(many)) < 500
    later = registered.launch("hello", project=1, user=7, media_query="type=3")
    assert (later.expanded, later.uids, later.model_dump()["uids"]) == (False, [], [])


@pytest.mark.parametrize("text_", [False, True])
def test_an_id_may_be_a_uuid_or_its_text(registered: Client, stage: Launching, text_: bool) -> None:
    def given(value: UUID) -> UUID | str:
        return str(value) if text_ else value

    gid = uuid1()
    first = registered.launch("hello", project=1, user=7, media_ids=[1, 2, 3, 4], gid=given(gid))
    assert first.gid == gid
    after = registered.launch("hello", project=1, user=7, media_ids=[5], after=given(gid), after_if="any")
    expand(stage, gid)
    uid = given(first.uids[1])
    assert (
        registered.get(uid).uid == registered.explain(uid).uid == registered.logs(uid, ask=False).uid == first.uids[1]
    )
    assert len(registered.list(gid=given(gid))) == 2
    assert [launch.gid for launch in registered.launches(gid=given(after.gid))] == [after.gid]
    assert registered.events(given(gid)).events
    assert registered.failures(given(gid)) == []
    assert registered.jobs_with_logs(given(gid)) == ([], False)
    assert registered.cancel(uid).cancelled == 1
    list(registered.follow_logs([uid]))
    assert registered.retry(uid) == 1
    assert registered.delete(given(gid)).cancelled == 2
    bulk = registered.prepare("cancel", JobFilter(gid=gid), user=7)
    assert registered.act(given(bulk.id)).id == registered.bulk(given(bulk.id)).id == bulk.id


def test_get_of_a_rejected_launchs_job_answers_rejected_with_the_reason(registered: Client, stage: Launching) -> None:
    gid = sent(registered, media_ids=[1, 2, 3, 4], extra_params=[{"name": "gid", "value": 1}])
    uid = JobUids(gid, 2)[1]
    assert registered.get(uid).status == "Queued"
    expand(stage, gid)
    job = registered.get(uid)
    assert job.status == "Rejected"
    assert "gid" in job.message


def test_media_ids_that_no_env_string_can_hold_are_rejected_with_the_size_that_fits(
    registered: Client, stage: Launching
) -> None:
    registered.update_algorithm("hello", files_per_job=50_000)
    media = range(1_000_000, 1_050_000)
    with pytest.raises(InvalidRequest, match="files_per_job up to "):
        registered.launch("hello", project=1, user=7, media_ids=media)
    gid = sent(registered, media_ids=media)
    expand(stage, gid)
    state, reason = outcome(registered, gid)
    assert state == "rejected"
    fits = int(reason.split("files_per_job up to ")[1].split()[0])
    assert len(",".join(map(str, media[:fits]))) <= 120 * 1024
    registered.update_algorithm("hello", files_per_job=fits)
    again = registered.launch("hello", project=1, user=7, media_ids=media)
    assert expand(stage, again.gid)


def test_the_same_request_with_the_same_gid_is_one_launch(registered: Client, stage: Launching) -> None:
    gid = uuid1()
    first = registered.launch("hello", project=1, user=7, media_ids=[1, 2], gid=gid, token="a")
    second = registered.launch("hello", project=1, user=7, media_ids=[1, 2], gid=gid, token="a")
    assert (first.new, second.new) == (True, False)
    assert expand(stage, gid)
    assert expand(stage, gid) == []
    assert len(jobs(registered)) == 1


def test_a_gid_of_another_request_is_refused(registered: Client) -> None:
    gid = uuid1()
    registered.launch("hello", project=1, user=7, media_ids=[1], gid=gid)
    with pytest.raises(Conflict, match="belongs to another launch"):
        registered.launch("hello", project=2, user=7, media_ids=[1], gid=gid)


def test_a_request_that_is_delivered_again_after_an_upgrade_is_the_same_launch(
    registered: Client, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(LaunchRequest):
        colour: str = "blue"

    request = LaunchRequest(gid=uuid1(), project=1, user=7, algorithm_name="hello", extra_params=[Parameter(name="x")])
    later = Later(**request.model_dump())

    def write(what: LaunchRequest) -> bool:
        with engine.begin() as connection:
            return requests.insert(cursors.OwnCursor(connection), what, settings.retention_days).new

    assert write(request)
    assert not write(later)
    with pytest.raises(Conflict):
        write(Later(**request.model_dump(), colour="red"))
    # And across the upgrade to this version, which is the first to leave defaults out.
    former = request.model_dump(mode="json", exclude={"token_sealed", *LATER})
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE argosy.launch SET request_digest = :digest"),
            {"digest": sha256(orjson.dumps(former)).hexdigest()},
        )
    assert not write(request)


@pytest.mark.parametrize("cut", [True, False])
def test_a_gid_that_is_the_uid_of_a_job_is_refused(registered: Client, stage: Launching, cut: bool) -> None:
    registered.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=1)
    mine = registered.launch("hello", project=1, user=7, media_ids=range(9))
    if cut:
        expand(stage, mine.gid)
    with pytest.raises(Conflict, match="an id that is taken"):
        registered.launch("theirs", project=2, user=7, media_ids=[1], gid=mine.uids[2])


def test_a_launch_one_of_whose_jobs_would_have_another_launchs_gid_is_refused(registered: Client) -> None:
    gid = uuid1()
    taken = JobUids(gid, 9)[4]
    registered.launch("hello", project=1, user=7, media_ids=[1], gid=taken)
    with pytest.raises(Conflict, match="an id that is taken"):
        registered.launch("hello", project=1, user=7, media_query="x=1", gid=gid)


def test_a_uid_means_the_job_even_where_a_launch_has_it_for_its_gid(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    registered.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=1)
    mine = registered.launch("hello", project=1, user=7, media_ids=range(9))
    theirs = registered.launch("theirs", project=2, user=7, media_ids=[1])
    with engine.begin() as connection:  # from before such gids were refused
        connection.execute(
            text("UPDATE argosy.launch SET gid = :uid WHERE gid = :gid"), {"uid": mine.uids[0], "gid": theirs.gid}
        )
    expand(stage, mine.gid)
    assert registered.cancel(mine.uids[0], project=1).cancelled == 1
    assert outcome(registered, mine.uids[0])[0] == "accepted"


def test_many_workers_expanding_one_launch_make_its_jobs_once(registered: Client, stage: Launching) -> None:
    launched = registered.launch("hello", project=1, user=7, media_ids=range(300))
    with ThreadPoolExecutor(4) as pool:
        grown = list(pool.map(lambda _: expand(stage, launched.gid), range(8)))
    assert len([clusters for clusters in grown if clusters]) == 1
    assert [job.uid for job in jobs(registered)] == launched.uids


def test_what_was_frozen_is_not_changed_by_the_algorithm(registered: Client, stage: Launching, engine: Engine) -> None:
    launched = registered.launch("hello", project=1, user=7, media_ids=range(6))
    registered.update_algorithm("hello", files_per_job=1)
    expand(stage, launched.gid)
    registered.remove_algorithm("hello")
    assert [job.media_ids for job in jobs(registered)] == [[0, 1, 2], [3, 4, 5]]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT manifest FROM argosy.launch")).scalar_one() == HELLO


def test_an_api_server_that_is_away_postpones_the_launch_with_the_reason_in_sight(
    registered: Client, stage: Launching, api: ApiServer, engine: Engine
) -> None:
    api.status, api.media = 503, [1]
    launched = registered.launch("hello", project=1, user=7)
    expand(stage, launched.gid)
    state, reason = outcome(registered, launched.gid)
    assert state == "accepted"
    assert "HTTP 503" in reason
    api.status = 200
    its_time_has_come(engine)
    assert expand(stage, launched.gid)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'[{"id": 2}, {"id": 1}]', "order"),
        (b'{"a": 1}', "not a list"),
        (b"<html>", "not a list"),
        (b'[{"id": "x"}]', "not an integer"),
    ],
)
def test_a_media_answer_that_would_lose_media_is_not_believed(
    registered: Client, stage: Launching, api: ApiServer, answer: bytes, words: str
) -> None:
    api.answer = answer
    launched = registered.launch("hello", project=1, user=7)
    expand(stage, launched.gid)
    state, reason = outcome(registered, launched.gid)
    assert state == "accepted"
    assert words in reason


def test_a_refused_query_rejects_the_launch_with_the_servers_words(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.status, api.answer = 400, b'{"message": "unknown section"}'
    launched = registered.launch("hello", project=1, user=7, media_query="section=x")
    expand(stage, launched.gid)
    assert outcome(registered, launched.gid)[0] == "rejected"
    assert "unknown section" in outcome(registered, launched.gid)[1]


def test_a_launch_lives_and_dies_with_the_callers_transaction(registered: Client, engine: Engine) -> None:
    with engine.connect() as connection:
        registered.launch("hello", project=1, user=7, media_ids=[1], connection=connection)
        connection.rollback()
        kept = registered.launch("hello", project=1, user=7, media_ids=[1], connection=connection)
        connection.commit()
    assert {launch.gid for launch in registered.launches()} == {kept.gid}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gid": "5d2a8a00-c9b1-41f0-8de9-0242ac120002"}, "gid: must be a version-1 UUID"),
        ({"gid": "fffffff0-ffff-1fff-8de9-0242ac120002"}, "at most an hour ahead"),
        ({"gid": "00000000-9000-11ee-8de9-0242ac120002"}, "within the last 90 days"),
        ({"media_ids": [-1]}, "media_ids.0"),
        ({"media_ids": [1], "media_query": "x"}, "not both"),
        ({"extra_params": [{"name": "x", "valeu": 1}]}, "extra_params.0.valeu: no such field"),
        ({"project": "x"}, "project"),
        (
            {"extra_params": [{"name": n, "value": "x" * 131_072} for n in "ab"]},
            "extra_params: .* 262146 bytes, .* 262144",
        ),
    ],
)
def test_a_malformed_request_is_refused_by_field(registered: Client, fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        registered.launch("hello", **{"project": 1, "user": 7} | fields)  # type: ignore[arg-type]
    assert registered.launches() == []


def test_no_token_is_at_rest_in_clear(registered: Client, engine: Engine) -> None:
    registered.launch("hello", project=1, user=7, media_ids=[1], token="canary-of-the-user")
    registered.update_cluster("c", token="canary-of-the-cluster")
    with engine.connect() as connection:
        for table in ("launch", "cluster"):
            rows = connection.execute(text(f"SELECT t::text FROM argosy.{table} t")).scalars().all()
            assert rows
            for row in rows:
                assert "canary" not in row
                assert b"canary".hex() not in row
