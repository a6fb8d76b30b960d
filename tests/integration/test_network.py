"""Servers that are asked for somebody else: where a request goes, whatever names and addresses say, and how much of an answer is read."""

import asyncio
import gzip
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import trustme
from pydantic import SecretStr
from yarl import URL

from argosy import crypto
from argosy.kube import answers
from argosy.network.guard import ForbiddenAddress, inside
from argosy.network.http import Http, TooLarge, Unanswered
from argosy.notify.delivery import Undelivered
from argosy.notify.webhook import Webhooks
from argosy.settings import Settings
from argosy.store.outbox import Notification
from tests.conftest import ROOT
from tests.support.hosts import HERE

SECRET = "t0ken-of-the-user"


@pytest.fixture(scope="module")
def told() -> Any:
    """What came of requests to names whose server says now this, now that."""
    command = ["unshare", "--map-root-user", "--net", "--mount", sys.executable, "-m", "tests.support.names"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    if b"unshare" in ended.stderr and not ended.stdout:
        pytest.skip(f"no network of its own may be made here: {ended.stderr.decode()}")
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)


WAYS = ["thread", "tenant", "webhook", "cluster"]


@pytest.mark.parametrize("way", WAYS)
def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(told: Any, way: str) -> None:
    for case in ("public", "first public, then here"):
        found = told[f"{way}: {case}"]
        assert (found["met"], found["asked"]) == (["93.184.216.34"], 1), found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("case", "why"), [("here", "this machine"), ("metadata", "never called"), ("one of two here", "this machine")]
)
def test_a_name_that_leads_where_nobody_may_go_is_connected_to_nowhere(
    told: Any, way: str, case: str, why: str
) -> None:
    found = told[f"{way}: {case}"]
    assert found["met"] == []
    assert why in found["said"]


