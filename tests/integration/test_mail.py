"""Mails at the end of launches, on a real mail server: once for each end and recipient, over TLS, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import InvalidRequest, NotConfigured
from argosy.launch.expand import Launching, expand
from argosy.notify.delivery import Undelivered
from argosy.notify.mail import Mails, server_of
from argosy.notify.sender import Sender
from argosy.settings import Settings
from argosy.shapes.mails import EmailSpec
from argosy.states import State
from argosy.store import outbox, secrets, telling
from tests.support.cli import command_output, started
from tests.support.jobs import registered, run, stage
from tests.support.mailbox import PASSWORD, Certificate, Mailbox, Serving, authenticate, certificate
from tests.support.platform import FULL, PlatformServer, platform
from tests.support.queues import sql
from tests.support.readme import exported
from tests.support.stack import until

__all__ = ["registered", "stage"]

SUCCESS = {
    "recipients": ["Ann Lee <ann@example.org>", "bob@example.org"],
    "subject": "All well",
    "text": "Look.\r\n.\r\nEnd",
}
FAILURE = {"recipients": ["ann@example.org"], "subject": "Größe – failed", "text": "Oh."}


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A server on this host, without TLS."""
    box = Mailbox()
    server = Serving(box)
    await server.start()
    yield box
    await server.stop()


@pytest.fixture
def mailing(settings: Settings, mailbox: Mailbox) -> Settings:
    url = SecretStr(f"smtp://127.0.0.1:{mailbox.port}")
    return settings.model_copy(update={"smtp_url": url, "mail_from": "Argosy <argosy@example.net>"})


@pytest.fixture
async def sending(engine: Engine, mailing: Settings) -> AsyncIterator[None]:
    task = asyncio.create_task(Sender(engine, mailing).run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
def secured() -> Iterator[Certificate]:
    with certificate() as found:
        yield found


def launched(client: Client, stage: Launching, **fields: Any) -> UUID:
    specs = {"success_email_spec": SUCCESS, "failure_email_spec": FAILURE} | fields
    gid = client.launch("hello", project=1, user=7, media_ids=[1], **specs).gid
    expand(stage, gid)
    return gid


def fill(engine: Engine) -> int:
    with engine.begin() as connection:
        return telling.fill(connection)


def rows(engine: Engine) -> Any:
    return sql(engine, "SELECT * FROM argosy.outbox ORDER BY id")


def holding(part: str) -> Callable[[str], bool]:
    return lambda text: part in text


def after(tries: int) -> Callable[[Any], bool]:
    return lambda row: row.tries == tries and bool(row.reason)


def words(mail: EmailMessage) -> str:
    """The text of a mail."""
    return str(mail.get_content()).replace("\r\n", "\n")


async def shut(engine: Engine, count: int) -> None:
    await until(lambda: sum(not row.open for row in rows(engine)), lambda n: n == count, 20)


def mail(recipient: str = "ann@example.org", **body: Any) -> outbox.Notification:
    return outbox.Notification(
        1, None, 1, "email", recipient, f"mail.{uuid4()}", {"name": "", "subject": "s", "text": "t"} | body, 1
    )


async def test_each_recipient_gets_one_mail_when_a_launch_has_ended(
    registered: Client, stage: Launching, engine: Engine, mailbox: Mailbox, sending: None
) -> None:
    gid = launched(registered, stage)
    run(engine, State.SUCCEEDED)
    assert (fill(engine), fill(engine)) == (1, 0)
    await shut(engine, 2)
    assert sorted(mailbox.envelopes) == [
        ("argosy@example.net", ["ann@example.org"]),
        ("argosy@example.net", ["bob@example.org"]),
    ]
    ann, bob = sorted(mailbox.mails, key=lambda each: str(each["to"]))
    assert (ann["to"], ann["from"], ann["subject"]) == (
        "Ann Lee <ann@example.org>",
        "Argosy <argosy@example.net>",
        "All well",
    )
    text = words(bob)
    assert text.startswith("Look.\n.\nEnd\n\n-- \n")
    assert f"Launch {gid} of algorithm hello in project 1: 1 Succeeded" in text
    assert ann["message-id"] != bob["message-id"]
    told = registered.launches(gid=gid)[0].notifications or []
    assert {(each.kind, each.recipient, each.state) for each in told} == {
        ("email", "ann@example.org", "sent"),
        ("email", "bob@example.org", "sent"),
    }


async def test_a_failure_is_told_with_what_failed_and_again_only_if_a_retry_ends_otherwise(
    registered: Client, stage: Launching, engine: Engine, mailbox: Mailbox, sending: None
) -> None:
    gid = launched(registered, stage, success_email_spec=None)
    for state in (State.FAILED, State.FAILED, State.SUCCEEDED):
        run(engine, state)
        assert fill(engine) == 1
        await shut(engine, 1)
        registered.retry(gid)
    (told,) = mailbox.mails
    assert told["subject"] == "Größe – failed"
    assert "1 Failed: why" in words(told)


async def test_a_failure_that_nobody_was_told_of_is_not_told_when_a_retry_has_succeeded(
    registered: Client, stage: Launching, engine: Engine
) -> None:
    gid = launched(registered, stage, success_email_spec=None)
    run(engine, State.FAILED)
    fill(engine)
    registered.retry(gid)
    run(engine, State.SUCCEEDED)
    fill(engine)
    assert [(row.open, row.reason) for row in rows(engine)] == [(False, "overtaken by a later end")]
    registered.retry(gid, failed_only=False)
    run(engine, State.FAILED)
    fill(engine)
    assert [(row.key, row.open) for row in rows(engine)] == [(f"{gid}.failed", False), (f"{gid}.failed.2", True)]


async def test_a_launch_of_which_no_workflow_ever_started_is_told(
    registered: Client, engine: Engine, mailbox: Mailbox, sending: None
) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=[1], failure_email_spec=FAILURE).gid
    sql(engine, f"UPDATE argosy.launch SET state = 'rejected', reason = 'no such algorithm' WHERE gid = '{gid}'")
    fill(engine)
    await shut(engine, 1)
    assert "rejected, no jobs\nno such algorithm" in words(mailbox.mails[0])


