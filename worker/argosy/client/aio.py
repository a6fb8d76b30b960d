"""The library for an API server that awaits: the methods of `Client`, without blocking the event loop.

Nothing is there twice. Each method is the client's own, run in a thread; only `launch` on a caller's asynchronous connection must run where
that connection is, and does so in a greenlet, as SQLAlchemy itself does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy.util import greenlet_spawn

from argosy.client.client import Client
from argosy.errors import InvalidRequest
from argosy.settings import Settings
from argosy.shapes.launched import Launched
from argosy.store import cursors

P = ParamSpec("P")
T = TypeVar("T")


def _in_thread(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    @wraps(method)
    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self.client, *args, **kwargs)

    return call


def _step_by_step(
    method: Callable[Concatenate[Client, P], Generator[T, None, None]],
) -> Callable[Concatenate["AsyncClient", P], AsyncGenerator[T, None]]:
    @wraps(method)
    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        steps = await asyncio.to_thread(method, self.client, *args, **kwargs)
        try:
            while (step := await asyncio.to_thread(next, steps, None)) is not None:
                yield step
        finally:
            await asyncio.to_thread(steps.close)

    return call


def _on_connection(
    method: Callable[Concatenate[Client, P], Launched],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Launched]]:
    in_thread = _in_thread(method)

    @wraps(method)
    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Launched:
        connection = kwargs.get("connection")
        if connection is None:
            return await in_thread(self, *args, **kwargs)
        if not cursors.asynchronous(connection):
            raise InvalidRequest(
                f"connection: {type(connection).__name__} is not one that is used with await; hand it to argosy.client.Client"
            )
        kwargs["connection"] = cursors.synchronous_part(connection)
        launched: Launched = await greenlet_spawn(partial(method, self.client, *args, **kwargs))
        return launched

    return call


class AsyncClient:
    """The methods of `Client`, to be awaited. `launch` takes an asynchronous connection of psycopg or asyncpg, or an asynchronous
    connection or session of SQLAlchemy with one of these drivers, in whose transaction the launch is written.

    Args:
        settings: Settings of this process; default: from the environment (`ARGOSY_…`).
        pool_size: Connections to the database that are kept, for all but launches on the caller's own.
    """

    def __init__(self, settings: Settings | None = None, pool_size: int = 5) -> None:
        self.client = Client(settings, pool_size)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    close = _in_thread(Client.close)

    launch = _on_connection(Client.launch)
    cancel = _in_thread(Client.cancel)
    delete = _in_thread(Client.delete)
    retry = _in_thread(Client.retry)
    split = _in_thread(Client.split)
    outdated = _in_thread(Client.outdated)
    pause = _in_thread(Client.pause)
    resume = _in_thread(Client.resume)
    list = _in_thread(Client.list)
    get = _in_thread(Client.get)

    launches = _in_thread(Client.launches)
    explain = _in_thread(Client.explain)
    events = _in_thread(Client.events)
    failures = _in_thread(Client.failures)
    failed = _in_thread(Client.failed)
    slots = _in_thread(Client.slots)
    usage = _in_thread(Client.usage)
    logs = _in_thread(Client.logs)
    jobs_with_logs = _in_thread(Client.jobs_with_logs)
    follow_logs = _step_by_step(Client.follow_logs)

    find = _in_thread(Client.find)
    counts = _in_thread(Client.counts)
    find_launches = _in_thread(Client.find_launches)
    search = _in_thread(Client.search)
    resolve = _in_thread(Client.resolve)
    prepare = _in_thread(Client.prepare)
    act = _in_thread(Client.act)
    bulk = _in_thread(Client.bulk)

    set_project = _in_thread(Client.set_project)
    limit_project = _in_thread(Client.limit_project)
    project = _in_thread(Client.project)
    projects = _in_thread(Client.projects)
    register_algorithm = _in_thread(Client.register_algorithm)
    update_algorithm = _in_thread(Client.update_algorithm)
    remove_algorithm = _in_thread(Client.remove_algorithm)
    algorithms = _in_thread(Client.algorithms)
    algorithm = _in_thread(Client.algorithm)
    lint = _in_thread(Client.lint)
    lint_algorithm = _in_thread(Client.lint_algorithm)
    lint_algorithm_by_argo = _in_thread(Client.lint_algorithm_by_argo)

    add_cluster = _in_thread(Client.add_cluster)
    update_cluster = _in_thread(Client.update_cluster)
    release_cluster = _in_thread(Client.release_cluster)
    remove_cluster = _in_thread(Client.remove_cluster)
    move_jobs = _in_thread(Client.move_jobs)
    clusters = _in_thread(Client.clusters)
    cluster = _in_thread(Client.cluster)
    check_cluster = _in_thread(Client.check_cluster)

    status = _in_thread(Client.status)
    held = _in_thread(Client.held)
    rotate_secrets = _in_thread(Client.rotate_secrets)
    database_restored = _in_thread(Client.database_restored)
    reconcile = _in_thread(Client.reconcile)
