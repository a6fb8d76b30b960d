"""`python -m argosy.demo.simulator`: a simulated JobCluster until SIGTERM or Ctrl-C.

It prints how to reach it as one line on standard output.
"""

import argparse
import asyncio
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import asdict

import orjson
import trustme
import uvicorn
from starlette.types import ASGIApp

from argosy.demo.simulator.api import Api, Tokens
from argosy.demo.simulator.controller import POD_SECONDS, Controller
from argosy.demo.simulator.process import SimulatedConnection
from argosy.demo.simulator.store import Store

_HOST = "127.0.0.1"
_KEEP_ALIVE_SECONDS = 90
_PATIENCE = 0.3
"""Seconds that connections have to close when the simulator ends."""


def main() -> None:
    """Run until a signal."""
    options = _options()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, options.port))
        asyncio.run(_serve(options, listener))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m argosy.demo.simulator", description="A JobCluster in one process.")
    parser.add_argument("--port", type=int, default=0, help="of the Kubernetes API on 127.0.0.1 (default: a free one)")
    parser.add_argument("--namespace", default="argosy", help="the one namespace there is (default: %(default)s)")
    parser.add_argument(
        "--pod-seconds", type=float, default=POD_SECONDS, metavar="S",
        help="how long a pod runs by default (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--token", default=secrets.token_urlsafe(16), help="argosy's (default: random)")
    parser.add_argument(
        "--powerless-token", default=secrets.token_urlsafe(16), metavar="TOKEN", help="one that may do nothing"
    )
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when standard input does")
    return parser.parse_args()


async def _serve(options: argparse.Namespace, listener: socket.socket) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(_HOST, "localhost").configure_cert(context)
    store = Store(options.namespace)
    tokens = Tokens(options.token, secrets.token_urlsafe(16), options.powerless_token)
    connection = SimulatedConnection(
        kind="simulated",
        host=_HOST,
        port=listener.getsockname()[1],
        ca=authority.cert_pem.bytes().decode(),
        token=tokens.argosy,
        namespace=options.namespace,
        admin_token=tokens.admin,
    )
    server = _Server(
        Api(store, tokens).app(), context, lambda: print(orjson.dumps(asdict(connection)).decode(), flush=True)
    )

    def end() -> None:
        store.close()
        server.end()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if options.until_stdin_ends:
        loop.add_reader(sys.stdin.fileno(), end)
    controller = asyncio.create_task(Controller(store, options.pod_seconds).run())
    controller.add_done_callback(lambda _: end())
    await server.run_on(listener)
    await controller


class _Server:
    """uvicorn, without its own handling of signals and with a limit on how long it takes to end."""

    def __init__(self, app: ASGIApp, context: ssl.SSLContext, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            ssl_context_factory=lambda *_: context,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._ready = ready

    async def run_on(self, listener: socket.socket) -> None:
        await self._server.startup(sockets=[listener])
        self._ready()
        await self._server.main_loop()
        await self._server.shutdown(sockets=[listener])

    def end(self) -> None:
        self._server.should_exit = True
        asyncio.get_running_loop().call_later(_PATIENCE, setattr, self._server, "force_exit", True)


if __name__ == "__main__":
    main()
