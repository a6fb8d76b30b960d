"""Makes the connection to a cluster from its row. Only this module uses both `store` and `kube` for that.

There is one connection for each (cluster, credential version): a rotated credential takes effect with the next job, and no client is leaked
with each call (F24).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlmodel import Session
from yarl import URL

from argosy.crypto import KeyRing
from argosy.errors import InvalidRequest
from argosy.kube.argo_server import ArgoServer
from argosy.kube.connection import Access, Connection
from argosy.kube.tokens import TokenProvider
from argosy.network.guard import ForbiddenAddress, inside
from argosy.settings import Settings
from argosy.shapes.clusters import TokenSource
from argosy.store import registry
from argosy.store.registered import Cluster

T = TypeVar("T")

_LONGEST_USE = 3600.0
"""Seconds for which a connection with older credentials stays usable for those that have it, such as a run of a long queue. An unused
connection has no open sockets: idle ones are closed within seconds."""


@dataclass(frozen=True)
class Reached:
    """A cluster's row and its connection."""

    cluster: Cluster
    connection: Connection


def access_of(cluster: Cluster, settings: Settings) -> Access:
    """How to reach a registered cluster, with its token opened.

    Raises:
        SealBroken: None of the configured keys opens the token.
        NotConfigured: No keys are configured.
    """
    token = ""
    if cluster.token_sealed is not None:
        token = KeyRing(settings.keys).open(cluster.token_sealed)
    return Access(
        cluster.name,
        cluster.namespace,
        cluster.host,
        cluster.port,
        cluster.cert,
        token,
        cluster.argo_server,
        cluster.argo_server_ca,
        inside(settings.trusted_hosts),
        cluster.path,
        _source(cluster, settings),
    )


def _source(cluster: Cluster, settings: Settings) -> TokenProvider | None:
    if not cluster.token_source:
        return None
    given = TokenSource.model_validate(cluster.token_source)
    commands, directory = tuple(settings.token_commands), settings.token_directory
    server = ""
    if cluster.host is not None:
        server = str(URL.build(scheme="https", host=cluster.host, port=cluster.port, path=cluster.path))
    return TokenProvider(given.file, tuple(given.command), directory, commands, server, cluster.cert)


def check_hosts(settings: Settings, host: str | None, argo_server: str) -> None:
    """Check new addresses of a cluster. A name is checked when it is resolved.

    Args:
        settings: Which hosts are trusted.
        host: Of the Kubernetes API; None if it is not new.
        argo_server: Address of the Argo Server; empty if it is not new.

    Raises:
        InvalidRequest: It is an IP address that may not be connected to.
    """
    for field, given in (("host", host), ("argo_server", URL(argo_server).raw_host)):
        try:
            inside(settings.trusted_hosts).check_host(given or "")
        except ForbiddenAddress as error:
            raise InvalidRequest(f"{field}: {error}") from error


def connect(cluster: Cluster, settings: Settings, limit: int | None = None) -> Connection:
    """A new connection to a registered cluster; the caller closes it. `limit` is for a certain number of concurrent requests."""
    return Connection(
        access_of(cluster, settings),
        limit=limit or settings.creates_in_flight,
        connect_timeout=settings.connect_timeout,
        request_timeout=settings.request_timeout,
    )


@asynccontextmanager
async def argo_server(access: Access, settings: Settings) -> AsyncIterator[ArgoServer | None]:
    """A connection to a cluster's Argo Server until the end of the block; None if the cluster names none."""
    if not access.argo_server:
        yield None
        return
    async with ArgoServer(
        access, connect_timeout=settings.connect_timeout, request_timeout=settings.request_timeout
    ) as server:
        yield server


def alone(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work and wait for its end, in a thread of its own, because the caller may be an API server with a running event
    loop."""
    with ThreadPoolExecutor(1, "clusters") as own:
        return own.submit(asyncio.run, work).result()


class Clusters:
    """The connections of one process, on one event loop.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._open: dict[int, Reached] = {}
        self._reaching: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._retired: set[Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def reach(self, cluster_id: int) -> Reached:
        """The cluster's present row, and a connection with its present credentials.

        Raises:
            NotFound: It was removed.
            SealBroken: Its token cannot be opened.
        """
        async with self._reaching[
            cluster_id
        ]:  # else two callers could each make a connection, and one would never be closed
            cluster = await asyncio.to_thread(self._row, cluster_id)
            held = self._open.get(cluster_id)
            if held is not None and held.cluster.credential_version == cluster.credential_version:
                reached = Reached(cluster, held.connection)
            else:
                reached = Reached(cluster, connect(cluster, self._settings))
                if held is not None:
                    self._retire(held.connection)
            self._open[cluster_id] = reached
            return reached

    def name(self, cluster_id: int) -> str:
        """What a line of the log calls a cluster: its name, or its number as long as this process has not reached it."""
        known = self._open.get(cluster_id)
        return f"#{cluster_id}" if known is None else known.cluster.name

    async def close(self) -> None:
        """Close every connection."""
        for task in self._closing:
            task.cancel()
        for connection in {*self._retired, *(reached.connection for reached in self._open.values())}:
            await connection.close()
        self._open.clear()
        self._retired.clear()

    def _retire(self, connection: Connection) -> None:
        """Close a connection when nobody can be using it any more."""

        async def close() -> None:
            await asyncio.sleep(_LONGEST_USE)
            self._retired.discard(connection)
            await connection.close()

        self._retired.add(connection)
        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _row(self, cluster_id: int) -> Cluster:
        with Session(self._engine) as session:
            return registry.cluster(session, cluster_id)
