"""Which containers of a job somebody wants to read. Pure.

A node is named by its id, or by its task as `argosy get` shows it. A node with retries, or over items, stands for all its tries and items.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from argosy.errors import NotFound
from argosy.shapes.shown import NodeShape

FAILED = {"Failed", "Error"}

_GROUPS = {"Retry", "TaskGroup"}
"""Types of nodes whose children are their own tries and items. The children of other nodes are what comes after them."""

_NAMED = 10
"""Tasks that an error names."""

Chooser = Callable[[str, str, int | None], bool]
"""Whether a container is wanted, by the id of its pod's node, its name and its exit code (None if it runs)."""


@dataclass(frozen=True)
class Wanted:
    """What to read of a job.

    Args:
        node: Only of this node, by its id or task, or of containers with this name.
        failed: Only of nodes that failed.
        attempt: Of this attempt; None for the newest.
        tail: Only the last lines, so many of each container.
    """

    node: str | None = None
    failed: bool = False
    attempt: int | None = None
    tail: int | None = None


def chooser(wanted: Wanted, nodes: Iterable[NodeShape]) -> Chooser:
    """The containers that are wanted.

    Args:
        wanted: What to read.
        nodes: The job's.

    Raises:
        NotFound: No node has this id or task. A job without nodes has some later, and raises nothing.
    """
    by_id = {node.id: node for node in nodes}
    pods, containers = _named(wanted.node, by_id) if wanted.node is not None else (set(), set())
    tasks = {node.task for node in by_id.values()}
    if wanted.node not in {None, "main", *tasks} and not pods and not containers and by_id:
        some = ", ".join(sorted(tasks)[:_NAMED]) + (", …" if len(tasks) > _NAMED else "")
        raise NotFound(f"the job has no node {wanted.node!r}; its nodes are: {some}")

    def chosen(node_id: str, container: str, exit_code: int | None) -> bool:
        if wanted.failed and not (by_id[node_id].status in FAILED if node_id in by_id else exit_code != 0):
            return False
        return wanted.node in (None, container) or node_id in pods or (node_id, container) in containers

    return chosen


def _named(key: str, by_id: dict[str, NodeShape]) -> tuple[set[str], set[tuple[str, str]]]:
    """The nodes that a key names, as ids of pods' nodes, and as (id of the pod's node, container) where it names one of a set of
    containers."""
    found = [node for node in by_id.values() if key in (node.id, node.task)]
    pods: set[str] = set()
    for node in found:  # grows
        if node.id in pods:
            continue
        pods.add(node.id)
        if node.type in _GROUPS:
            found += [by_id[child] for child in node.children if child in by_id]
    containers = {
        (pod.id, each.task)
        for pod in by_id.values()
        if pod.type == "Pod"
        for each in _containers(pod, by_id)
        if each.id in pods
    }
    return pods, containers


def _containers(pod: NodeShape, by_id: dict[str, NodeShape]) -> list[NodeShape]:
    """The nodes of a set of containers: a container is a child of the one that it waits for, the first ones of their pod."""
    queue, found = [pod], {pod.id: pod}
    for node in queue:  # grows
        children = [by_id[child] for child in node.children if child in by_id and child not in found]
        fresh = {child.id: child for child in children if child.type == "Container"}
        queue += fresh.values()
        found |= fresh
    return queue[1:]
