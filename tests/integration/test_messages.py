"""Messages on a real Valkey, consumed by a real Dramatiq worker: what is malformed hurts nobody."""

import json
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID, uuid1

import dramatiq
import psycopg
import pytest
from dramatiq.middleware import AsyncIO, CurrentMessage, Retries
from pydantic import SecretStr
from typer.testing import CliRunner

from argosy.cli import app
from argosy.client import Client
from argosy.errors import NotConfigured, NotFound
from argosy.processes.letters import letters
from argosy.processes.wakeups import LAUNCH, QUEUES, Broker, broker
from argosy.processes.worker import Boot, declare
from argosy.settings import Settings, load
from tests.support.messages import pool, push, request, send
from tests.support.readme import exported
from tests.support.stack import until

__all__ = ["pool"]


def dead(pool: Broker, queue: str = LAUNCH) -> set[str]:
    return {str(member, "utf-8") for member in cast(list[bytes], pool.client.zrange(f"argosy:{queue}.XQ", 0, -1))}


@pytest.mark.parametrize(
    "address",
    ["", "canary:6379", "http://canary", "redis://:canary@h:99999", "redis://:canary@h/no", "redis://h?canary=1"],
)
def test_an_unusable_redis_address_is_refused_and_not_repeated(settings: Settings, address: str) -> None:
    with pytest.raises(NotConfigured, match=r"^ARGOSY_REDIS_URL: write redis://") as refused:
        broker(settings.model_copy(update={"redis_url": SecretStr(address)}))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"no json",
            b"[]",
            b"{}",
            b'{"queue_name": 1}',
            b"\xff\xfe",
            b'{"queue_name": "launch", "actor_name": "launch"}',
        ),
        *(b"[" * 200_000, b'{"number": ' + b"1" * 5_000 + b"}"),
    ],
    ids=range(8),
)
async def test_bytes_that_are_no_message_are_dead_lettered_once_and_the_pool_goes_on(
    pool: Broker, client: Client, data: bytes
) -> None:
    bad = push(pool, data)
    good = request()
    send(pool, LAUNCH, [good])
    await until(lambda: dead(pool), lambda ids: bad in ids, 10)
    await until(lambda: client.launches(), lambda found: [str(f.gid) for f in found] == [good["gid"]], 10)
    assert dead(pool) == {bad}


@pytest.mark.parametrize(
    "args",
    [[], [1, 2], [{"gid": "x"}], ["text"], [request(version=2)], [request(surprise=1)], [request(media_ids=["a"])]],
)
async def test_a_message_with_a_malformed_request_is_dead_lettered_and_leaves_no_launch(
    pool: Broker, client: Client, args: list[object]
) -> None:
    message_id = send(pool, LAUNCH, args)
    await until(lambda: dead(pool), lambda ids: message_id in ids, 10)
    assert [launch for launch in client.launches() if launch.state != "rejected"] == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": 2}, "version"),
        ({"surprise": 1}, "surprise: no such field"),
        ({"media_ids": ["a"]}, "media_ids.0"),
        ({"algorithm_name": ""}, "algorithm_name"),
    ],
)
async def test_whoever_sent_a_message_that_cannot_be_used_reads_why(
    pool: Broker, client: Client, fields: dict[str, object], words: str
) -> None:
    sent = request(**fields)
    send(pool, LAUNCH, [sent])
    (found,) = await until(lambda: client.launches(gid=UUID(str(sent["gid"]))), bool, 10)
    assert (found.state, words in found.reason) == ("rejected", True), found.reason


async def test_a_message_that_cannot_be_used_changes_no_launch_that_is_there(pool: Broker, client: Client) -> None:
    sent = request()
    send(pool, LAUNCH, [sent])
    await until(lambda: client.launches(gid=UUID(str(sent["gid"]))), bool, 10)
    bad = send(pool, LAUNCH, [sent | {"surprise": 1}])
    await until(lambda: dead(pool), lambda ids: bad in ids, 10)
    (found,) = client.launches(gid=UUID(str(sent["gid"])))
    assert "surprise" not in found.reason


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_wake_up_that_names_nothing_is_dead_lettered(pool: Broker, queue: str) -> None:
    message_id = send(pool, queue, [{"no": "row"}])
    await until(lambda: dead(pool, queue), lambda ids: message_id in ids, 10)


async def test_a_redelivered_launch_message_is_one_launch(pool: Broker, client: Client) -> None:
    same = request()
    for _ in range(3):
        send(pool, LAUNCH, [same])
    await until(lambda: [launch.state for launch in client.launches()], lambda states: states == ["rejected"], 10)
    await until(lambda: pool.do_qsize(LAUNCH), lambda size: size == 0, 10)
    assert dead(pool) == set()