async def test_greylisting_is_waited_for_and_the_message_id_stays(
    registered: Client, stage: Launching, engine: Engine, mailbox: Mailbox, sending: None
) -> None:
    mailbox.rcpt = lambda n: "451 4.7.1 Greylisted, try again in 5 minutes" if n == 1 else "250 OK"
    mailbox.data = lambda n: "451 4.3.0 busy" if n == 1 else "250 OK"
    launched(registered, stage)
    run(engine, State.FAILED)
    fill(engine)
    for said in ("Greylisted", "busy"):
        await until(lambda: rows(engine)[0].reason, holding(said), 20)
        (row,) = rows(engine)
        assert row.open
        sql(engine, "UPDATE argosy.outbox SET next_try_at = now()")
    await shut(engine, 1)
    assert len({each["message-id"] for each in mailbox.mails}) == 1
    assert (rows(engine)[0].tries, len(mailbox.mails)) == (3, 2)


async def test_a_server_that_is_away_for_an_hour_gets_the_mail_when_it_is_back(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    box = Mailbox()
    server = Serving(box)
    url = SecretStr(f"smtp://127.0.0.1:{box.port}")
    mailing = settings.model_copy(update={"smtp_url": url, "mail_from": "argosy@example.net"})
    launched(registered, stage)
    run(engine, State.FAILED)
    fill(engine)
    task = asyncio.create_task(Sender(engine, mailing).run())
    waits: list[float] = []
    while sum(waits) < 3600:
        tried = len(waits) + 1
        # Each wait is over at once: what was 5 s, 10 s, … ago is an hour in the end.
        await until(lambda: rows(engine)[0], after(tried), 20)
        (wait,) = sql(
            engine,
            "SELECT extract(epoch FROM next_try_at - clock_timestamp())::float8 AS left, tries FROM argosy.outbox",
        )
        waits.append(wait.left)
        sql(
            engine,
            f"UPDATE argosy.outbox SET reason = '', created_at = created_at - interval '{wait.left} s', next_try_at = now()",
        )
    assert 9 <= len(waits) <= 11, "ever less often"
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))
    await server.start()
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now()")
    await shut(engine, 1)
    assert len(box.mails) == 1
    assert rows(engine)[0].sent_at is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await server.stop()


async def test_a_process_that_is_killed_when_the_server_has_the_mail_sends_it_again_with_the_same_id(
    registered: Client, stage: Launching, engine: Engine, mailing: Settings, mailbox: Mailbox, valkey: str
) -> None:
    launched(registered, stage)
    run(engine, State.FAILED)
    environment = exported(mailing) | {
        "ARGOSY_REDIS_URL": valkey,
        "ARGOSY_SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "ARGOSY_MAIL_FROM": "argosy@example.net",
    }
    with started("tracker", environment=environment | {"ARGOSY_FAILPOINTS": "notify.taken=kill"}) as victim:
        await until(victim.poll, lambda code: code is not None, 60)
    assert (len(mailbox.mails), rows(engine)[0].open) == (1, True)
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now()")  # its claim is over
    with started("tracker", environment=environment):
        await shut(engine, 1)
    assert len(mailbox.mails) == 2
    assert len({each["message-id"] for each in mailbox.mails}) == 1


