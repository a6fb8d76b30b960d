"""An operator's requests about a cluster: check it, remove the finalizers, abandon it.

All other reads use the database only; these functions ask the cluster itself. Each runs an event loop of its own, so they are for commands
and API servers, not for workers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlmodel import Session

from argosy.access import access_of, alone, argo_server, connect
from argosy.errors import ArgosyError, Conflict, InvalidRequest
from argosy.kube import finalizers
from argosy.kube.answers import Health, KubeError, NameTaken, Unclear
from argosy.kube.check import ArgoServerReport, Report, check_argo_server
from argosy.kube.check import check as ask
from argosy.kube.connection import Connection
from argosy.kube.marks import Mark, Marks
from argosy.kube.secrets import Secrets
from argosy.labels import FINALIZER, LABEL_INSTALLATION
from argosy.settings import Settings
from argosy.store import abandoning, cancels, holds, leases, pausing, reading, reconciling, registry
from argosy.store.installation import identity
from argosy.store.reconciling import Waiting
from argosy.store.registered import Cluster

_STUCK = 60.0
"""Seconds after its end was recorded by which a workflow's finalizer should be removed."""

T = TypeVar("T")

_LONGEST = 300.0
"""Seconds for what a person asks of a cluster."""


def check(engine: Engine, settings: Settings, key: str | int) -> Report:
    """Check whether argosy can work on a cluster. The versions that it reports are stored.

    Raises:
        NotFound: There is no such cluster. That a cluster cannot be reached is a finding, not an error.
    """
    selector = _selector(engine)
    row = _row(engine, key)
    report = _on(settings, row, lambda connection: ask(connection, selector))
    if row.argo_server:
        report.argo_server = alone(_check_argo_server(row, settings))
    with engine.connect() as database:
        report.stuck = reading.recorded(database, report.held, _STUCK)
    with Session(engine) as session:
        row = registry.cluster(session, key)
        row.kubernetes_version = report.kubernetes_version or row.kubernetes_version
        row.argo_version = report.argo_version or row.argo_version
        session.add(row)
        session.commit()
    return report


async def _check_argo_server(row: Cluster, settings: Settings) -> ArgoServerReport:
    async with argo_server(access_of(row, settings), settings) as server:
        assert server is not None  # noqa: S101 -- the row names one
        return await check_argo_server(server)


def lint(settings: Settings, workflows: Sequence[tuple[Cluster, dict[str, Any]]]) -> dict[str, str | ArgosyError]:
    """What clusters' Argo Servers say is wrong with a workflow. All are asked at the same time.

    Args:
        settings: Keys and deadlines.
        workflows: Clusters that name an Argo Server, each with the workflow as it would be created there.

    Returns:
        By name of the cluster: what is wrong, empty if nothing is, or why that is not known.
    """

    async def ask(row: Cluster, workflow: dict[str, Any]) -> str | ArgosyError:
        try:
            async with argo_server(access_of(row, settings), settings) as server:
                return "" if server is None else await server.lint(workflow)
        except ArgosyError as error:
            return error

    async def all_() -> list[str | ArgosyError]:
        return await asyncio.gather(*(ask(row, workflow) for row, workflow in workflows))

    return dict(zip((row.name for row, _ in workflows), alone(all_()), strict=True)) if workflows else {}


def place(engine: Engine, settings: Settings, row: Cluster) -> Mark | None:
    """The mark on the cluster that a row points to; it is created if it is missing. Two registrations that find the same mark mean the same
    place.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        row: A cluster that is registered or is about to be.

    Raises:
        KubeError: It cannot be asked.
    """
    installation = identity(engine)
    with engine.connect() as database:
        holder, at = holds.database(database), holds.now(database)

    async def ask(connection: Connection) -> Mark | None:
        marks = Marks(connection, installation)
        try:
            return await marks.read() or await marks.create(holder, 0, at)
        except NameTaken:
            return await marks.read()

    return _on(settings, row, ask)


def release(engine: Engine, settings: Settings, key: str | int) -> int:
    """Remove argosy's finalizer from every workflow of this installation on a cluster, so that they can be deleted.

    Returns:
        How many workflows had it.

    Raises:
        NotFound: There is no such cluster.
        Conflict: The cluster cannot be asked; a second call continues with the rest.
    """
    row, selector = _row(engine, key), _selector(engine)
    try:
        return _on(settings, row, lambda connection: finalizers.release(connection, selector))
    except KubeError as error:
        raise Conflict(f"cluster {row.name!r} cannot be asked: {error}") from error


