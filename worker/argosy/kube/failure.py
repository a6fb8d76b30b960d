"""What failed in a workflow: the step that a person must look at. Argo's own message of a failed workflow only names a child. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from argosy.kube.nodes import ONLY_A_CHILD, NodeStatus

LEAVES = frozenset({"Pod", "Container", "HTTP", "Plugin", "Suspend"})
"""Types of nodes that do something themselves; the others only hold them together."""

_FAILED = frozenset({"Failed", "Error"})

_LONGEST = 1000
"""Letters of a step's message."""

_LAST = datetime.max.replace(tzinfo=UTC)


def failure(nodes: Sequence[NodeStatus]) -> tuple[str, int | None] | None:
    """The failed step that ended first, in words, with its exit code.

    Args:
        nodes: All of a workflow.

    Returns:
        None if no step failed: then Argo ended the workflow for another reason.
    """
    found = failed(nodes)
    if not found:
        return None
    first, more = found[0], len(found) - 1
    words = (first.message or first.phase)[:_LONGEST]
    if first.exit_code is not None and f"exit code {first.exit_code}" not in words:
        words = f"{words} (exit code {first.exit_code})"
    others = f"; {more} more step{'s' * (more > 1)} failed" if more else ""
    # The only step of a workflow bears the workflow's name, which says nothing.
    where = "" if first.task in ("", first.node_id) else f"{first.task}: "
    return f"{where}{words}{others}", first.exit_code


def failed(nodes: Sequence[NodeStatus]) -> Sequence[NodeStatus]:
    """The steps that failed by themselves, the one that ended first before the others.

    A try that Argo followed by another one does not count, nor does a container of a pod that is listed itself. Where no leaf failed, those
    count that hold others together and say why: Argo could not make what belongs below them.

    Args:
        nodes: All of a workflow.
    """
    followed = {child for node in nodes if node.type == "Retry" for child in _followed(node)}
    ill = {node.node_id: node for node in nodes if node.phase in _FAILED and node.node_id not in followed}
    leaves = [node for node in ill.values() if node.type in LEAVES]
    # In a pod a container is the child of the one that it waits for.
    pods = {node.boundary for node in leaves if node.type == "Container"}
    below = {node.node_id for node in leaves if any(ill[c].type == "Container" for c in node.children if c in ill)}
    told = [node for node in leaves if node.node_id not in pods and (node.type != "Pod" or node.node_id not in below)]
    own = [node for node in ill.values() if node.message and not ONLY_A_CHILD.fullmatch(node.message)]
    return sorted(told or own, key=lambda node: (node.finished_at or _LAST, node.node_id))


def _followed(retry: NodeStatus) -> tuple[str, ...]:
    return retry.children if retry.phase == "Succeeded" else retry.children[:-1]


def together(message: str, failed: str) -> str:
    """A workflow's message and what failed in it, in one: Argo's own message often only names a child, or says the same.

    Args:
        message: The workflow's.
        failed: From `failure`.
    """
    if not message or ONLY_A_CHILD.fullmatch(message) or message in failed:
        return failed
    return f"{message}; {failed}"