@pytest.mark.parametrize(
    ("answer", "final"),
    [("550 5.1.1 no such user", True), ("530 5.7.0 authenticate", False), ("450 4.2.1 later", False)],
)
async def test_what_a_server_says_of_the_recipient_is_given_up_only_where_it_is_for_good(
    mailing: Settings, mailbox: Mailbox, answer: str, final: bool
) -> None:
    mailbox.rcpt = lambda _: answer
    with pytest.raises(Undelivered, match=answer[4:]) as error:
        await Mails(mailing).deliver(mail())
    assert error.value.final is final


async def test_a_mail_that_is_too_large_goes_without_what_it_attaches(
    mailing: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argosy.notify.attachments import Fetched

    def fetched(*_: object) -> Fetched:
        return Fetched([("big.bin", b"x" * 100)])

    monkeypatch.setattr("argosy.notify.attachments.fetch", fetched)
    mailbox.data = lambda n: "552 5.3.4 too large" if n == 1 else "250 OK"
    wanted = mail(attachments=[{"key": "big", "name": "big.bin"}])
    assert "takes no mail that large" in await Mails(mailing).deliver(wanted)
    assert "[left out: big.bin: the mail server takes no mail that large]" in mailbox.mails[1].get_content()


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # it does not count TLS from the first byte
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_elsewhere_is_spoken_to_over_tls_with_its_password(
    settings: Settings, secured: Certificate, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    box = Mailbox()
    options: dict[str, Any] = {"authenticator": authenticate, "auth_required": True}
    if scheme == "smtp":
        server = Serving(box, tls_context=secured.context, require_starttls=True, **options)
    else:
        server = Serving(box, secured.context, auth_require_tls=False, **options)
    await server.start()
    monkeypatch.setenv("SSL_CERT_FILE", secured.ca)
    url = f"{scheme}://argosy:pass%3Aword%2Fthat%20must%20never%20come%20out@127.0.0.1:{box.port}"
    mailing = settings.model_copy(update={"smtp_url": SecretStr(url), "mail_from": "argosy@example.net"})
    await Mails(mailing).deliver(mail())
    assert [each["to"] for each in box.mails] == ["ann@example.org"]
    assert scheme == "smtps" or box.encrypted == [True]
    wrong = mailing.model_copy(update={"smtp_url": SecretStr(url.replace("pass", "fail"))})
    with pytest.raises(Undelivered, match="535") as error:
        await Mails(wrong).deliver(mail())
    assert not error.value.final
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Undelivered, match=r"(?i)certificate"):
        await Mails(mailing).deliver(mail())
    await server.stop()


async def test_no_password_goes_to_a_server_without_tls_and_none_comes_out(
    settings: Settings, mailbox: Mailbox
) -> None:
    url = SecretStr(f"smtp://argosy:pass%3Aword%2Fthat%20must%20never%20come%20out@127.0.0.1:{mailbox.port}")
    mailing = settings.model_copy(update={"smtp_url": url, "mail_from": "argosy@example.net"})
    with pytest.raises(Undelivered, match="STARTTLS") as error:
        await Mails(mailing).deliver(mail())
    assert mailbox.mails == []
    assert (
        server_of(mailing.model_copy(update={"smtp_url": SecretStr("smtp://mail.example.org")})).start_tls is not None
    )
    assert PASSWORD not in f"{error.value} {server_of(mailing)}"


@pytest.mark.parametrize("url", ["mail.example.org", "smtp://", "http://h", "smtp://h:x", "smtp://h/path"])
def test_a_mail_server_that_cannot_be_used_is_refused_without_its_password(settings: Settings, url: str) -> None:
    wrong = settings.model_copy(update={"smtp_url": SecretStr(url), "mail_from": "a@b"})
    with pytest.raises(NotConfigured, match="ARGOSY_SMTP_URL"):
        server_of(wrong)


async def test_mails_go_only_to_domains_that_the_operator_lists(mailing: Settings, mailbox: Mailbox) -> None:
    narrow = mailing.model_copy(update={"mail_domains": ["Example.org"]})
    await Mails(narrow).deliver(mail())
    with pytest.raises(Undelivered, match="ARGOSY_MAIL_DOMAINS") as error:
        await Mails(narrow).deliver(mail("ann@example.com"))
    assert (error.value.final, len(mailbox.mails)) == (True, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipients", ["a@b.org\r\nBcc: x@evil.org"]),
        ("recipients", ["Ann\r\nBcc: x@evil.org <a@b.org>"]),
        ("recipients", ["a@b.org, x@evil.org"]),
        ("recipients", ["<a@b.org> <x@evil.org>"]),
        ("recipients", ["a@b.org>\nRCPT TO:<x@evil.org"]),
        ("recipients", ["@"]),
        ("recipients", ["é@example.org"]),
        ("recipients", []),
        ("recipients", ["a@b.org"] * 51),
        ("subject", "a\nBcc: x@evil.org"),
        ("subject", "a\u2028Bcc: x@evil.org"),
        ("subject", "a\0"),
        ("recipients", ["=?utf-8?q?Ann=0ABcc:_x=40evil.org?= <a@b.org>"]),
        ("recipients", ["=?utf-8?q?a=0D=0ABcc=3A_x?=@b.org"]),
        ("subject", "=?utf-8?q?a=0ABcc:_x@evil.org?="),
        ("text", "a\0"),
        ("text", "\ud800"),
        ("attachments", [{"key": "k", "name": "../x"}]),
        ("attachments", [{"key": "k", "name": "=?utf-8?q?x=0AX:_1?="}]),
        ("attachments", [{"key": "k", "name": 'x"\r\nContent-Type: text/html'}]),
    ],
)
def test_what_would_add_a_header_or_a_recipient_is_refused(registered: Client, field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"failure_email_spec.{field}"):
        registered.launch("hello", project=1, user=7, media_ids=[1], failure_email_spec=FAILURE | {field: value})
    assert registered.launches() == []


