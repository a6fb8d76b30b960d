"""Mails at the end of launches, on a real mail server: once for each end and recipient, whatever happens on the way."""

import asyncio
from itertools import pairwise

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import InvalidRequest, QueueFull
from argosy.launch.expand import Launching
from argosy.notify.sender import Sender
from argosy.settings import Settings
from argosy.shapes.mails import EmailSpec
from argosy.states import State
from argosy.store import outbox
from tests.support.cli import started
from tests.support.jobs import registered, run, stage
from tests.support.mailbox import Mailbox, Serving
from tests.support.mailing import (
    FAILURE,
    SUCCESS,
    after,
    fill,
    holding,
    launched,
    mailbox,
    mailing,
    rows,
    sending,
    shut,
    words,
)
from tests.support.queues import sql
from tests.support.readme import exported
from tests.support.stack import until

__all__ = ["mailbox", "mailing", "registered", "sending", "stage"]


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


def test_a_callers_mails_are_bounded_and_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_mail_that_argosy_cannot_make_is_tried_ever_less_often_and_says_why(
    engine: Engine, sending: None
) -> None:
    put = "INSERT INTO argosy.outbox (project, kind, recipient, key, body) VALUES (1, 'email', 'a@b.org', 'k', '{}')"
    sql(engine, put)
    (row,) = await until(lambda: rows(engine), lambda found: bool(found[0].reason), 20)
    assert (row.open, row.tries, row.reason) == (True, 1, "a defect of argosy (KeyError); its log has more")
    sql(engine, "UPDATE argosy.outbox SET next_try_at = now(), created_at = now() - interval '4 days'")
    await shut(engine, 1)
