"""What failed in a workflow: the step that a person must look at. Argo's own message of a failed workflow only names a child. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from argosy.kube.status import NodeStatus

LEAVES = frozenset({"Pod", "Container", "HTTP", "Plugin", "Suspend"})
"""Types of nodes that do something themselves; the others only hold them together."""

_FAILED = frozenset({"Failed", "Error"})

_LONGEST = 1000
"""Letters of a step's message."""

_LAST = datetime.max.replace(tzinfo=UTC)


def failure(nodes: Sequence[NodeStatus]) -> tuple[str, int | None] | None:
    """The failed step that ended first, in words, with its exit code.

    A try that Argo followed by another one does not count, nor does a container of a pod that is listed itself.

    Args:
        nodes: All of a workflow.

    Returns:
        None if no step failed: then Argo ended the workflow for another reason.
    """
    followed = {child for node in nodes if node.type == "Retry" for child in _followed(node)}
    failed = {n.node_id: n for n in nodes if n.type in LEAVES and n.phase in _FAILED and n.node_id not in followed}
    told = [n for n in failed.values() if not any(failed[c].type == "Container" for c in n.children if c in failed)]
    found = sorted(told, key=lambda node: (node.finished_at or _LAST, node.node_id))
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


def _followed(retry: NodeStatus) -> tuple[str, ...]:
    return retry.children if retry.phase == "Succeeded" else retry.children[:-1]


def together(message: str, failed: str) -> str:
    """A workflow's message and what failed in it, in one: Argo's own message often only names a child, or says the same.

    Args:
        message: The workflow's.
        failed: From `failure`.
    """
    if not message or _ONLY_A_CHILD.fullmatch(message) or message in failed:
        return failed
    return f"{message}; {failed}"


_ONLY_A_CHILD = re.compile("child '[^']*' (failed|errored)")