def test_a_private_network_is_for_clusters_and_the_platform_only(told: Any) -> None:
    found = {way: told[f"{way}: private"] for way in WAYS}
    assert {way: each["met"] for way, each in found.items()} == {
        "thread": ["10.9.8.7"], "cluster": ["10.9.8.7"], "tenant": [], "webhook": [],
    }  # fmt: skip
    assert all("not public" in found[way]["said"] for way in ("tenant", "webhook"))


Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[URL]:
    """A server that treats each connection so, once it has read the request's head."""
    done = Event()

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            seen = b""
            while b"\r\n\r\n" not in seen:
                if not (data := connection.recv(4096)):
                    return
                seen += data
            serve(connection)
            done.wait(0.5)

    def accept() -> None:
        with suppress(OSError):
            while True:
                Thread(target=handle, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield URL(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            done.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def said(head: str, body: bytes = b"") -> Serve:
    return lambda connection: connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)


def dripping(beginning: bytes, drop: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(drop)
            Event().wait(0.02)

    return serve


def ask(serve: Serve, limit: int = 1000, seconds: float = 5, packed: bool = False) -> Any:
    with serving(serve) as url, Http(inside(HERE)) as http:
        return http.request("GET", url, {"Authorization": SECRET}, limit=limit, seconds=seconds, packed=packed)


@pytest.mark.parametrize(
    "serve",
    [
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        lambda connection: Event().wait(2),
    ],
    ids=["head", "chunks", "body", "silence"],
)
def test_a_server_that_drips_holds_nobody_longer_than_was_wanted(serve: Serve) -> None:
    with pytest.raises(Unanswered, match="no whole answer within 1 s"):
        ask(serve, limit=1 << 30, seconds=1)


def test_no_more_is_read_than_was_wanted() -> None:
    endless = dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n")
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        ask(endless)
    bomb = gzip.compress(bytes(100 << 20))
    packed = f"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}"
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        ask(said(packed, bomb), packed=True)
    with pytest.raises(Unanswered, match="encoded as gzip, which was not asked for"):
        ask(said(packed, bomb))
    with pytest.raises(Unanswered, match="ends too early"):
        ask(said("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 15", gzip.compress(b"x" * 500)[:15]), packed=True)


def test_what_fits_is_read_whole_packed_or_not() -> None:
    body = bytes(range(250)) * 4
    small = gzip.compress(body)
    assert ask(said(f"200 OK\r\nContent-Length: {len(body)}", body)).body == body
    assert (
        ask(said(f"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(small)}", small), packed=True).body == body
    )


def test_of_an_error_the_message_is_shown_and_no_other_part_of_the_body() -> None:
    body = json.dumps({"message": f"no\x00 \x1b[31m{SECRET} " + "x" * 1000, "secret": "of the network"}).encode()
    answer = ask(said(f"403 Forbidden\r\nContent-Length: {len(body)}", body))
    message = answer.message([SECRET])
    assert message.startswith("no\ufffd [31m… xxx")
    assert (len(message), answer.status) == (300, 403)
    page = ask(said("500 No\r\nContent-Length: 5", b"<html"))
    assert page.message([]) == ""


def test_no_redirect_is_followed() -> None:
    with serving(said("200 OK\r\nContent-Length: 0")) as other:
        assert ask(said(f"302 Found\r\nLocation: {other}\r\nContent-Length: 0")).status == 302


@pytest.mark.parametrize("token", ["a\r\nX: y", "a\x00", "é\u2028", "a\nb"])
def test_what_cannot_be_sent_is_not_told(token: str) -> None:
    with serving(said("200 OK\r\nContent-Length: 0")) as url, Http(inside(HERE)) as http:
        with pytest.raises(Unanswered) as error:
            http.request("GET", url, {"Authorization": f"Token {token}"}, limit=9, seconds=5)
    assert token not in str(error.value)
    assert (error.value.__cause__, error.value.__suppress_context__) == (None, True)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(said("502 Proxy\r\nContent-Length: 0")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, str(proxy))
        assert ask(said("200 OK\r\nContent-Length: 0")).status == 200


def test_a_certificate_of_an_unknown_authority_or_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

    def fails(match: str) -> None:
        with Http(inside(HERE)) as http, pytest.raises(Unanswered, match=match):
            http.request("GET", url, limit=9, seconds=5)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = URL(f"https://localhost:{listening.getsockname()[1]}/")
        thread = Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        fails("certificate verify failed")
        with authority.cert_pem.tempfile() as file:
            monkeypatch.setenv("SSL_CERT_FILE", file)
            fails("Hostname mismatch|not valid for 'localhost'")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_address_that_may_not_be_asked_is_not_asked() -> None:
    with serving(said("200 OK\r\nContent-Length: 0")) as url, Http(inside()) as http:
        for each in (url, url.with_scheme("https"), url.with_host("localhost").with_scheme("https"), URL("/rest")):
            with pytest.raises(ForbiddenAddress):
                http.request("GET", each, limit=9, seconds=5)


BANNER = b"SSH-2.0-OpenSSH_9.2 build-host-17"


@pytest.mark.parametrize(
    "said",
    [
        BANNER + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + BANNER + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BANNER + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Said: " + BANNER * 300 + b"\r\n\r\n",
    ],
)
async def test_what_a_server_of_another_protocol_says_is_not_told(said: bytes) -> None:
    """Found by a hostile reader: a webhook or a cluster at a server that is no web server showed its banner."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, HERE[0], 0)
    address = f"http://{HERE[0]}:{server.sockets[0].getsockname()[1]}/"
    settings = Settings(
        database_url=SecretStr("postgresql://"),
        webhook_key=SecretStr(crypto.new_keys()["ARGOSY_WEBHOOK_KEY"]),
        webhook_hosts=HERE,
    )
    told = []
    webhooks = Webhooks(settings)
    try:
        await webhooks.deliver(Notification(1, UUID(int=1), 1, "webhook", address, "k", {}, 1))
    except Undelivered as error:
        told.append(str(error))
    finally:
        await webhooks.close()
    async with aiohttp.ClientSession() as session:
        try:
            await (await session.get(address)).read()
        except aiohttp.ClientError as error:
            told.append(str(answers.of_exception(error)))
    with Http(inside(HERE)) as http:
        try:
            await asyncio.to_thread(http.request, "GET", URL(address), limit=100, seconds=5)
        except Unanswered as error:
            told.append(str(error))
    server.close()
    assert told
    assert "build-host" not in "".join(told)
