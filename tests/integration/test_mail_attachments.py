"""What a mail attaches: fetched from the platform, with the user's token, in a time of its own."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.crypto import seal_token
from argosy.launch.expand import Launching
from argosy.notify.attachments import Fetched
from argosy.notify.delivery import Undelivered
from argosy.notify.mail import Mails
from argosy.notify.sender import Sender
from argosy.settings import Settings
from argosy.states import State
from argosy.store import outbox, secrets
from tests.support.jobs import registered, run, stage
from tests.support.mailbox import Mailbox
from tests.support.mailing import FAILURE, fill, launched, mail, mailbox, mailing, rows
from tests.support.platform import FULL, PlatformServer, platform
from tests.support.stack import until

__all__ = ["mailbox", "mailing", "registered", "stage"]


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
    return seal_token(FULL, settings.token_public_key or "")


async def test_a_mail_that_is_too_large_goes_without_what_it_attaches(
    mailing: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: object) -> Fetched:
        return Fetched([("big.bin", b"x" * 100)])

    monkeypatch.setattr("argosy.notify.attachments.fetch", fetched)
    mailbox.data = lambda n: "552 5.3.4 too large" if n == 1 else "250 OK"
    wanted = mail(attachments=[{"key": "big", "name": "big.bin"}])
    assert "takes no mail that large" in await Mails(mailing).deliver(wanted)
    assert "[left out: big.bin: the mail server takes no mail that large]" in mailbox.mails[1].get_content()


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
