"""One mail: through the operator's mail server, over TLS, with the same Message-ID at each try, so that a repetition is recognised: a
process that dies between the server's answer and its own record sends again.

Each recipient gets a mail of their own. What the server refuses for good (a 5xx about the recipient or the content) is given up; everything
else, greylisting and wrong settings too, is tried again, ever less often, for three days.
"""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import aiosmtplib

from argosy.errors import NotConfigured
from argosy.inputs import clean
from argosy.notify import attachments
from argosy.notify.attachments import Fetched
from argosy.notify.delivery import Undelivered
from argosy.settings import Settings
from argosy.shapes.mails import split_recipient
from argosy.store.outbox import Notification

_SECONDS = 30.0
"""For what is said with the mail server; with `_FETCHING` it ends before the outbox gives the row to somebody else."""

_FETCHING = 25.0
"""Seconds for what a mail attaches, waiting for a thread included."""

_PATIENT = 9
"""Tries, in about 40 minutes, after which a mail goes without what cannot be fetched."""

_UNAUTHORIZED = (530, 535)
"""The server wants another user or password: the operator's to mend, and no word about the recipient."""

_THREADS = 4
"""In which attachments are fetched: the process's own work with the database."""

_TOO_LARGE = 552


@dataclass(frozen=True)
class Server:
    """A mail server, and in whose name it gets mails. `tls` is from the first byte; else by STARTTLS, which only a server on this host may
    lack."""

    host: str
    port: int
    tls: bool
    user: str
    password: str = field(repr=False)
    sender: Address

    @property
    def start_tls(self) -> bool | None:
        """Whether to insist on STARTTLS; None: use it where it is offered."""
        return False if self.tls else None if _loopback(self.host) and not self.password else True


def server_of(settings: Settings) -> Server:
    """The mail server that the settings name.

    Raises:
        NotConfigured: They name none, or one that cannot be used.
    """
    if settings.smtp_url is None or not settings.mail_from:
        raise NotConfigured(
            "ARGOSY_SMTP_URL and ARGOSY_MAIL_FROM must be set to send mails; then try: argosy mail test"
        )
    try:
        url = urlsplit(settings.smtp_url.get_secret_value())
        if url.scheme not in ("smtp", "smtps") or not url.hostname or url.path.strip("/") or url.query or url.fragment:
            raise ValueError
        tls = url.scheme == "smtps"
        port = url.port or (465 if tls else 587)
    except ValueError:
        # Not chained: the text would hold the password.
        raise NotConfigured(
            "ARGOSY_SMTP_URL: must be smtps://user:password@host:465 or smtp://user:password@host:587, special characters of the password "
            "as %XX"
        ) from None
    try:
        name, address = split_recipient(settings.mail_from)
    except ValueError as error:
        raise NotConfigured(f"ARGOSY_MAIL_FROM: {error}") from error
    user, password = unquote(url.username or ""), unquote(url.password or "")
    return Server(url.hostname, port, tls, user, password, Address(name, addr_spec=address))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Mails:
    """Delivers mails.

    Args:
        settings: The mail server, the sender, and to which domains mails may go.
    """

    kind = "email"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, "attachments")

    async def close(self) -> None:
        """Close it; nothing stays open between two mails."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def deliver(self, notification: Notification) -> str:
        """See `Delivery.deliver`."""
        server = server_of(self._settings)
        check_domain(self._settings, notification.recipient)
        fetched = await self._fetched(notification)
        try:
            async with asyncio.timeout(_SECONDS):
                fetched = await _taken(server, notification, fetched)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _undelivered(server, error) from None
        return "; ".join(f"left out: {each}" for each in fetched.missing)

    async def _fetched(self, notification: Notification) -> Fetched:
        wanted = notification.body.get("attachments")
        if not wanted:
            return Fetched()
        work = partial(attachments.fetch, self._settings, notification.project, notification.token_sealed, wanted)
        try:
            async with asyncio.timeout(_FETCHING):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (attachments.NotFetched, TimeoutError) as error:
            why = str(error) or f"attachments: not fetched within {_FETCHING:.0f} s"
            if notification.tries <= _PATIENT:
                raise Undelivered(why) from error
            return Fetched(missing=[f"{each['name']}: {why}" for each in wanted])


def check_domain(settings: Settings, address: str) -> None:
    """Check that mails may go to an address.

    Raises:
        Undelivered: They may not.
    """
    allowed = settings.mail_domains
    if allowed and address.rpartition("@")[2] not in {domain.lower() for domain in allowed}:
        raise Undelivered(f"{address}: its domain is not in ARGOSY_MAIL_DOMAINS", final=True)


def _without(fetched: Fetched, why: str) -> Fetched:
    return Fetched(missing=[*fetched.missing, *(f"{name}: {why}" for name, _ in fetched.files)])


def compose(sender: Address, notification: Notification, fetched: Fetched) -> bytes:
    """A mail as bytes. Its headers are made by the standard library, which refuses line ends in them (T30)."""
    message = EmailMessage(policy=SMTP_POLICY)
    body = notification.body
    message["From"] = sender
    message["To"] = Address(body["name"], addr_spec=notification.recipient)
    message["Subject"] = body["subject"]
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{_id(notification)}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # no automatic answer, please (RFC 3834)
    notes = "".join(f"\n\n[left out: {each}]" for each in fetched.missing)
    message.set_content(body["text"] + notes)
    _attach(message, fetched.files)
    return message.as_bytes()


def _id(notification: Notification) -> str:
    """The same at each try; short enough for one line."""
    return sha256(f"{notification.key} {notification.recipient}".encode()).hexdigest()[:40]


def _attach(message: EmailMessage, files: Sequence[tuple[str, bytes]]) -> None:
    for name, content in files:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)


async def _taken(server: Server, notification: Notification, fetched: Fetched) -> Fetched:
    """Send a mail, without what it attaches if it is too large with it. Returns what went with it."""
    try:
        await _send(server, notification, fetched)
        return fetched
    except aiosmtplib.SMTPResponseException as error:
        if error.code != _TOO_LARGE or not fetched.files:
            raise
    fetched = _without(fetched, "the mail server takes no mail that large")
    await _send(server, notification, fetched)
    return fetched


async def _send(server: Server, notification: Notification, fetched: Fetched) -> None:
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.user or None,
        password=server.password or None,
        use_tls=server.tls,
        start_tls=server.start_tls,
        tls_context=ssl.create_default_context(),
        local_hostname=socket.gethostname(),  # the library's default asks a name server, and waits for it
        timeout=_SECONDS,
    )
    content = compose(server.sender, notification, fetched)
    try:
        await client.connect()
        await client.sendmail(server.sender.addr_spec, [notification.recipient], content)
    finally:
        client.close()


def _undelivered(server: Server, error: Exception) -> Undelivered:
    """What went wrong, without the password, which a server may repeat."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    said = isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)
    login = f"\0{server.user}\0{server.password}"
    secrets = [server.password, *(b64encode(each.encode()).decode() for each in (server.password, login))]
    words = getattr(error, "message", "") or str(error)
    told = f"{code} {words}" if code else f"{type(error).__name__}: {words}"
    reason = clean(" ".join(told.split()), secrets if server.password else (), limit=300)
    return Undelivered(f"{server.host}:{server.port}: {reason}", said and code >= 500 and code not in _UNAUTHORIZED)