async def test_a_worker_that_boots_while_the_database_is_away_works_when_it_is_back(
    settings: Settings, postgres: str, valkey: str
) -> None:
    url = settings.database_url.get_secret_value()
    name = urlsplit(url).path[1:]
    later = {"database_url": SecretStr(url.replace(f"/{name}?", f"/later_{name}?")), "redis_url": SecretStr(valkey)}
    configured = settings.model_copy(update=later)
    boot = Boot(configured)
    made = broker(configured, [Retries(min_backoff=50, max_backoff=200), CurrentMessage(), AsyncIO(), boot])
    made.client.flushall()
    declare(made, boot)
    worker = dramatiq.Worker(made, worker_threads=2, worker_timeout=100)
    worker.start()
    sent = request()
    try:
        send(made, LAUNCH, [sent])
        await until(lambda: made.client.hlen("argosy:launch.DQ.msgs"), bool, 10)
        _execute(postgres, f"CREATE DATABASE later_{name} TEMPLATE template")
        back = Client(configured)
        await until(lambda: [str(launch.gid) for launch in back.launches()], lambda gids: gids == [sent["gid"]], 20)
        back.close()
        assert dead(made) == set()
    finally:
        worker.stop()
        _execute(postgres, f"DROP DATABASE IF EXISTS later_{name} WITH (FORCE)")


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def hasty(settings: Settings, valkey: str) -> Iterator[Broker]:
    """As `pool`, but messages that are to be tried again are so at once."""
    configured = settings.model_copy(update={"redis_url": settings.redis_url.__class__(valkey)})
    boot = Boot(configured)
    made = broker(configured, [Retries(min_backoff=300, max_backoff=300), CurrentMessage(), AsyncIO(), boot])
    made.client.flushall()
    declare(made, boot)
    worker = dramatiq.Worker(made, worker_threads=2, worker_timeout=100)
    worker.start()
    yield made
    worker.stop()


async def test_a_message_that_overtakes_the_one_of_its_predecessor_is_tried_again(
    hasty: Broker, client: Client
) -> None:
    first = request()
    second = request(after=first["gid"])
    send(hasty, LAUNCH, [second])
    await until(lambda: hasty.client.hlen("argosy:launch.DQ.msgs"), lambda waiting: waiting, 10)  # put off
    send(hasty, LAUNCH, [first])
    found = await until(client.launches, lambda launches: len(launches) == 2, 10)
    assert {str(launch.after) for launch in found} == {first["gid"], "None"}
    assert dead(hasty) == set()


async def test_a_message_whose_predecessor_never_comes_is_dead_lettered_and_leaves_the_reason(
    hasty: Broker, client: Client
) -> None:
    lone = request(after=str(uuid1()))
    send(hasty, LAUNCH, [lone])
    (found,) = await until(client.launches, lambda launches: len(launches) == 1, 20)
    assert (str(found.gid), found.state) == (lone["gid"], "rejected")
    assert found.reason.startswith(f"after: launch {lone['after']} does not exist in project 1")
    await until(lambda: dead(hasty), lambda ids: len(ids) == 1, 10)


async def test_a_dead_letter_carries_its_reason_and_is_listed_retried_and_dropped(
    pool: Broker, client: Client, settings: Settings, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def argosy(*words: str) -> str:
        load.cache_clear()
        result = CliRunner().invoke(app, ["dead-letters", *words])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    for name, value in exported(settings, ARGOSY_REDIS_URL=valkey).items():
        monkeypatch.setenv(name, value)
    unreadable = push(pool, b"no json")
    wrong = request(project="mine", surprise=1)
    refused = send(pool, LAUNCH, [wrong])
    found = await until(
        lambda: {each.id: each for each in letters(pool)},
        lambda ids: len([each for each in ids.values() if each.reason != "not known any more"]) == 2,
        10,
    )
    assert "decode" in found[unreadable].reason
    assert found[unreadable].gid is None
    assert "project: " in found[refused].reason
    assert "surprise: no such field" in found[refused].reason
    assert str(found[refused].gid) == wrong["gid"]
    with pytest.raises(NotFound, match=r"is not a job but a launch, rejected: .*surprise: no such field"):
        client.get(str(wrong["gid"]))
    assert set(argosy("list", "-o", "name").split()) == {unreadable, refused}
    assert "surprise: no such field" in argosy("show", refused)
    # As if a newer worker understood it.
    good = request(gid=wrong["gid"])
    data = json.loads(pool.client.hget("argosy:launch.XQ.msgs", refused))  # type: ignore[arg-type]
    pool.client.hset("argosy:launch.XQ.msgs", refused, json.dumps(data | {"args": [good]}))
    argosy("retry", refused)
    await until(lambda: client.launches(gid=str(good["gid"])), lambda each: bool(each) and each[0].project == 1, 10)
    argosy("drop", unreadable, "--yes")
    assert [*letters(pool)] == []
    assert pool.client.hlen("argosy:launch.XQ.why") == pool.client.hlen("argosy:launch.XQ.msgs") == 0
    load.cache_clear()
    assert CliRunner().invoke(app, ["dead-letters", "show", "x"]).exit_code == 1
