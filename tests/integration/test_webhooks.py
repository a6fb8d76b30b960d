"""Webhooks: who is told how a launch ended, once, signed, and never at an address of our own network."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from argosy import crypto
from argosy.cli import app
from argosy.client import Client
from argosy.errors import InvalidRequest, NotConfigured
from argosy.launch.expand import Launching, expand
from argosy.notify.delivery import Undelivered
from argosy.notify.sender import Sender
from argosy.notify.webhook import Webhooks
from argosy.settings import Settings
from argosy.states import State
from argosy.store import outbox
from argosy.store.database import transact
from argosy.store.telling import fill as fill_outbox
from tests.support.jobs import claim, created, end, record, registered, run, stage
from tests.support.platform import serving
from tests.support.queues import sql
from tests.support.stack import until

__all__ = ["registered", "stage"]

KEY, OLD = (crypto.new_keys()["ARGOSY_WEBHOOK_KEY"] for _ in range(2))


def key_of(project: int, installations: str = KEY) -> str:
    """The key that a project's receivers have."""
    return b64encode(crypto.webhook_keys(SecretStr(installations), project)[0]).decode()


@dataclass
class Receiver:
    """A server that gets webhooks, and checks them as its owner would: with the specification's own library."""

    url: str = ""
    key: str = field(default_factory=lambda: key_of(1))
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    got: list[Any] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    forged: int = 0

    async def take(self, request: Request) -> Response:
        try:
            self.got.append(Webhook(self.key).verify(await request.body(), dict(request.headers)))
        except WebhookVerificationError:
            self.forged += 1
        self.ids.append(request.headers["webhook-id"])
        return Response(status_code=self.status, headers=self.headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()
    with serving(Starlette(routes=[Route("/hook", state.take, methods=["POST", "GET"])])) as url:
        state.url = f"{url}/hook"
        yield state


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_hosts": ["127.0.0.1"]})


@pytest.fixture
def telling(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_key": SecretStr(KEY)})


@pytest.fixture
async def sending(engine: Engine, telling: Settings) -> AsyncIterator[None]:
    task = asyncio.create_task(Sender(engine, telling).run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def launched(client: Client, stage: Launching, url: str, jobs: int = 2) -> UUID:
    gid = client.launch("hello", project=1, user=7, media_ids=range(jobs), webhook=url).gid
    expand(stage, gid)
    return gid


def fill(engine: Engine) -> int:
    with engine.begin() as connection:
        return fill_outbox(connection)


def rows(engine: Engine) -> Any:
    return sql(engine, "SELECT * FROM argosy.outbox ORDER BY id")


async def shut(engine: Engine, count: int = 1) -> None:
    await until(lambda: sum(not row.open for row in rows(engine)), lambda n: n == count, 20)


async def test_the_end_of_a_launch_is_told_once_and_signed(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, sending: None
) -> None:
    gid = launched(registered, stage, receiver.url)
    first, second = claim(engine)
    record(engine, created(first), created(second))
    end(engine, first, State.SUCCEEDED)
    assert fill(engine) == 0, "one job runs"
    end(engine, second, State.FAILED)
    assert (fill(engine), fill(engine)) == (1, 0)
    await shut(engine)
    (told,) = receiver.got
    assert (told["type"], told["data"]["gid"], told["data"]["counts"]) == (
        "launch.failed",
        str(gid),
        {"Succeeded": 1, "Failed": 1},
    )
    assert told["data"]["failures"][0]["message"] == "why"
    assert receiver.ids == [f"{gid}.failed"]
    assert receiver.forged == 0


async def test_who_has_one_projects_key_can_make_no_webhook_of_another(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, sending: None
) -> None:
    """Found by a hostile reader: one key signed for all, and every receiver had it."""
    receiver.key = key_of(2)
    launched(registered, stage, receiver.url, 1)
    run(engine, State.SUCCEEDED)
    fill(engine)
    await shut(engine)
    assert (receiver.got, receiver.forged) == ([], 1)
    assert CliRunner().invoke(app, ["project", "webhook-key", "7"], env=ENVIRONMENT).stdout == f"whsec_{key_of(7)}\n"


ENVIRONMENT = {"ARGOSY_WEBHOOK_KEY": KEY, "ARGOSY_DATABASE_URL": "postgresql://nowhere.invalid/"}


@pytest.mark.parametrize("has", [KEY, OLD], ids=["new", "old"])
async def test_receivers_change_their_key_one_after_the_other(settings: Settings, receiver: Receiver, has: str) -> None:
    receiver.key = key_of(1, has)
    webhooks = Webhooks(settings.model_copy(update={"webhook_key": SecretStr(f"{KEY},{OLD}")}))
    await webhooks.deliver(outbox.Notification(1, UUID(int=1), 1, "webhook", receiver.url, "k", {}, 1))
    await webhooks.close()
    assert (len(receiver.got), receiver.forged) == (1, 0)


@pytest.mark.parametrize(
    "keys",
    ["", "whsec_", "whsec_c2hvcnQ=", f"{KEY},", f"{KEY},whsec_", KEY[:-3], "whsec_é"],
    ids=["none", "empty", "short", "a comma more", "an empty one more", "cut", "no base64"],
)
def test_a_key_that_anybody_can_guess_signs_nothing(keys: str) -> None:
    """Found by a hostile reader: `whsec_` alone was taken, and everybody could sign with it."""
    with pytest.raises(NotConfigured, match="ARGOSY_WEBHOOK_KEY") as error:
        crypto.webhook_keys(SecretStr(keys), 1)
    assert KEY[:-3] not in str(error.value)


async def test_a_retry_that_ends_otherwise_is_told_too(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, sending: None
) -> None:
    gid = launched(registered, stage, receiver.url, 1)
    for state, told in ((State.FAILED, 1), (State.FAILED, 1), (State.SUCCEEDED, 2)):
        run(engine, state)
        fill(engine)
        await shut(engine, told)
        registered.retry(gid)
    assert receiver.ids == [f"{gid}.failed", f"{gid}.succeeded.2"]


async def test_an_end_that_comes_again_after_another_is_told_again_and_overtakes_the_other(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver
) -> None:
    """Found by a hostile reader: the last of failed, succeeded, failed was never told, and an old end could arrive after a new one."""
    gid = launched(registered, stage, receiver.url, 1)
    for state in (State.FAILED, State.SUCCEEDED, State.FAILED):
        run(engine, state)
        fill(engine)
        registered.retry(gid, failed_only=False)
    found = [(row.key, row.open) for row in rows(engine)]
    assert found == [(f"{gid}.failed", False), (f"{gid}.succeeded.2", False), (f"{gid}.failed.3", True)]
    (shown,) = registered.launches(gid=gid)
    assert [(each.ended, each.state) for each in shown.notifications or ()] == [
        ("failed", "given up"),
        ("succeeded", "given up"),
        ("failed", "waiting"),
    ]


async def test_a_slow_name_server_takes_no_thread_of_the_database(
    registered: Client, engine: Engine, telling: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: names were resolved in the threads that ask the database."""
    asked, go_on = Event(), Event()

    def slow(*_: object, **__: object) -> None:
        asked.set()
        go_on.wait(30)
        raise OSError("no answer")

    webhooks = Webhooks(telling)
    monkeypatch.setattr("argosy.network.guard.socket.getaddrinfo", slow)
    notification = outbox.Notification(1, UUID(int=1), 1, "webhook", "https://slow.example/", "k", {}, 1)
    tasks = [asyncio.create_task(webhooks.deliver(notification)) for _ in range(40)]
    await asyncio.to_thread(asked.wait, 10)
    found = await asyncio.wait_for(
        transact(engine, lambda connection: connection.execute(text("SELECT 1")).scalar()), 5
    )
    assert found == 1
    go_on.set()
    assert all(isinstance(each, Undelivered) for each in await asyncio.gather(*tasks, return_exceptions=True))
    await webhooks.close()


async def test_a_launch_that_never_had_jobs_is_told(
    registered: Client, engine: Engine, receiver: Receiver, sending: None
) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1], webhook=receiver.url).gid
    registered.cancel(gid)
    assert fill(engine) == 1
    await shut(engine)
    assert receiver.got[0]["data"]["state"] == "cancelled"


async def test_a_receiver_that_refuses_is_asked_again_later_and_one_that_is_gone_is_not(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, sending: None
) -> None:
    receiver.status = 503
    launched(registered, stage, receiver.url)
    run(engine, State.SUCCEEDED)
    fill(engine)
    await until(lambda: rows(engine)[0].reason, bool, 20)
    (row,) = rows(engine)
    assert (row.open, row.reason, row.tries) == (True, "it answered 503", 1)
    receiver.status = 410
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now()")
    await shut(engine)
    assert rows(engine)[0].reason == "it answered 410"
    assert len(set(receiver.ids)) == 1


async def test_no_redirect_is_followed(telling: Settings, receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"location": receiver.url}
    webhooks = Webhooks(telling)
    notification = outbox.Notification(1, UUID(int=1), 1, "webhook", receiver.url, "k", {}, 1)
    with pytest.raises(Undelivered, match="302"):
        await webhooks.deliver(notification)
    await webhooks.close()
    assert len(receiver.ids) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.org/", "https"),
        ("https://127.0.0.1/", "this machine"),
        ("https://[::1]/", "this machine"),
        ("https://2130706433/", "four numbers"),
        ("https://0x7f.1/", "four numbers"),
        ("https://017700000001/", "four numbers"),
        ("https://[::ffff:10.0.0.1]/", "not public"),
        ("https://169.254.169.254/latest", "never called"),
        ("https://localhost/", "this machine"),
        ("https://localhost:1/", "this machine"),
    ],
)
async def test_an_address_that_is_not_public_is_never_called(settings: Settings, url: str, why: str) -> None:
    webhooks = Webhooks(settings.model_copy(update={"webhook_key": SecretStr(KEY), "webhook_hosts": []}))
    with pytest.raises(Undelivered, match=why) as error:
        await webhooks.deliver(outbox.Notification(1, UUID(int=1), 1, "webhook", url, "k", {}, 1))
    await webhooks.close()
    assert error.value.final


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/", "https://", "https://u:p@h/", "https://h/#f", "https://h:99999/", "https://h/a b", "https://h/" + "x" * 2000,
     "https://h/\r\nx: y", "javascript:alert(1)", "https://[::1", "https://é/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_at_the_launch(registered: Client, url: str) -> None:
    with pytest.raises(InvalidRequest, match="webhook"):
        registered.launch("hello", project=1, user=7, media_ids=[1], webhook=url)
    assert registered.launches() == []


async def test_without_a_key_nothing_is_sent_and_the_reason_is_kept(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, settings: Settings
) -> None:
    launched(registered, stage, receiver.url)
    run(engine, State.SUCCEEDED)
    fill(engine)
    task = asyncio.create_task(Sender(engine, settings).run())
    await until(lambda: rows(engine)[0].reason, lambda reason: "ARGOSY_WEBHOOK_KEY" in reason, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (rows(engine)[0].open, receiver.ids) == (True, [])


async def test_projects_whose_receivers_hang_do_not_keep_another_waiting(
    registered: Client, stage: Launching, engine: Engine, receiver: Receiver, sending: None
) -> None:
    """Found by a hostile reader: five such projects had all the places, again and again."""
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    launched(registered, stage, receiver.url)
    gid = registered.launch("hello", project=1, user=7, media_ids=[9]).gid
    put = (
        "INSERT INTO argosy.outbox (gid, project, kind, recipient, key, body, next_try_at) "
        f"SELECT '{gid}', 2 + n % 8, 'webhook', 'http://127.0.0.1:{port}/', 'k' || n, '{{}}', now() - interval '1 h' "
        "FROM generate_series(1, 400) n"
    )
    sql(engine, put)
    run(engine, State.SUCCEEDED)
    fill(engine)
    await until(lambda: receiver.got, bool, 25)
    silent.close()


def test_one_launch_with_too_many_failures_keeps_no_other_end_back(
    registered: Client, stage: Launching, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: the failures of a huge launch took longer than a statement may."""
    launched(registered, stage, "https://example.org/")
    launched(registered, stage, "https://example.org/")
    run(engine, State.FAILED)
    slow = text("SELECT pg_sleep(30)")
    monkeypatch.setattr("argosy.store.telling._BRIEF", text("SET LOCAL statement_timeout = '100ms'"))
    monkeypatch.setattr("argosy.store.summaries.failures", lambda connection, gid: connection.execute(slow))
    assert fill(engine) == 2
    assert [row.body["data"]["failures"] for row in rows(engine)] == [None, None]


def test_two_senders_never_take_the_same_row(registered: Client, stage: Launching, engine: Engine) -> None:
    launched(registered, stage, "https://example.org/")
    run(engine, State.SUCCEEDED)
    fill(engine)
    with engine.begin() as first, engine.begin() as second:
        assert len(outbox.claim(first, "webhook", 9, [], True)) == 1
        assert outbox.claim(second, "webhook", 9, [], True) == []
    with engine.begin() as third:
        assert outbox.claim(third, "webhook", 9, [], True) == [], "the claim holds for a time"


def test_what_waits_to_be_told_makes_a_claim_no_dearer(engine: Engine) -> None:
    """Found by a hostile reader: with 1,000,000 rows each claim took 1.2 s."""
    wait = (
        "INSERT INTO argosy.outbox (project, kind, recipient, key, body, next_try_at) SELECT n % 3, 'webhook', 'r', n::text, '{}', "
        "now() + (n % 2 - 0.5) * interval '1 day' FROM generate_series(1, 20000) n"
    )
    sql(engine, wait)
    sql(engine, "ANALYZE argosy.outbox")
    asked = {"claim": 60, "kind": "webhook", "most": 20, "busy": [1], "room": True}
    with engine.begin() as connection:
        explained = text("EXPLAIN (ANALYZE, FORMAT JSON) " + outbox._CLAIMED.text)
        ((answer,),) = connection.execute(explained, asked)
        assert touched(answer[0]["Plan"]) < 200
        connection.rollback()
    with engine.begin() as connection:
        due = outbox.claim(connection, "webhook", 20, [1], True)
    assert sorted(row.project for row in due) == [0, 0, 0, 0, 1, 2, 2, 2, 2]


def touched(plan: dict[str, Any]) -> float:
    """How many rows of a table or an index a statement looked at."""
    here = 0.0
    if plan.get("Relation Name") == "outbox":
        here = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return here + sum(map(touched, plan.get("Plans", [])))


def test_a_launch_whose_end_cannot_be_told_keeps_no_other_from_it(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    """Found by a hostile reader: whoever may write the table `launch` can name a receiver that no index takes, and nobody was told anything
    any more."""
    first, second = (launched(registered, stage, f"https://{name}.example.org/", 1) for name in "ab")
    long = "https://a.example.org/" + "".join(f"{n:x}" for n in range(1 << 13))
    sql(engine, "UPDATE argosy.launch SET webhook = :long WHERE gid = :gid", long=long, gid=first)
    run(engine, State.SUCCEEDED)
    fill(engine)
    assert [row.gid for row in rows(engine)] == [second]
    assert fill(engine) == 0
