"""The steps of a workflow as rows of a tree, with a bar of time beside each. Pure.

Workflows of thousands of steps must be readable: what failed or has not ended is open with all that is above it, and what went well is
folded into a number on the row above, unless somebody unfolds it. Where not all rows fit on a page, those that failed are kept first: the
last of 400 steps that follow each other has 399 above it. Argo's nodes need not be a tree: a node with several parents is shown below the
first, and nodes that only a cycle leads to are shown all the same.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from argosy.shapes.shown import NodeShape

FEW = 30
"""Nodes of a workflow that is shown whole."""

MOST = 120
"""Rows."""

_WELL = {"Succeeded", "Skipped", "Omitted"}
_ILL = {"Failed", "Error"}


@dataclass(frozen=True)
class Row:
    """One node. `folded` is how many nodes below it are not shown; `left` and `width` are its time as a part, in percent, of the time of
    all nodes, None if it has not begun."""

    depth: int
    node: NodeShape
    folded: int
    left: float | None
    width: float


@dataclass(frozen=True)
class Tree:
    """Rows in their order, and how many more there would be."""

    rows: Sequence[Row]
    left_out: int


def tree(nodes: Sequence[NodeShape], now: datetime, unfolded: Collection[str] = ()) -> Tree:
    """The rows of a workflow.

    Args:
        nodes: All its nodes.
        now: Until when it is known what became of nodes that have not ended.
        unfolded: Ids of nodes below which everything is shown that is directly below them.
    """
    below = _below(nodes)
    by_id = {node.id: node for node in nodes}
    sizes, opened = _sizes(nodes, below)
    begun = [node.start_time for node in nodes if node.start_time is not None]
    ends = [node.stop_time or now for node in nodes if node.start_time is not None]
    first, last = min(begun, default=now), max(ends, default=now)
    whole = len(nodes) <= FEW
    found: list[tuple[int, NodeShape, int]] = []
    todo = [(root, 0) for root in reversed(below[""])]
    while todo:
        id, depth = todo.pop()
        shown = [each for each in below[id] if whole or id in unfolded or each in opened]
        folded = sum(sizes[each] for each in below[id]) - sum(sizes[each] for each in shown)
        found.append((depth, by_id[id], folded))
        todo += [(each, depth + 1) for each in reversed(shown)]
    kept = sorted(sorted(range(len(found)), key=lambda place: _urgency(found[place][1]))[:MOST])
    rows = [
        Row(depth, node, folded, *_bar(node, first, last, now)) for depth, node, folded in map(found.__getitem__, kept)
    ]
    return Tree(rows, len(found) - len(rows))


def _urgency(node: NodeShape) -> int:
    """Where not all fit: what failed is shown rather than what has not ended, and that rather than what only leads to these."""
    return 0 if node.status in _ILL else 2 if node.status in _WELL else 1


def _below(nodes: Sequence[NodeShape]) -> Mapping[str, Sequence[str]]:
    """The nodes below each, so that each node is below one other, or below "", at the top."""
    children = {node.id: node.children for node in nodes}
    inner = {child for node in nodes for child in node.children if child != node.id}
    found: dict[str, list[str]] = {id: [] for id in ("", *children)}
    seen: set[str] = set()
    # What nobody has for a child is at the top; then, of what is left, the first of each cycle.
    for root in (*(id for id in children if id not in inner), *children):
        if root in seen:
            continue
        seen.add(root)
        found[""].append(root)
        todo = [root]
        while todo:
            id = todo.pop()
            fresh = [each for each in dict.fromkeys(children[id]) if each in children and each not in seen]
            seen.update(fresh)
            found[id] = fresh
            todo += fresh
    return found


def _sizes(nodes: Sequence[NodeShape], below: Mapping[str, Sequence[str]]) -> tuple[Mapping[str, int], Collection[str]]:
    """How many nodes there are from each node downwards, and which of them have one that did not go well, themselves or below."""
    sizes: dict[str, int] = {}
    opened = {node.id for node in nodes if node.status not in _WELL}
    for id in reversed([*_downwards(below)]):
        sizes[id] = 1 + sum(sizes[each] for each in below[id])
        if any(each in opened for each in below[id]):
            opened.add(id)
    return sizes, opened


def _downwards(below: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Every node, after the one that it is below."""
    todo = [*below[""]]
    while todo:
        id = todo.pop()
        yield id
        todo += below[id]


def _bar(node: NodeShape, first: datetime, last: datetime, now: datetime) -> tuple[float | None, float]:
    if node.start_time is None:
        return None, 0.0
    whole = max((last - first).total_seconds(), 0.001)
    left = (node.start_time - first).total_seconds() / whole
    width = ((node.stop_time or now) - node.start_time).total_seconds() / whole
    return round(100 * left, 2), round(100 * min(max(width, 0.0), 1 - left), 2)
