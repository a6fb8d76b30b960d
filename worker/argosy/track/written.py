"""Which nodes of which workflows are written already, so that only those that have changed are written again.

Only a hash of each node is kept, in an array: there may be thousands in each workflow.
"""

from array import array
from collections.abc import Set
from typing import TypeAlias

from argosy.kube.nodes import NodeStatus
from argosy.kube.status import Sighting

Hashes: TypeAlias = "array[int]"


class WrittenNodes:
    """The nodes that this tracker has written of the workflows of one cluster."""

    def __init__(self) -> None:
        self._of: dict[str, Hashes] = {}

    def changed(self, seen: Sighting) -> tuple[list[NodeStatus], Hashes]:
        """The nodes that have changed since they were last written, and the hashes of all; to be noted when they are written."""
        known = self._of.get(seen.k8s_uid, array("q"))
        if seen.nodes is None:
            return [], known
        before, after = frozenset(known), array("q", map(hash, seen.nodes))
        return [node for node, hashed in zip(seen.nodes, after, strict=True) if hashed not in before], after

    def note(self, written: dict[str, Hashes]) -> None:
        """Nodes were written: their hashes, by the workflow's k8s uid."""
        self._of.update(written)

    def forget(self, k8s_uid: str) -> None:
        """A workflow has ended, and is written."""
        self._of.pop(k8s_uid, None)

    def keep(self, seen: Set[str]) -> None:
        """Forget what is not in a complete list of the cluster."""
        self._of = {k8s_uid: hashes for k8s_uid, hashes in self._of.items() if k8s_uid in seen}