@pytest.fixture
def store() -> Iterator[PlatformServer]:
    with platform() as server:
        server.uploads["mine"] = b"a,b\n1,2\n"
        yield server


@pytest.fixture
def attaching(mailing: Settings, store: PlatformServer) -> Settings:
    return mailing.model_copy(update={"rest_url": store.rest, "host": store.url})


ATTACHED = FAILURE | {"attachments": [{"key": "mine", "name": "räsult.csv"}, {"key": "gone", "name": "gone.csv"}]}


async def test_what_a_mail_attaches_is_fetched_with_the_users_token_which_is_then_forgotten(
    registered: Client, stage: Launching, engine: Engine, mailbox: Mailbox, store: PlatformServer, attaching: Settings
) -> None:
    launched(registered, stage, failure_email_spec=ATTACHED, token=FULL)
    run(engine, State.FAILED)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 0, "its end is not told"
    fill(engine)
    with engine.begin() as connection:
        assert secrets.wipe_tokens(connection) == 1
    (row,) = rows(engine)
    note = await Mails(attaching).deliver(outbox.Notification(**_notification(row)))
    assert "gone.csv" in note
    (told,) = mailbox.mails
    (attached,) = told.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("räsult.csv", b"a,b\n1,2\n")
    body = told.get_body()
    assert body is not None
    assert "[left out: gone.csv: not there" in body.get_content()
    with engine.begin() as connection:
        outbox.sent(connection, outbox.Notification(**_notification(row)))
    assert rows(engine)[0].token_sealed is None


def _notification(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in outbox.Notification.__dataclass_fields__}


async def test_a_platform_that_is_away_delays_a_mail_and_does_not_keep_it_back(
    attaching: Settings, mailbox: Mailbox, store: PlatformServer
) -> None:
    store.status = 503
    wanted = replace(mail(attachments=[{"key": "mine", "name": "x.csv"}]), token_sealed=None)
    with pytest.raises(Undelivered, match="503"):
        await Mails(attaching).deliver(wanted)
    assert "x.csv" in await Mails(attaching).deliver(replace(wanted, tries=10))
    assert "[left out: x.csv: attachments: HTTP 503]" in mailbox.mails[0].get_content()


async def test_nothing_is_attached_from_a_host_that_is_not_the_platforms(
    attaching: Settings, mailbox: Mailbox, store: PlatformServer
) -> None:
    elsewhere = attaching.model_copy(
        update={"host": "https://platform.example", "rest_url": store.rest.replace("127.0.0.1", "localhost")}
    )
    wanted = mail(attachments=[{"key": "mine", "name": "x.csv"}])
    asked = replace(wanted, token_sealed=_sealed(elsewhere))
    assert "not one that uploads are fetched from" in await Mails(elsewhere).deliver(asked)


