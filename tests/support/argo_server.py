"""A stand-in for an Argo Server, or for what may answer in its place: over TLS, with answers that the test says."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

from argosy.kube.connection import Access
from argosy.network.guard import inside
from tests.support.hosts import HERE

GATEWAY = {"Grpc-Metadata-Content-Type": "application/grpc", "Content-Type": "application/json"}
"""Headers of Argo Server's own answers."""


@dataclass(frozen=True)
class Answer:
    """One answer; `pieces` are sent one by one, with `pause` seconds after each."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None
    pause: float = 0.0


def said(status: int, code: int, message: str) -> Answer:
    """An error of Argo Server."""
    return Answer(status, json.dumps({"code": code, "message": message}).encode(), GATEWAY)


def given(document: Any) -> Answer:
    """A document of Argo Server."""
    return Answer(200, json.dumps(document).encode(), GATEWAY)


def workflow(name: str, k8s_uid: str, phase: str = "Succeeded", **status: Any) -> dict[str, Any]:
    """A workflow with one node, as Argo Server gives it."""
    node = {"id": name, "name": name, "displayName": name, "type": "Pod", "phase": phase}
    metadata = {"name": name, "uid": k8s_uid, "namespace": "argosy", "resourceVersion": "1", "labels": {}}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, "nodes": {name: node}} | status}


class StandIn:
    """The server; `answer` is asked with each request's path, `asked` are the paths, `tokens` what was sent as Authorization."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Answer] = lambda path: Answer(404)
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.access = Access("hostile", "argosy", "127.0.0.1", guard=inside(HERE))


@contextmanager
def stand_in(token: str = "the-token") -> Iterator[StandIn]:
    """Run one until the end of the block."""
    found = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append(self.path)
            found.tokens.add(self.headers.get("Authorization", ""))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = found.answer(self.path)
            try:
                self._send(answer)
            except OSError:
                self.close_connection = True  # the caller has read enough

        do_POST = do_GET  # noqa: N815 -- the name that is called

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.pieces is None:
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
                return
            self.send_header("Connection", "close")
            self.close_connection = True
            self.end_headers()
            for piece in answer.pieces:
                self.wfile.write(piece)
                time.sleep(answer.pause)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    ca, url = authority.cert_pem.bytes().decode(), f"https://127.0.0.1:{server.server_port}"
    found.access = Access("hostile", "argosy", "127.0.0.1", 443, ca, token, url, ca, guard=inside(HERE))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
