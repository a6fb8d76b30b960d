"""Keeps the ends of the logs of containers that failed, so that the reason outlives their pods (F74).

A log is never a reason to hold up anything else. Logs are fetched in a task of their own, a few at a time, after the failure was committed;
the workflow's finalizer waits for them for a limited time only. A cluster that is slow, or does not let us read logs, costs only the logs:
it is logged once and counted. A tracker that follows the cluster after this one finds what is missing, because it sees the workflows that
still have our finalizer again. Nothing is asked about pods that did not fail.
"""

import asyncio
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy.inputs import log_text
from argosy.kube import answers
from argosy.kube.logs import Logs, Pod
from argosy.kube.status import Sighting
from argosy.metrics import LOGS
from argosy.store import logs
from argosy.store.logs import KeptLog
from argosy.track.standing import Standing

_PATIENCE = 20.0
"""Seconds after which the logs of a workflow are given up. Its finalizer stays for so long at most because of them."""

_AT_ONCE = 16
"""Workflows whose logs are fetched at the same time."""

_OF_POD = 5.0
"""Seconds that one container's log may take: a node that does not answer costs the logs of its own pods."""

_MOST = 50
"""Pods of one attempt whose logs are kept: a tenant's wide fan-out that fails must not fill the database."""

_DENIED = 600.0
"""Seconds until a cluster that does not let us read logs is asked again."""

_FAILED = {"Failed", "Error"}

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Wanted:
    """Pods that failed, by their nodes' ids. `until` is monotonic."""

    uid: UUID
    attempt: int
    gid: UUID | None
    workflow: str
    nodes: tuple[str, ...]
    until: float


