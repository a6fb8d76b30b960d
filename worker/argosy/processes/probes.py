"""The server for those who watch a process: /livez, /readyz and /metrics, the same in every process.

Each connection has a thread of its own and a few seconds, and the oldest one is closed where there are too many: whoever only connects and
says nothing keeps no probe from being answered, or the kubelet would restart a healthy pod (F23).
"""

import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SHUT_RDWR, socket
from socketserver import TCPServer
from threading import Lock, Thread
from typing import Any

import structlog
from prometheus_client import MetricsHandler

from argosy.processes import exposition

log = structlog.stdlib.get_logger(__name__)

Faults = Callable[[], Sequence[str]]
"""Says what is wrong, in words; nothing is wrong if it says nothing."""

_SECONDS = 5.0
"""For which a connection may be silent."""

_CONNECTIONS = 64
"""Open at a time."""


def serve(host: str, port: int, dead: Faults, unready: Faults) -> int:
    """Serve the probes and the metrics of this process, or pool of processes, in threads of their own.

    Args:
        host: Address to listen on.
        port: Port, 0 for any free one.
        dead: What shows no sign of life; if there is anything, /livez answers 503 with it, else 200.
        unready: Why it cannot do its work; if there is anything, /readyz answers 503 with it, else 200.

    Returns:
        The port that is served.

    Raises:
        OSError: It cannot be had.
    """
    server = make(host, port, dead, unready)
    Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return int(server.server_port)


def make(host: str, port: int, dead: Faults, unready: Faults) -> ThreadingHTTPServer:
    """The server of `serve`, bound and not yet running."""
    answers = {"/livez": dead, "/readyz": unready}
    registry = exposition.registry()

    class Handler(_Handler):
        """Answers for this process."""

        faults = answers

    Handler.registry = registry
    return _Server(AF_INET6 if ":" in host else AF_INET, (host, port), Handler)


class _Handler(MetricsHandler):
    timeout = _SECONDS
    faults: dict[str, Faults]
    server_version = "argosy"

    def do_GET(self) -> None:  # noqa: N802 -- http.server's name
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif (asked := self.faults.get(path)) is not None:
            found = asked()
            self._say(HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK, "\n".join(found or ["ok"]))
        else:
            self._say(HTTPStatus.NOT_FOUND, "there are /livez, /readyz and /metrics")

    def _say(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, family: int, address: tuple[str, int], handler: type[_Handler]) -> None:
        self.address_family = family
        self._open: dict[socket, None] = {}
        self._lock = Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the resolver for a name of this host, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > _CONNECTIONS else None
        if oldest is not None:
            _interrupt(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error of one request. Whoever breaks off a scrape makes no traceback."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.debug("a probe or scrape was broken off", reason=str(error))
        else:
            log.error("a probe or scrape could not be answered", exc_info=error)


def _interrupt(request: socket) -> None:
    """Wake the thread that reads from it; that one closes it."""
    try:
        request.shutdown(SHUT_RDWR)
    except OSError:
        log.debug("a connection had ended already")
