"""A real mail server that keeps what it gets, and answers as a test wants."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import trustme
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from argosy.demo.embedded import free_ports

PASSWORD = "pass:word/that must never come out"


@dataclass
class Mailbox:
    """What came, and how the server answers: `rcpt` and `data` are its words; with `kept`, a mail is kept whatever it then says."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str | None, list[str]]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    tries: int = 0
    rcpt: Callable[[int], str] = lambda _: "250 OK"
    data: Callable[[int], str] = lambda _: "250 OK"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        self.tries += 1
        answer = self.rcpt(self.tries)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.data(len(self.mails) + 1)
        self.mails.append(message_from_bytes(cast(bytes, envelope.content), policy=default))
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        self.encrypted.append(session.ssl is not None)
        return answer


def authenticate(_: SMTP, __: Session, ___: Envelope, ____: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"argosy", PASSWORD.encode())
    return AuthResult(success=good, handled=False)


class Serving:
    """A server that can be taken away, and comes back on the same port.

    Args:
        mailbox: What it keeps.
        context: For TLS from the first byte.
        options: Of the server.
    """

    def __init__(self, mailbox: Mailbox, context: ssl.SSLContext | None = None, **options: Any) -> None:
        self._mailbox, self._context, self._options = mailbox, context, options
        mailbox.port = free_ports(1)[0]

    async def start(self) -> None:
        options = dict(hostname="127.0.0.1", port=self._mailbox.port, ssl_context=self._context, **self._options)
        self._controller = UnthreadedController(self._mailbox, loop=asyncio.get_running_loop(), **options)
        self._controller.server = await self._controller._create_server()

    async def stop(self) -> None:
        assert self._controller.server is not None
        self._controller.server.close()


@dataclass
class Certificate:
    """A certificate of localhost, and the CA that signed it as a file."""

    context: ssl.SSLContext
    ca: str


@contextmanager
def certificate() -> Iterator[Certificate]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile() as ca:
        yield Certificate(context, ca)