def _sealed(settings: Settings) -> bytes:
    from argosy.crypto import seal_token

    return seal_token(FULL, settings.token_public_key or "")


def test_a_callers_mails_are_bounded_and_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from argosy.errors import QueueFull

    monkeypatch.setattr("argosy.store.outbox._MAILS_MOST", 3)
    spec = EmailSpec.model_validate(SUCCESS)
    with engine.begin() as connection:
        outbox.mail(connection, 1, spec, b"sealed")
        outbox.mail(connection, 2, spec, None)
        with pytest.raises(QueueFull, match="2 mails of project 1 wait"):
            outbox.mail(connection, 1, spec, None)
        assert outbox.forget(connection, 1) == 0
    assert {row.token_sealed for row in rows(engine)} == {None}, "nothing is attached"
    sql(engine, "UPDATE argosy.outbox SET open = false, created_at = now() - interval '2 days' WHERE project = 1")
    with engine.begin() as connection:
        assert outbox.forget(connection, 1) == 2
    assert {row.project for row in rows(engine)} == {2}


async def test_the_command_says_how_a_mail_went(mailing: Settings, mailbox: Mailbox) -> None:
    environment = exported(mailing) | {
        "ARGOSY_SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "ARGOSY_MAIL_FROM": "argosy@example.net",
    }
    code, out, err = await command_output("mail test ann@example.org", environment)
    assert (code, err) == (0, "")
    assert out == (
        f"127.0.0.1:{mailbox.port} (STARTTLS if offered) has taken a mail from argosy@example.net to ann@example.org\n"
    )
    assert [each["to"] for each in mailbox.mails] == ["ann@example.org"]
    mailbox.rcpt = lambda _: "550 5.1.1 no such user"
    code, _, err = await command_output("mail test ann@example.org", environment)
    assert (code, err) == (1, f"argosy: error: 127.0.0.1:{mailbox.port}: 550 5.1.1 no such user\n")


async def test_a_mail_that_argosy_cannot_make_is_tried_ever_less_often_and_says_why(
    engine: Engine, sending: None
) -> None:
    put = "INSERT INTO argosy.outbox (project, kind, recipient, key, body) VALUES (1, 'email', 'a@b.org', 'k', '{}')"
    sql(engine, put)
    (row,) = await until(lambda: rows(engine), lambda found: bool(found[0].reason), 20)
    assert (row.open, row.tries, row.reason) == (True, 1, "a defect of argosy (KeyError); its log has more")
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now(), created_at = now() - interval '4 days'")
    await shut(engine, 1)


async def test_mails_whose_attachments_hang_delay_no_others(
    engine: Engine, attaching: Settings, mailbox: Mailbox, store: PlatformServer
) -> None:
    """Found by a hostile reader: a mail that attaches nothing waited for a thread behind those that do."""
    store.gate.clear()
    body = {"name": "", "subject": "s", "text": "t"}
    slow = body | {"attachments": [{"key": "mine", "name": "x"}]}
    common = {"kind": "email", "gid": None, "token": None, "recipient": "ann@example.org"}
    with engine.begin() as connection:
        outbox.put(connection, [common | {"project": n, "key": f"slow{n}", "body": slow} for n in range(2, 10)])
    task = asyncio.create_task(Sender(engine, attaching).run())
    try:
        await until(lambda: len(store.asked), lambda count: count >= 4, 20)
        with engine.begin() as connection:
            outbox.put(connection, [common | {"project": 1, "key": "quick", "body": body}])
        await until(lambda: mailbox.mails, bool, 60)
        assert [row.key for row in rows(engine) if row.reason] == [], "nobody waited for what hangs"
    finally:
        store.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_mail_waits_for_its_attachments_no_longer_than_it_is_its_senders(
    attaching: Settings, mailbox: Mailbox, store: PlatformServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: it waited for a thread until others were given it, too, and was sent by each."""
    monkeypatch.setattr("argosy.notify.mail._FETCHING", 0.5)
    mails, wanted = Mails(attaching), mail(attachments=[{"key": "mine", "name": "x.csv"}])
    store.gate.clear()
    try:
        with pytest.raises(Undelivered, match="not fetched within"):
            await mails.deliver(wanted)
        assert "x.csv: attachments: not fetched" in await mails.deliver(replace(wanted, tries=10))
    finally:
        store.gate.set()
        await mails.close()
