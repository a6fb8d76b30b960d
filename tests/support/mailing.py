"""Mails on a real mail server: what the tests of them have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.notify.sender import Sender
from argosy.settings import Settings
from argosy.store import outbox, telling
from tests.support.mailbox import Mailbox, Serving
from tests.support.queues import sql
from tests.support.stack import until

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
