"""What argosy says to a mail server, and what it makes of the answers: TLS, passwords, refusals, and where it may send."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from argosy.errors import NotConfigured
from argosy.notify.delivery import Undelivered
from argosy.notify.mail import Mails, server_of
from argosy.settings import Settings
from tests.support.cli import command_output
from tests.support.mailbox import PASSWORD, Certificate, Mailbox, Serving, authenticate, certificate
from tests.support.mailing import mail, mailbox, mailing
from tests.support.readme import exported

__all__ = ["mailbox", "mailing"]


@pytest.fixture(scope="module")
def secured() -> Iterator[Certificate]:
    with certificate() as found:
        yield found


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
