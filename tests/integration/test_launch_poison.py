"""Launches that get no further, and answers that would poison them: each comes to an end with words, and none hides another."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine

from argosy import crypto
from argosy.client import Client
from argosy.launch.accept import accept
from argosy.launch.expand import Launching, expand
from argosy.launch.expander import Expander
from argosy.launch.media import PAGING, RestMediaSource
from argosy.metrics import LOOP_ERRORS
from argosy.shapes.given import LaunchRequest
from argosy.store import launches
from tests.integration.api_server import ApiServer
from tests.integration.launching import its_time_has_come
from tests.support.launching import api, outcome, registered, stage
from tests.support.queues import sql
from tests.support.stack import until

__all__ = ["api", "registered", "stage"]

TOKEN = "s3cret-of-the-user"


@pytest.fixture
def expander(stage: Launching) -> Iterator[Callable[[Launching], Expander]]:
    made = []

    def make(own: Launching = stage) -> Expander:
        made.append(Expander(own, lambda _: None))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def tried_until_it_ends(client: Client, engine: Engine, stage: Launching, gid: UUID) -> int:
    tries = 0
    while outcome(client, gid)[0] == "accepted":
        its_time_has_come(engine)
        assert expand(stage, gid) == []
        tries += 1
        assert tries < 100, outcome(client, gid)
    return tries


def test_a_token_that_was_sealed_to_another_key_waits_in_sight_and_ends_rejected(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    settings = registered.settings.model_copy(update={"token_public_key": crypto.new_keys()["ARGOSY_TOKEN_PUBLIC_KEY"]})
    other = Client(settings)
    gid = other.launch("hello", project=1, user=7, media_query="x=1", token=TOKEN).gid
    other.close()
    expand(stage, gid)
    state, reason = outcome(registered, gid)
    assert (state, reason.startswith("waiting for the right key: ARGOSY_TOKEN_PRIVATE_KEY does not open")) == (
        "accepted",
        True,
    )
    assert tried_until_it_ends(registered, engine, stage, gid) < 25
    state, reason = outcome(registered, gid)
    assert state == "rejected"
    assert "does not open" in reason
    assert "given up after 20 tries" in reason


def test_an_api_server_that_stays_away_is_asked_a_bounded_number_of_times(
    registered: Client, stage: Launching, engine: Engine, api: ApiServer
) -> None:
    api.status = 503
    gid = registered.launch("hello", project=1, user=7).gid
    assert tried_until_it_ends(registered, engine, stage, gid) == len(api.asked) == 20
    assert outcome(registered, gid)[0] == "rejected"


def test_a_try_that_failed_is_not_repeated_before_its_time_however_many_wake_ups_come(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.status = 503
    gid = registered.launch("hello", project=1, user=7).gid
    for _ in range(5):
        expand(stage, gid)
    assert len(api.asked) == 1


def test_launches_that_get_no_further_do_not_hide_one_whose_wake_up_was_lost(
    registered: Client, engine: Engine
) -> None:
    stuck = {registered.launch("hello", project=1, user=7).gid for _ in range(5)}
    good = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    found: list[UUID] = []
    for _ in range(3):
        with engine.begin() as connection:
            found += launches.due(connection, 0, limit=2)
    assert sorted(found) == sorted(stuck | {good})


async def test_an_error_that_nobody_thought_of_is_counted_shown_and_given_up_in_the_end(
    registered: Client,
    stage: Launching,
    engine: Engine,
    expander: Callable[[Launching], Expander],
) -> None:
    class Broken:
        def resolve(self, project: int, query: str, token: str) -> list[int]:
            raise RuntimeError(f"boom {query}")

    broken = Launching(engine, stage.settings, Broken())
    made = expander(broken)
    gid = registered.launch("hello", project=1, user=7, media_query="x=1").gid
    good = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    before = LOOP_ERRORS.labels("launch")._value.get()
    made.start(gid)
    made.start(good)
    await until(lambda: outcome(registered, gid)[1], lambda reason: "failed unexpectedly (RuntimeError)" in reason, 10)
    await until(lambda: outcome(registered, good)[0], lambda state: state == "expanded", 10)
    assert outcome(registered, gid)[0] == "accepted"
    assert LOOP_ERRORS.labels("launch")._value.get() == before + 1
    ((tries, waits),) = sql(
        engine, "SELECT tries, next_try_at > clock_timestamp() FROM argosy.launch WHERE gid = :gid", gid=gid
    )
    assert (tries, waits) == (1, True)
    sql(engine, "UPDATE argosy.launch SET tries = 19, next_try_at = clock_timestamp() WHERE gid = :gid", gid=gid)
    made.start(gid)
    await until(lambda: outcome(registered, gid)[0], lambda state: state == "rejected", 10)
    assert "given up after 20 tries" in outcome(registered, gid)[1]


def test_a_launch_that_ends_its_worker_each_time_is_given_up(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1]).gid
    sql(engine, "UPDATE argosy.launch SET tries = 100")
    assert expand(stage, gid) == []
    state, reason = outcome(registered, gid)
    assert (state, "no worker came to an end with it" in reason) == ("rejected", True)


@pytest.mark.parametrize("wrong", ["9223372036854775813", "-1", "true", "false", "null", "1.5", '"1"', "1e400", "[1]"])
def test_an_id_that_media_ids_would_refuse_is_not_believed_from_the_api_server_either(
    registered: Client, stage: Launching, api: ApiServer, wrong: str
) -> None:
    api.answer = f'[{{"id": {wrong}}}]'.encode()
    gid = registered.launch("hello", project=1, user=7).gid
    expand(stage, gid)
    state, reason = outcome(registered, gid)
    assert (state, reason.startswith("waiting for the API server: ")) == ("accepted", True), reason


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN}é", f"\r\n{TOKEN}", f"{TOKEN}\x00", f" {TOKEN}"])
def test_a_token_that_no_header_can_hold_is_refused_in_words_and_shown_nowhere(
    registered: Client, stage: Launching, api: ApiServer, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who sends a message may have sealed anything."""
    gid, public_key = uuid1(), registered.settings.token_public_key
    assert public_key is not None
    accept(
        stage.engine,
        registered.settings,
        LaunchRequest.model_validate(
            {
                "gid": gid,
                "project": 1,
                "user": 7,
                "algorithm_name": "hello",
                "media_query": "x=1",
                "token_sealed": b64encode(crypto.seal_token(token, public_key)).decode(),
            }
        ),
    )
    assert expand(stage, gid) == []
    state, reason = outcome(registered, gid)
    assert state == "rejected"
    assert "a character that no HTTP header can carry" in reason
    told = capfd.readouterr()
    assert TOKEN not in reason + told.out + told.err
    assert api.asked == []