class LogKeeper:
    """Keeps logs of one cluster.

    Args:
        at: The cluster.
        source: Its logs.
        size: Bytes that are kept of each log; 0 keeps none.
        secrets: Our own secrets that a hostile cluster may put into a log.
    """

    def __init__(self, at: Standing, source: Logs, size: int, secrets: Sequence[str]) -> None:
        self._at, self._source, self._size, self._secrets = at, source, size, secrets
        self._seen: dict[str, set[str]] = {}
        self._waiting: dict[str, _Wanted] = {}
        self._under_way: set[str] = set()
        self._news = asyncio.Event()
        self._told = False
        self._denied_until = 0.0

    def want(self, seen: Sighting) -> None:
        """Have the logs of a workflow's failed pods kept soon, of those that were not seen before."""
        if not self._size or not seen.nodes or seen.uid is None or seen.attempt is None:
            return
        failed = [node.node_id for node in seen.nodes if node.type == "Pod" and node.phase in _FAILED]
        if not failed:
            return
        known = self._seen.setdefault(seen.k8s_uid, set())
        fresh = [node_id for node_id in failed if node_id not in known][: max(_MOST - len(known), 0)]
        known.update(fresh)
        if not fresh:
            return
        if time.monotonic() < self._denied_until:
            self._count("denied", len(fresh))
            return
        old = self._waiting.get(seen.k8s_uid)
        nodes = (*(old.nodes if old else ()), *fresh)
        until = old.until if old else time.monotonic() + _PATIENCE
        self._waiting[seen.k8s_uid] = _Wanted(seen.uid, seen.attempt, seen.gid, seen.name, nodes, until)
        self._news.set()

    def pending(self, k8s_uid: str) -> bool:
        """Whether logs of a workflow are still to be fetched."""
        return k8s_uid in self._waiting

    def keep(self, seen: Set[str]) -> None:
        """Forget workflows that are not in a complete list."""
        self._seen = {k8s_uid: nodes for k8s_uid, nodes in self._seen.items() if k8s_uid in seen}

    async def run(self) -> None:
        """Fetch and keep until cancelled.

        Raises:
            Fenced: Another tracker has taken the cluster over.
        """
        places = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._news.wait()
                self._news.clear()
                for k8s_uid in self._waiting.keys() - self._under_way:
                    self._under_way.add(k8s_uid)
                    tasks.create_task(self._of_workflow(k8s_uid, places))

    async def _of_workflow(self, k8s_uid: str, places: asyncio.Semaphore) -> None:
        """Keep what is wanted of a workflow, in a place of its own: one that does not answer delays no other."""
        try:
            async with places:
                while (wanted := self._waiting.get(k8s_uid)) is not None:
                    try:
                        await self._keep(k8s_uid, wanted)
                    except OperationalError as error:
                        log.warning("database away, logs wait", cluster=self._at.name, reason=str(error.orig))
                        await asyncio.sleep(1)
                        continue
                    except DBAPIError:
                        log.exception(
                            "logs not writable", cluster=self._at.name, workflow=wanted.workflow, gid=wanted.gid
                        )
                    if self._waiting.get(k8s_uid) is wanted:  # else more of it has failed meanwhile
                        del self._waiting[k8s_uid]
        finally:
            self._under_way.discard(k8s_uid)

    async def _keep(self, k8s_uid: str, wanted: _Wanted) -> None:
        known = await self._at.ask(_known, self._at.cluster_id, wanted.uid, wanted.attempt)
        if known is None:
            return
        if known.full:
            self._count("full", len(wanted.nodes))
            return
        await self._at.write(logs.keep, await self._fetch(k8s_uid, wanted, known.nodes))

    async def _fetch(self, k8s_uid: str, wanted: _Wanted, kept: Set[str]) -> list[KeptLog]:
        """What the failed containers of a workflow wrote; what was fetched in time, if not all was."""
        nodes = [node for node in wanted.nodes if node not in kept]
        found: list[KeptLog] = []
        done: set[str] = set()
        if not nodes:
            return found
        try:
            async with asyncio.timeout(max(wanted.until - time.monotonic(), 0.0)):
                pods = {pod.node_id: pod for pod in await self._source.pods(wanted.workflow, ended_well=False)}
                for node_id in nodes:
                    some, outcome = await self._of_pod(wanted, pods[node_id]) if node_id in pods else ([], "gone")
                    self._count(outcome, 1)
                    found += some
                    done.add(node_id)
        except (answers.KubeError, TimeoutError) as error:
            self._missed(k8s_uid, set(nodes) - done, error)
        return found

    async def _of_pod(self, wanted: _Wanted, pod: Pod) -> tuple[list[KeptLog], str]:
        """What the failed containers of a pod wrote, and how that is counted. One that cannot be read does not keep others from it."""
        found: list[KeptLog] = []
        outcome = "gone"
        # Where no container of the tenant failed (Argo's own did, or the pod is being ended), any of them may say why.
        for container in [each for each in pod.containers if each.exit_code != 0] or pod.containers:
            try:
                async with asyncio.timeout(_OF_POD):
                    data, cut = await self._source.tail(pod.name, container.name, self._size)
            except TimeoutError as error:
                self._tell(error)
                return found, "missed"
            except (answers.Missing, answers.ObjectRefused) as error:
                log.info(
                    "log not there",
                    cluster=self._at.name,
                    workflow=wanted.workflow,
                    gid=wanted.gid,
                    pod=pod.name,
                    reason=str(error),
                )
            except answers.Unclear as error:
                self._tell(error)
                outcome = "missed"
            else:
                text = log_text(data, self._size, self._secrets)
                found.append(
                    KeptLog(wanted.uid, wanted.attempt, pod.node_id, container.name, container.exit_code, cut, text)
                )
        if found:
            self._told = False
        return found, "kept" if found else outcome

    def _missed(self, k8s_uid: str, nodes: Set[str], error: Exception) -> None:
        down = error if isinstance(error, answers.ClusterDown) else None
        denied = down is not None and down.health is answers.Health.FORBIDDEN
        self._count("denied" if denied else "missed", len(nodes))
        if denied:
            self._denied_until = time.monotonic() + _DENIED
        elif down is not None:
            # Nothing is released either while the cluster is away: they are looked for again when it is listed.
            self._seen.get(k8s_uid, set()).difference_update(nodes)
        self._tell(error)

    def _tell(self, error: Exception) -> None:
        """Log that logs are missing: once, until one is kept again."""
        if not self._told:
            self._told = True
            reason = str(error) or "not in time"
            log.warning("logs of failed containers are not kept", cluster=self._at.name, reason=reason)

    def _count(self, outcome: str, number: int) -> None:
        LOGS.labels(self._at.name, outcome).inc(number)


@dataclass(frozen=True)
class _Known:
    """Of which nodes of an attempt a log is kept, and whether its launch has no room for more."""

    nodes: Set[str]
    full: bool


def _known(connection: Connection, cluster_id: int, uid: UUID, attempt: int) -> _Known | None:
    """What is kept already; None if no logs are wanted from the cluster."""
    if not logs.wanted(connection, cluster_id):
        return None
    return _Known(logs.kept(connection, uid, attempt), logs.full(connection, uid, attempt))
