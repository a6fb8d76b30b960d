"""Reads what the containers of a job wrote, at one moment: from the cluster where their pods are still there, else what was kept.

Someone waits for the answer, and the cluster may be slow or hostile. So all that is asked has one deadline, and each log, and all together,
have a limit. Whatever the cluster does not say is missing with a note, and what was kept is there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from argosy.access import alone, argo_server, connect
from argosy.errors import ArgosyError, NotFound
from argosy.inputs import log_text
from argosy.kube import answers
from argosy.kube.logs import MOST_LINES, Container, Logs, Pod
from argosy.logs.archive import archived
from argosy.logs.wanted import Chooser, Wanted, chooser
from argosy.settings import Settings
from argosy.shapes.shown import ContainerLogShape, JobShape, LogShape, NodeShape
from argosy.store import logs, reading, registry, summaries
from argosy.store.logs import KeptLog
from argosy.store.registered import Cluster

_PATIENCE = 10.0
"""Seconds for all that is asked of the cluster."""

_AT_ONCE = 8
"""Logs that are read at the same time."""

_CONTAINERS = 100
"""Containers of one answer."""

_ALL = 8 << 20
"""The most bytes of all logs of one answer."""

_EACH = 1 << 20
"""The most bytes of one log; fewer where there are so many that all would be too much."""

_ERRORS = 5
"""Pods and errors that a note names."""

_JOBS = 20
"""Jobs of a launch whose logs are read."""


NOT_ASKED = "the cluster was not asked"
"""The note of logs that were asked for without asking the cluster."""


class NotAsked(ArgosyError):
    """The cluster cannot be asked for logs."""


@dataclass(frozen=True)
class PodSource:
    """Where the pods of an attempt are."""

    cluster: Cluster
    workflow: str
    k8s_uid: str


@dataclass(frozen=True)
class _Said:
    """What the cluster said: what is missing and why, the nodes whose pods are there (None: not known), and the logs."""

    missing: tuple[str, ...] = ()
    pods: frozenset[str] | None = None
    logs: tuple[ContainerLogShape, ...] = ()


def jobs(engine: Engine, gid: UUID, failed: bool) -> tuple[list[UUID], bool]:
    """The jobs of a launch that run, or that failed, in the order of their batches.

    Returns:
        The first of them, and whether there are more.

    Raises:
        NotFound: There is no such launch.
    """
    with engine.connect() as database:
        if not summaries.launches(database, gid=gid):
            raise NotFound(f"a job or launch {gid} does not exist; see: argosy list")
        found = logs.jobs(database, gid, failed, _JOBS + 1)
    return found[:_JOBS], len(found) > _JOBS


def job(engine: Engine, uid: UUID, attempt: int | None) -> JobShape:
    """A job whose logs are wanted.

    Raises:
        NotFound: There is no such job, or attempt.
    """
    with engine.connect() as database:
        return reading.job(database, reading.Filter(uid=uid, attempt=attempt, hidden=True))


def source(engine: Engine, found: JobShape) -> PodSource:
    """Where an attempt's pods are.

    Raises:
        NotAsked: They are nowhere, or the cluster is not to be asked; the message says why.
    """
    with Session(engine, expire_on_commit=False) as session:
        place = logs.place(session.connection(), found.uid, found.attempt)
        if place.cluster_id is None or place.workflow is None:
            raise NotAsked("it has no workflow")
        try:
            cluster = registry.cluster(session, place.cluster_id)
        except NotFound:
            raise NotAsked(f"its cluster {found.cluster!r} is not registered any more") from None
    if not cluster.logs:
        raise NotAsked(f"logs of cluster {cluster.name!r} are off: argosy cluster update {cluster.name} --logs")
    return PodSource(cluster, place.workflow, place.k8s_uid or "")


def read(engine: Engine, settings: Settings, uid: UUID, wanted: Wanted, ask: bool = True) -> LogShape:
    """What the containers of a job wrote.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        uid: The job.
        wanted: Which containers, and how much.
        ask: Whether to ask the cluster.

    Raises:
        NotFound: There is no such job, attempt or node. That the cluster cannot be asked is in the note.
    """
    found = job(engine, uid, wanted.attempt)
    chosen = chooser(wanted, found.nodes)
    with engine.connect() as database:
        kept = logs.of(database, found.uid, found.attempt)
        full = not kept and found.status in ("Failed", "Error") and logs.full(database, found.uid, found.attempt)
    said = _ask(engine, settings, found, chosen, wanted) if ask else _Said((NOT_ASKED,))
    told = list(said.missing)
    there = (said.pods or frozenset()) | {each.node for each in said.logs}
    if said.pods is not None and (gone := _gone(found, chosen, there)):
        told.append(f"pods that are gone: {_few([node.task for node in gone])}")
    if full:
        told.append(f"nothing was kept of it, because {logs.MOST} logs of its launch are")
    tasks = {node.id: node.task for node in found.nodes}
    kept = [each for each in kept if chosen(each.node_id, each.container, each.exit_code)]
    shown, left = _bounded(_merged(said.logs, [_shape(each, tasks, wanted.tail) for each in kept], list(tasks)))
    if left:
        told.append(f"logs that are too much for one answer: {left}; name a node")
    return LogShape(uid=found.uid, attempt=found.attempt, status=found.status, note="; ".join(told), logs=shown)


def _ask(engine: Engine, settings: Settings, found: JobShape, chosen: Chooser, wanted: Wanted) -> _Said:
    try:
        return alone(_said(source(engine, found), settings, found, chosen, wanted))
    except ArgosyError as error:
        return _Said((str(error),))


async def _said(at: PodSource, settings: Settings, found: JobShape, chosen: Chooser, wanted: Wanted) -> _Said:
    ends, limit = asyncio.get_running_loop().time() + _PATIENCE, asyncio.Semaphore(_AT_ONCE)
    tasks = {node.id: node.task for node in found.nodes}
    async with connect(at.cluster, settings) as connection:
        there = Logs(connection)

        async def tail(pod: Pod, container: Container, size: int) -> ContainerLogShape | str:
            task = tasks.get(pod.node_id, pod.name)
            try:
                async with asyncio.timeout_at(ends), limit:
                    data, cut = await there.tail(pod.name, container.name, size, wanted.tail or MOST_LINES)
            except (answers.KubeError, TimeoutError) as error:
                return f"{task}: {str(error) or 'the cluster did not answer in time'}"
            return ContainerLogShape(
                node=pod.node_id,
                task=task,
                container=container.name,
                exit_code=container.exit_code,
                source="cluster",
                cut=cut,
                text=log_text(data, size, connection.secrets),
            )

        try:
            async with asyncio.timeout_at(ends):
                pods = await there.pods(at.workflow)
        except TimeoutError:
            return _Said(("the cluster did not say which pods there are in time",))
        picked = [
            (pod, each) for pod in pods for each in pod.containers if chosen(pod.node_id, each.name, each.exit_code)
        ]
        size = min(_EACH, _ALL // max(min(len(picked), _CONTAINERS), 1))
        results = await asyncio.gather(*(tail(*each, size) for each in picked[:_CONTAINERS]))
        nodes = frozenset(pod.node_id for pod in pods)
        stored: list[ContainerLogShape] = []
        async with argo_server(connection.access, settings) as server:
            gone = _gone(found, chosen, nodes)[: max(_CONTAINERS - len(picked), 0)]
            if server is not None and gone:
                stored = await archived(server, at.workflow, at.k8s_uid, gone, size, limit, ends)
    missing = sorted({each for each in results if isinstance(each, str)})
    missing += [f"logs that were not asked for: {more}; name a node"] if (more := len(picked) - len(results)) else []
    said = tuple(each for each in results if not isinstance(each, str))
    return _Said(tuple(missing[:_ERRORS]), nodes, (*said, *stored))


def _gone(found: JobShape, chosen: Chooser, pods: frozenset[str]) -> list[NodeShape]:
    """The nodes that are wanted and whose pods are gone."""
    begun = [node for node in found.nodes if node.type == "Pod" and node.status not in {"", "Pending"}]
    return [node for node in begun if node.id not in pods and chosen(node.id, "", None)]


def _shape(kept: KeptLog, tasks: dict[str, str], tail: int | None) -> ContainerLogShape:
    lines = kept.text.removesuffix("\n").split("\n")
    end = "\n" * kept.text.endswith("\n")
    return ContainerLogShape(
        node=kept.node_id,
        task=tasks.get(kept.node_id, kept.node_id),
        container=kept.container,
        exit_code=kept.exit_code,
        source="kept",
        cut=kept.cut,
        text="\n".join(lines[-tail:]) + end if tail else kept.text,
    )


def _merged(
    said: Sequence[ContainerLogShape], kept: Sequence[ContainerLogShape], order: list[str]
) -> list[ContainerLogShape]:
    """What the cluster said, and what was kept where it said nothing, in the order of the nodes."""
    found = {(each.node, each.container): each for each in kept}
    found |= {
        (each.node, each.container): each for each in said if each.text or (each.node, each.container) not in found
    }
    place = {node_id: at for at, node_id in enumerate(order)}
    return sorted(found.values(), key=lambda each: (place.get(each.node, len(place)), each.node, each.container))


def _bounded(found: Sequence[ContainerLogShape]) -> tuple[list[ContainerLogShape], int]:
    """The first logs that fit into one answer, and how many do not."""
    size, shown = 0, []
    for each in found:
        size += len(each.text)
        if size > _ALL:
            break
        shown.append(each)
    return shown, len(found) - len(shown)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_ERRORS]) + (f" and {len(names) - _ERRORS} more" if len(names) > _ERRORS else "")