def remove(engine: Engine, settings: Settings, key: str | int, abandon: bool, waiting: Waiting | None = None) -> int:
    """Release a cluster, delete our Secrets there, remove it and delete its credentials.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        key: Name or id.
        abandon: The cluster is gone for good: do not ask it, leave our objects there, and end its unfinished jobs. Those that ran there are
            `Lost` (`Cancelled` if a cancel was requested), and are retried if their algorithm has automatic retries and another cluster may
            take them. Queued jobs that no other cluster may take are `Cancelled`, and such launches that are not cut yet `rejected`.
        waiting: If a held cluster is abandoned, what to do with queued jobs that may have run there and that another cluster may take:
            `run` (perhaps a second time), or `lost`.

    Returns:
        How many jobs this has ended.

    Raises:
        Conflict: It has unfinished jobs, algorithms name it, or it cannot be asked.
        InvalidRequest: There are such jobs and `waiting` is not given, or it is given without `abandon`; nothing was changed.
    """
    if waiting is not None and not abandon:
        raise InvalidRequest("--waiting is only for a cluster that is abandoned; add --abandon, or leave --waiting out")
    if abandon:
        return _abandon(engine, key, waiting)
    with Session(engine, expire_on_commit=False) as session:
        row = registry.removable(session, key)
    if not _is_twin(engine, settings, row):
        _take_away(engine, settings, row)
    with Session(engine) as session:
        registry.remove_cluster(session, key)
        session.commit()
    return 0


def _take_away(engine: Engine, settings: Settings, row: Cluster) -> None:
    """Our finalizers and Secrets on a cluster."""
    if not row.identity:
        return  # argosy has never made anything there: its mark would be known
    ours, selector = {LABEL_INSTALLATION: identity(engine)}, _selector(engine)
    try:
        _on(settings, row, lambda connection: finalizers.release(connection, selector))
        _on(settings, row, lambda connection: _delete_secrets(connection, ours))
    except KubeError as error:
        raise Conflict(
            f"cluster {row.name!r} cannot be asked, and its ended workflows may carry the finalizer {FINALIZER}: {error}; "
            "if it is gone for good: --abandon"
        ) from error


def _is_twin(engine: Engine, settings: Settings, row: Cluster) -> bool:
    """Whether the place belongs to another registration: then nothing there may be changed."""
    try:
        mark = place(engine, settings, row)
    except KubeError:
        return row.health == Health.MISPLACED
    with engine.connect() as database:
        return mark is not None and mark.uid != row.identity and holds.twin(database, row.id, mark.uid) is not None


def _abandon(engine: Engine, key: str | int, waiting: Waiting | None) -> int:
    """Pause a cluster, end its jobs in batches, and remove it. Jobs that become unfinished after the batches (a tracker still sees the
    cluster) are ended in the transaction that removes it."""
    with Session(engine, expire_on_commit=False) as session:
        row = registry.removable(session, key, abandoned=True)
        held = row.held_at is not None
        jobs, launches = abandoning.doubtful(session.connection(), row.id) if held else ([], [])
        if waiting is None and (jobs or launches):
            raise InvalidRequest(
                f"--waiting: cluster {row.name!r} is held, and may have run what waits and another may take (jobs: {len(jobs)}, "
                f"launches that are not cut yet: {len(launches)}); say run (perhaps a second time), or lost"
            )
        pausing.pause(session.connection(), "cluster", row.id, "it is being abandoned")
        session.commit()
    if waiting == "lost":
        reconciling.end_waiting(engine, jobs, launches)
    ended = _end_all(engine, row.id)
    with Session(engine) as session:
        leases.revoke(session.connection(), leases.of_cluster(row.id))
        while count := abandoning.end(session.connection(), row.id):
            ended += count
        registry.remove_cluster(session, key, abandoned=True)
        session.commit()
    return ended


def _end_all(engine: Engine, cluster_id: int) -> int:
    """End jobs that no other cluster may take; first the launches that are not cut. Returns how many jobs."""
    with engine.begin() as connection:
        gids = abandoning.launches(connection, cluster_id)
    for gid in gids:
        with engine.begin() as connection:
            cancels.end_launch(connection, gid, "rejected", "its cluster was abandoned, and no other may take its jobs")
    ended = 0
    while True:
        with engine.begin() as connection:
            count = abandoning.end(connection, cluster_id)
        if not count:
            return ended
        ended += count


async def _delete_secrets(connection: Connection, labels: Mapping[str, str]) -> None:
    secrets = Secrets(connection)
    for found in await secrets.found(labels):
        await secrets.delete(found.name, found.uid)


def _row(engine: Engine, key: str | int) -> Cluster:
    with Session(engine, expire_on_commit=False) as session:
        return registry.cluster(session, key)


def _on(settings: Settings, row: Cluster, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run() -> T:
        try:
            # A list may have no end, if somebody hostile answers.
            async with connect(row, settings) as connection, asyncio.timeout(_LONGEST):
                return await work(connection)
        except TimeoutError as error:
            raise Unclear(f"not done after {_LONGEST:.0f} s; do it again, it goes on with the rest") from error

    return alone(run())


def _selector(engine: Engine) -> str:
    return f"{LABEL_INSTALLATION}={identity(engine)}"
