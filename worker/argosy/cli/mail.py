"""`argosy mail`: whether mails can be sent."""

from __future__ import annotations

from typing import Annotated

import typer

from argosy.cli.commands import App
from argosy.cli.session import configured
from argosy.errors import InvalidRequest

app = App(help="Mails at the end of launches.")


@app.callback()
def mail() -> None:
    """Mails at the end of launches."""


@app.command(
    epilog="""Example:

ARGOSY_SMTP_URL=smtps://user:password@mail.example.org ARGOSY_MAIL_FROM=argosy@example.org argosy mail test me@example.org"""
)
def test(recipient: Annotated[str, typer.Argument(help='Who gets it: "Name <mail>" or mail.')]) -> None:
    """Send a mail now, with the settings of this process, and say how it went. Run it where trackers run."""
    import asyncio
    from uuid import uuid4

    from argosy.notify.mail import Mails, server_of
    from argosy.shapes.mails import split_recipient
    from argosy.store.outbox import Notification

    settings = configured()
    server = server_of(settings)
    try:
        name, address = split_recipient(recipient)
    except ValueError as error:
        raise InvalidRequest(f"recipient: {error}") from error
    body = {"name": name, "subject": "A test of argosy's mails", "text": "argosy can send mails."}
    notification = Notification(0, None, 0, "email", address, f"test.{uuid4()}", body, 1)
    asyncio.run(Mails(settings).deliver(notification))
    way = "TLS" if server.tls else "STARTTLS" if server.start_tls else "STARTTLS if offered"
    typer.echo(f"{server.host}:{server.port} ({way}) has taken a mail from {server.sender.addr_spec} to {address}")
