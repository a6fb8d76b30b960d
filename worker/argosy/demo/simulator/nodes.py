"""The tree of a workflow's nodes, in the names, ids and shapes that Argo gives them."""

import re
from typing import Any

from argosy.demo.simulator.store import now

Node = dict[str, Any]

FAILED = ("Failed", "Error")
FINAL = ("Succeeded", *FAILED, "Skipped", "Omitted")

_WITHOUT_POD = ("StepGroup", "TaskGroup", "Skipped")
_SEPARATOR = re.compile(r"^(\[\d+\])?\.")


class NodeTree:
    """The nodes of one workflow, by id.

    Args:
        workflow: Its name.
    """

    def __init__(self, workflow: str) -> None:
        self._workflow = workflow
        self.nodes: dict[str, Node] = {}

    def find(self, name: str) -> Node | None:
        """A node by its name."""
        return self.nodes.get(self.id_of(name))

    def get(self, name: str) -> Node:
        """A node by its name; it must be there."""
        return self.nodes[self.id_of(name)]

    def id_of(self, name: str) -> str:
        """A node's id: the workflow's name and FNV-1a (32 bits) of the node's."""
        return name if name == self._workflow else f"{self._workflow}-{fnv32a(name)}"

    def add(
        self,
        name: str,
        kind: str,
        boundary: Node | None,
        template: str = "",
        phase: str = "Running",
        message: str = "",
    ) -> Node:
        """A new node.

        Args:
            name: Its full name.
            kind: Argo's node type.
            boundary: The steps or DAG node that it is inside of.
            template: Name of its template.
            phase: Its first phase.
            message: For humans.
        """
        node: Node = {"id": self.id_of(name), "name": name, "displayName": name, "type": kind}
        if boundary is not None:
            node["displayName"] = _SEPARATOR.sub("", name.removeprefix(boundary["name"]))
            node["boundaryID"] = boundary["id"]
        node |= {"templateName": template} if template else {}
        node |= {"templateScope": f"local/{self._workflow}", "phase": phase, "startedAt": now(), "finishedAt": None}
        node |= {"message": message} if message else {}
        if kind in _WITHOUT_POD:
            node["nodeFlag"] = {}
        if phase in FINAL:
            node["finishedAt"] = node["startedAt"]
        self.nodes[node["id"]] = node
        return node

    def mark(self, node: Node, phase: str, message: str | None = None) -> Node:
        """Put a node into a phase; None leaves its message."""
        node["phase"] = phase
        if message is not None:
            node["message"] = message
        if phase in FINAL and node["finishedAt"] is None:
            node["finishedAt"] = now()
        return node

    def connect(self, parent: Node, child: Node) -> None:
        """Make a node another one's child; the order of first mention stays."""
        children = parent.setdefault("children", [])
        if child["id"] not in children:
            children.append(child["id"])

    def children(self, node: Node) -> list[Node]:
        """A node's children."""
        return [self.nodes[id_] for id_ in node.get("children", [])]

    def outbound(self, node: Node) -> list[Node]:
        """The nodes of which the following node becomes a child."""
        match node["type"]:
            case "Skipped" | "Pod":
                return [node]
            case "Retry" if node.get("children"):
                return [self.nodes[node["children"][-1]]]
            case "TaskGroup":
                children = self.children(node)
                return [leaf for child in children for leaf in self.outbound(child)] if children else [node]
        return [leaf for id_ in node.get("outboundNodes", []) for leaf in self.outbound(self.nodes[id_])]

    def update_progress(self) -> str:
        """Write the progress of each node with pods below it, done of known ones, and return the workflow's."""
        pods = {id_ for id_, node in self.nodes.items() if node["type"] == "Pod"}
        done = {id_ for id_ in pods if self.nodes[id_]["phase"] in ("Succeeded", "Skipped", "Omitted")}
        for id_, node in self.nodes.items():
            below = ({id_} if id_ in pods else self._descendants(id_)) & pods
            if below:
                node["progress"] = f"{len(below & done)}/{len(below)}"
        return f"{len(done)}/{len(pods)}"

    def _descendants(self, start: str) -> set[str]:
        found: set[str] = set()
        queue = [start]
        while queue:
            fresh = [id_ for id_ in self.nodes[queue.pop()].get("children", []) if id_ not in found]
            found.update(fresh)
            queue += fresh
        return found


def fnv32a(text: str) -> int:
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
