"""The step of a failed job that a person must look at, with where it ran. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from uuid import UUID

from argosy.kube import failure
from argosy.kube.nodes import NodeStatus
from argosy.shapes.shown import NodeShape

_CONTAINER = re.compile("(main|init|wait): ")
"""How Argo's message of a pod begins when one of its containers failed."""


@dataclass(frozen=True)
class FailedStep:
    """A step that failed. `pod` and `container` are where it ran; empty if nothing of it ran."""

    task: str
    pod: str
    container: str
    host: str

    @property
    def where(self) -> str:
        """Where it ran, in words; empty if nothing of it ran."""
        parts = (("pod", self.pod), ("container", self.container), ("on", self.host))
        return ", ".join(f"{name} {value}" for name, value in parts if value) if self.pod else ""

    def logs(self, uid: UUID) -> str:
        """The command that shows what it wrote.

        Args:
            uid: Its job.
        """
        return f"argosy logs {uid}" + (f" --node {quote(self.task)}" if self.pod else "")


def failed_step(nodes: Sequence[NodeShape]) -> FailedStep | None:
    """The step that failed first, of which the message of its job speaks; None if none failed.

    Args:
        nodes: All of the job.
    """
    found = failure.failed([_status(node) for node in nodes])
    if not found:
        return None
    by_id = {node.id: node for node in nodes}
    first = by_id[found[0].node_id]
    if first.type != "Container":
        named = _CONTAINER.match(first.message)
        return FailedStep(first.task, first.pod, named[1] if named else "", first.host)
    pod = by_id.get(first.boundary, first)
    return FailedStep(first.task, pod.pod, first.task, pod.host)


def _status(node: NodeShape) -> NodeStatus:
    return NodeStatus(
        node.id, node.task, node.type, node.status, node.message, tuple(node.children), node.exit_code, node.start_time, node.stop_time,
        boundary=node.boundary,
    )  # fmt: skip
