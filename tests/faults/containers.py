"""Which containers run on a real node although their job is `Cancelled`: asked of containerd, from the first launch on.

The order is the proof: which attempts are cancelled is read before what runs is, and once more where something of them runs. A database
that has lost commits in between says so in the second answer.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

from clusters.local.component import ClusterError
from clusters.local.node import Node

_PAUSE = 0.5


class Containers:
    """Looks again and again.

    Args:
        node: Where they run; None where there are none.
        cancelled: The workflows of all cancelled attempts, as `namespace/name`.
    """

    def __init__(self, node: Node | None, cancelled: Callable[[], Awaitable[set[str]]]) -> None:
        self._node, self._cancelled = node, cancelled
        self._workflows: dict[str, str] = {}
        self.seen: set[str] = set()
        """Workflows of which a container ran."""
        self.ran_on: set[str] = set()
        """Those of them that were cancelled by then."""

    async def run(self) -> None:
        """Until cancelled."""
        while self._node is not None:
            cancelled = await self._cancelled()
            running = await asyncio.to_thread(self._running, self._node)
            self.seen |= running
            if running & cancelled:
                self.ran_on |= running & cancelled & await self._cancelled()
            await asyncio.sleep(_PAUSE)

    def _running(self, node: Node) -> set[str]:
        """The workflows of which a container runs."""
        tasks = [line.split() for line in node.ctr("tasks", "list").splitlines()[1:]]
        alive = [container for container, _, status, *_ in tasks if status == "RUNNING"]
        for container in alive:
            if container not in self._workflows:
                self._workflows[container] = _workflow(node, container)
        return {self._workflows[container] for container in alive} - {""}


def _workflow(node: Node, container: str) -> str:
    """Which workflow a container is of; empty where it only holds a pod's network, is of no job, or has just gone."""
    try:
        labels = json.loads(node.ctr("containers", "info", container))["Labels"]
    except ClusterError:
        return ""
    name = _NAME.match(labels.get("io.kubernetes.pod.name", ""))
    if name is None or labels.get("io.cri-containerd.kind") != "container":
        return ""
    return f"{labels['io.kubernetes.pod.namespace']}/{name[0]}"


_NAME = re.compile(r"job-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+")
"""How the name of a job's pod begins: the name of its workflow."""
