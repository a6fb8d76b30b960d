"""A network of its own in which one name server says what it is told to: `python -m tests.support.names` prints what came of each request.

Run it within `unshare --net --mount`: it gives the loopback device a public and a private address, and puts its own resolv.conf in the
place of the machine's. So names go the way that they go in the field, through the C library.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from threading import Thread
from typing import Any
from uuid import UUID

import trustme
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from pydantic import SecretStr
from yarl import URL

from argosy import crypto
from argosy.errors import ArgosyError
from argosy.kube.connection import Access, Connection
from argosy.network.guard import Guard, inside, outside
from argosy.network.http import Http
from argosy.notify.webhook import Webhooks
from argosy.settings import Settings
from argosy.store.outbox import Notification

PUBLIC, PRIVATE, HERE = "93.184.216.34", "10.9.8.7", "127.0.0.1"
PORT = 443


class Names(BaseResolver):
    """Answers each question for an IPv4 address with the next of the answers, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked = 0

    def resolve(self, request: DNSRecord, handler: Any) -> Any:
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            self.asked += 1
            for address in self.answers[0]:
                reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=0, rdata=A(address)))
            del self.answers[: len(self.answers) > 1]
        return reply


def served(authority: trustme.CA) -> dict[str, int]:
    """Servers on all three addresses; how often each was connected to."""
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert("name.example").configure_cert(context)
    met = {PUBLIC: 0, PRIVATE: 0, HERE: 0}

    def handler(address: str) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"[]")

            do_POST = do_GET  # noqa: N815 -- the library's name

            def log_message(self, format: str, *args: object) -> None:
                return

        return Handler

    class Counting(ThreadingHTTPServer):
        def get_request(self) -> Any:
            met[str(self.server_address[0])] += 1
            return super().get_request()

    for address in met:
        server = Counting((address, PORT), handler(address))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        Thread(target=server.serve_forever, daemon=True).start()
    return met


def by_thread(guard: Guard) -> str:
    with Http(guard) as http:
        return str(http.request("GET", URL("https://name.example/"), limit=100, seconds=5).status)


def by_webhook(_: Guard) -> str:
    key = SecretStr(crypto.new_keys()["ARGOSY_WEBHOOK_KEY"])

    async def send() -> str:
        webhooks = Webhooks(Settings(database_url=SecretStr("postgresql://"), webhook_key=key))
        try:
            await webhooks.deliver(Notification(1, UUID(int=1), 1, "webhook", "https://name.example/", "k", {}, 1))
        finally:
            await webhooks.close()
        return "200"

    return asyncio.run(send())


def by_cluster(authority: trustme.CA) -> Callable[[Guard], str]:
    ca = authority.cert_pem.bytes().decode()

    async def ask(guard: Guard) -> str:
        access = Access("c", "argosy", "name.example", PORT, ca, "token", guard=guard)
        async with Connection(access) as connection:
            await connection.call("get", "workflows", "/")
        return "200"

    return lambda guard: asyncio.run(ask(guard))


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, PRIVATE):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "resolv.conf").write_text(f"nameserver {HERE}\noptions timeout:1 attempts:1\n")
        subprocess.run(["mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf"], check=True)
        authority, names = trustme.CA(), Names()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        os.environ["SSL_CERT_FILE"] = str(directory / "ca.pem")
        server = DNSServer(names, address=HERE, logger=DNSLogger(logf=lambda _: None))
        server.start_thread()
        met, found = served(authority), {}
        ways = {"thread": (by_thread, inside()), "tenant": (by_thread, outside()), "webhook": (by_webhook, outside()),
                "cluster": (by_cluster(authority), inside())}  # fmt: skip
        cases = {
            "public": [[PUBLIC]],
            "private": [[PRIVATE]],
            "here": [[HERE]],
            "metadata": [["169.254.169.254"]],
            "one of two here": [[PUBLIC, HERE]],
            "first public, then here": [[PUBLIC], [HERE]],
        }
        for way, (ask, guard) in ways.items():
            for case, answers in cases.items():
                names.answers, names.asked = list(answers), 0
                met.update(dict.fromkeys(met, 0))
                try:
                    said = ask(guard)
                except ArgosyError as error:
                    said = str(error)
                found[f"{way}: {case}"] = {
                    "said": said,
                    "met": [each for each, n in met.items() if n],
                    "asked": names.asked,
                }
        server.stop()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
