"""The steps of a workflow as rows of a tree, with a bar of time beside each. Pure.

Workflows of thousands of steps must be readable: what failed or has not ended is open with all that is above it, and what went well is
folded into a number on the row above, unless somebody unfolds it. Where not all rows fit on a page, those that failed are kept first: the
last of 400 steps that follow each other has 399 above it.

A node is below the steps or the DAG that it belongs to, and not, as Argo has it, below the step before it: ten steps one after the other
are ten rows side by side. A group of one step is that step. Nodes that only a cycle leads to are shown, too.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from argosy.kube.nodes import ONLY_A_CHILD
from argosy.shapes.shown import NodeShape

FEW = 30
"""Nodes of a workflow that is shown whole."""

MOST = 120
"""Rows."""

ONE = frozenset({"StepGroup", "TaskGroup"})
"""Types of groups that are not shown where they hold one node."""

_GROUPS = ONE | {"Retry"}
"""Types of nodes whose children are what they hold. The children of other nodes may be what follows them."""

_LAST = datetime.max.replace(tzinfo=UTC)

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
    """Rows in their order, and how many more there would be; `count` nodes with those that are folded."""

    rows: Sequence[Row]
    left_out: int
    count: int


def tree(nodes: Sequence[NodeShape], now: datetime, unfolded: Collection[str] = ()) -> Tree:
    """The rows of a workflow.

    Args:
        nodes: All its nodes.
        now: Until when it is known what became of nodes that have not ended.
        unfolded: Ids of nodes below which everything is shown that is directly below them.
    """
    below = held(nodes)
    by_id = {node.id: node for node in nodes}
    nodes = [by_id[id] for id in _downwards(below)]
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
    return Tree(rows, len(found) - len(rows), len(nodes))


def _urgency(node: NodeShape) -> int:
    """Where not all fit: what failed is shown rather than what has not ended, and that rather than what only leads to these."""
    return 0 if node.status in _ILL else 2 if node.status in _WELL else 1


def said(node: NodeShape) -> str:
    """The message of a node, if it says more than which of those below it failed, which can be seen."""
    return "" if ONLY_A_CHILD.fullmatch(node.message) else node.message


def held(nodes: Sequence[NodeShape]) -> Mapping[str, Sequence[str]]:
    """The ids of the nodes below each, in the order in which they began, so that each node is below one other, or below "", at the top; but
    for groups of one, which are left out."""
    by_id = {node.id: node for node in nodes}
    children = _inner(by_id)
    inner = {child for id, some in children.items() for child in some if child != id}
    found: dict[str, list[str]] = {id: [] for id in ("", *by_id)}
    seen: set[str] = set()
    # What nobody has for a child is at the top; then, of what is left, the first of each cycle.
    for root in (*(id for id in by_id if id not in inner), *by_id):
        if root in seen:
            continue
        seen.add(root)
        found[""].append(root)
        todo = [root]
        while todo:
            id = todo.pop()
            fresh = [each for each in dict.fromkeys(children[id]) if each not in seen]
            seen.update(fresh)
            found[id] = fresh
            todo += fresh
    single = {id: some[0] for id, some in found.items() if id and len(some) == 1 and by_id[id].type in ONE}
    return {id: [_through(each, single) for each in some] for id, some in found.items() if id not in single}


def _through(id: str, single: Mapping[str, str]) -> str:
    """What is shown in place of a node."""
    while id in single:
        id = single[id]
    return id


def _inner(by_id: Mapping[str, NodeShape]) -> Mapping[str, Sequence[str]]:
    """What each node holds: what belongs to it, but for what a group that belongs to it holds. A node that belongs to none that is known is
    below the one whose child it is."""
    groups = {
        child: node.id
        for node in by_id.values()
        if node.type in _GROUPS
        for child in node.children
        if child in by_id and _holds(node, by_id[child])
    }
    found: dict[str, list[str]] = {id: [] for id in by_id}
    for node in sorted(by_id.values(), key=_order(by_id)):
        if node.boundary in by_id:
            found[groups.get(node.id, node.boundary)].append(node.id)
    for node in by_id.values():
        found[node.id] += [child for child in node.children if child in by_id and by_id[child].boundary not in by_id]
    return found


def _holds(group: NodeShape, child: NodeShape) -> bool:
    """Whether a child of a group is one of those that it holds. What follows a group without items is its child, too."""
    if child.type == "StepGroup" or child.boundary != group.boundary:
        return False
    return group.type != "TaskGroup" or child.task.startswith(f"{group.task}(")


def _order(by_id: Mapping[str, NodeShape]) -> Callable[[NodeShape], tuple[datetime, int]]:
    """The order in which nodes began; of those that began in the same second, what leads to another comes before it."""
    following = {child for node in by_id.values() for child in node.children}
    queue = [id for id in by_id if id not in following]
    places = dict.fromkeys(queue, 0)
    for id in queue:  # grows
        fresh = [child for child in by_id[id].children if child in by_id and child not in places]
        places |= dict.fromkeys(fresh, places[id] + 1)
        queue += dict.fromkeys(fresh)
    return lambda node: (node.start_time or _LAST, places.get(node.id, 0))


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