@pytest.mark.parametrize("status", [400, 401, 503])
def test_an_api_server_that_repeats_the_token_does_not_make_it_public(
    registered: Client, stage: Launching, api: ApiServer, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    api.status, api.answer = status, f'{{"message": "you said: Authorization: Token {TOKEN}"}}'.encode()
    gid = registered.launch("hello", project=1, user=7, media_query="x=1", token=TOKEN).gid
    expand(stage, gid)
    told = capfd.readouterr()
    assert TOKEN not in outcome(registered, gid)[1] + told.out + told.err
    assert api.tokens == [f"Token {TOKEN}"]


def test_words_that_postgresql_cannot_hold_are_kept_without_those_characters(
    registered: Client, stage: Launching, api: ApiServer
) -> None:
    api.status, api.answer = 400, b'{"message": "bad \\u0000 section \\u009f\\u001b[31m"}'
    gid = registered.launch("hello", project=1, user=7, media_query="x=1").gid
    expand(stage, gid)
    state, reason = outcome(registered, gid)
    assert state == "rejected"
    assert "bad \ufffd section [31m" in reason


def test_an_address_that_is_none_is_a_reason_and_no_traceback(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    wrong = stage.settings.model_copy(update={"rest_url": "http://[::1/rest"})
    gid = registered.launch("hello", project=1, user=7).gid
    assert expand(Launching(engine, wrong, RestMediaSource(wrong)), gid) == []
    state, reason = outcome(registered, gid)
    assert (state, reason.startswith("waiting for the API server: GET http://[::1/rest")) == ("accepted", True)


@pytest.mark.parametrize("query", [f"type=3&{name}=10" for name in PAGING] + ["?stop=10", "st%6Fp=1", "stop", "start="])
def test_a_query_that_pages_by_itself_is_refused_instead_of_meaning_other_media(
    registered: Client, stage: Launching, api: ApiServer, query: str
) -> None:
    api.media = list(range(1, 10))
    gid = registered.launch("hello", project=1, user=7, media_query=query).gid
    assert expand(stage, gid) == []
    state, reason = outcome(registered, gid)
    assert (state, "argosy pages through the media itself" in reason) == ("rejected", True)
    assert api.asked == []
