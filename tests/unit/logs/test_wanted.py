"""Which containers somebody names."""

from typing import Any

import pytest

from argosy.errors import NotFound
from argosy.logs.wanted import Wanted, chooser
from argosy.shapes.shown import NodeShape


def node(id_: str, task: str, type_: str = "Pod", status: str = "Failed", children: tuple[str, ...] = ()) -> NodeShape:
    return NodeShape(
        id=id_, task=task, status=status, start_time=None, stop_time=None, children=list(children), type=type_
    )


NODES = [
    node("w", "w", "Steps", children=("w-0",)),
    node("w-0", "[0]", "StepGroup", children=("r", "s", "g")),
    node("r", "train", "Retry", children=("r0", "r1")),
    node("r0", "train(0)", children=("next",)),
    node("r1", "train(1)", status="Succeeded", children=("next",)),
    node("next", "last", status="Running"),
    node("s", "set", children=("c1",)),
    node("c1", "one", "Container", "Succeeded", children=("c2", "next")),
    node("c2", "two", "Container", children=("c1", "next")),  # a circle ends
    node("g", "each", "TaskGroup", "Running", children=("g0", "gone")),
    node("g0", "each(0:a)", status="Running"),
]

ALL = [
    ("r0", "main", 1),
    ("r1", "main", 0),
    ("next", "main", None),
    ("s", "one", 0),
    ("s", "two", 4),
    ("g0", "main", None),
    ("unknown", "main", 2),
]


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("train", {"r0", "r1"}),
        ("train(1)", {"r1"}),
        ("r0", {"r0"}),
        ("each", {"g0"}),
        ("set", {"s/one", "s/two"}),
        ("two", {"s/two"}),
        ("c1", {"s/one"}),
        ("w-0", set()),
        ("main", {"r0", "r1", "next", "g0", "unknown"}),
    ],
)
def test_a_node_stands_for_its_own_pods_and_not_for_what_comes_after_it(key: str, ids: set[str]) -> None:
    assert _chosen(node=key) == ids


def test_those_that_failed_are_those_that_failed() -> None:
    assert _chosen(failed=True) == {"r0", "s/one", "s/two", "unknown"}
    assert _chosen(failed=True, node="train") == {"r0"}
    assert _chosen() == {f"{id_}/{name}" if id_ == "s" else id_ for id_, name, _ in ALL}


def test_a_node_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"no node 'tarin'; its nodes are: .*train"):
        chooser(Wanted("tarin"), NODES)
    assert not chooser(Wanted("later"), [])("r0", "main", 1)


def _chosen(**wanted: Any) -> set[str]:
    chosen = chooser(Wanted(**wanted), NODES)
    return {f"{id_}/{name}" if id_ == "s" else id_ for id_, name, code in ALL if chosen(id_, name, code)}
