"""A small API server with the REST reference's media list, for what asks it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import sleep
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass
class ApiServer:
    """What it serves and what it was asked; `status` other than 200 makes it fail, it thinks for `pause` seconds, and hangs while `gate` is
    not set."""

    url: str = ""
    media: list[int] = field(default_factory=list)
    status: int = 200
    pause: float = 0.0
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    answer: bytes | None = None
    gate: Event = field(default_factory=Event)


@contextmanager
def serving() -> Iterator[ApiServer]:
    state = ApiServer()
    state.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            state.asked.append(query)
            state.tokens.append(self.headers.get("Authorization", ""))
            state.gate.wait()
            after = int(query.get("after", ["-1"])[0])
            page = [{"id": i} for i in state.media if i > after][: int(query["stop"][0])]
            body = orjson.dumps(page) if state.answer is None else state.answer
            sleep(state.pause)
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            with suppress(OSError):  # who asked may have gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/rest"
    try:
        yield state
    finally:
        state.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
