"""The steps of a workflow as rows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from argosy.history.tree import FEW, MOST, tree
from argosy.shapes.shown import NodeShape

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def node(
    id: str, *children: str, status: str = "Succeeded", begin: float | None = 0, end: float | None = 1
) -> NodeShape:
    at = [None if each is None else _BEGIN + timedelta(seconds=each) for each in (begin, end)]
    return NodeShape(id=id, task=id, status=status, start_time=at[0], stop_time=at[1], children=[*children])


def shown(nodes: list[NodeShape], *unfolded: str) -> list[tuple[int, str, int]]:
    return [(row.depth, row.node.id, row.folded) for row in tree(nodes, _BEGIN, unfolded).rows]


WIDE = [f"n{number}" for number in range(2000)]


def test_the_way_to_a_failure_is_open_and_what_went_well_is_a_number() -> None:
    nodes = [
        node("root", *WIDE, status="Failed"),
        *(node(id, "leaf" if id == "n7" else "") for id in WIDE),
        node("leaf", status="Failed"),
    ]
    assert shown(nodes) == [(0, "root", 1999), (1, "n7", 0), (2, "leaf", 0)]


def test_what_somebody_unfolds_is_shown_with_what_is_directly_below_it() -> None:
    nodes = [node("root", "a", status="Failed"), node("a", *WIDE[:100]), *(node(id) for id in WIDE[:100])]
    assert shown(nodes) == [(0, "root", 101)]
    assert shown(nodes, "root") == [(0, "root", 0), (1, "a", 100)]
    assert len(shown(nodes, "root", "a")) == 102


def test_a_small_workflow_is_shown_whole() -> None:
    nodes = [node("root", *WIDE[: FEW - 1]), *(node(id) for id in WIDE[: FEW - 1])]
    assert len(shown(nodes)) == FEW


def test_nodes_on_a_cycle_are_shown() -> None:
    assert shown([node("a", "b", status="Failed"), node("b", "a"), node("self", "self"), node("root", "gone")]) == [
        (0, "self", 0),
        (0, "root", 0),
        (0, "a", 0),
        (1, "b", 0),
    ]


def test_a_long_chain_is_no_recursion_and_rows_are_bounded() -> None:
    chain = [node(id, following, status="Failed") for id, following in zip(WIDE, [*WIDE[1:], ""], strict=True)]
    found = tree(chain, _BEGIN)
    assert [row.depth for row in found.rows] == [*range(MOST)]
    assert found.left_out == 2000 - MOST


def test_the_bar_is_each_nodes_part_of_the_whole_time() -> None:
    nodes = [
        node("a", begin=0, end=10),
        node("b", begin=5, end=None, status="Running"),
        node("c", begin=None, end=None, status="Pending"),
    ]
    found = tree(nodes, _BEGIN + timedelta(seconds=20)).rows
    assert [(row.left, row.width) for row in found] == [(0, 50), (25, 75), (None, 0)]


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.lists(st.integers(0, 12)), st.sampled_from(["Succeeded", "Failed"])),
        max_size=60,
    )
)
def test_every_node_is_shown_once_or_counted(given_nodes: list[tuple[int, list[int], str]]) -> None:
    nodes = [
        node(str(index), *(str(index - back) for back in children), str(index + step), status=status)
        for index, (step, children, status) in enumerate(given_nodes)
    ]
    found = tree(nodes, _BEGIN)
    ids = [row.node.id for row in found.rows]
    assert len(ids) == len(set(ids))
    assert len(ids) + found.left_out + sum(row.folded for row in found.rows) == len(nodes)
    assert {each.id for each in nodes if each.status == "Failed"} <= set(ids)


def test_what_failed_is_shown_however_much_is_above_or_before_it() -> None:
    chain = [node(id, following) for id, following in pairwise(WIDE[:401])]
    found = tree([*chain, node(WIDE[400], status="Failed")], _BEGIN)
    assert (len(found.rows), found.left_out, found.rows[-1].node.id) == (MOST, 401 - MOST, WIDE[400])
    busy = [
        node("root", *WIDE, status="Running", end=None),
        *(node(id, status="Running", end=None) for id in WIDE[:-1]),
    ]
    found = tree([*busy, node(WIDE[-1], status="Error")], _BEGIN)
    assert [found.rows[0].node.id, found.rows[-1].node.id] == ["root", WIDE[-1]]


def inside(boundary: str, id: str, *children: str, kind: str = "Pod", task: str = "", **fields: Any) -> NodeShape:
    return node(id, *children, **fields).model_copy(update={"boundary": boundary, "type": kind, "task": task or id})


STEPS = [
    inside("", "root", "[0]", kind="Steps", status="Failed"),
    inside("root", "[0]", "prepare", kind="StepGroup"),
    inside("root", "prepare", "[1]"),
    inside("root", "[1]", "inner", "beside", kind="StepGroup", status="Failed"),
    inside("root", "inner", "in[0]", kind="Steps", status="Failed"),
    inside("root", "beside", "[2]"),
    inside("inner", "in[0]", "first", kind="StepGroup"),
    inside("inner", "first", "in[1]"),
    inside("inner", "in[1]", "graph", kind="StepGroup", status="Failed"),
    inside("inner", "graph", "a", kind="DAG", status="Failed"),
    inside("graph", "a", "b"),
    inside("graph", "b", "b(0:1)", kind="TaskGroup", status="Failed"),
    inside("graph", "b(0:1)", "c", status="Failed"),
    inside("graph", "c", "[2]", kind="TaskGroup"),
    inside("root", "[2]", "last", kind="StepGroup", status="Running"),
    inside("root", "last", "last(0)", kind="Retry", status="Running"),
    inside("root", "last(0)", status="Running"),
]
"""Steps, in one of which there are steps, in one of which there is a graph; what is inside ends before what comes after it."""


def test_steps_and_graphs_nest_as_they_are_written_and_a_group_of_one_is_that_one() -> None:
    assert [(depth, id) for depth, id, _ in shown(STEPS)] == [
        (0, "root"),
        (1, "prepare"),
        (1, "[1]"),
        (2, "inner"),
        (3, "first"),
        (3, "graph"),
        (4, "a"),
        (4, "b(0:1)"),
        (4, "c"),
        (2, "beside"),
        (1, "last"),
        (2, "last(0)"),
    ]


def test_ten_steps_one_after_the_other_are_ten_rows_side_by_side_though_they_began_in_one_second() -> None:
    names = [f"step-{number}" for number in range(10)]
    nodes = [inside("", "root", "g0", kind="Steps")]
    for number, name in enumerate(names):
        nodes += [
            inside("root", f"g{number}", name, kind="StepGroup"),
            inside("root", name, *([f"g{number + 1}"] if number < 9 else [])),
        ]
    assert [(depth, id) for depth, id, _ in shown(nodes[::-1])] == [(0, "root"), *((1, name) for name in names)]


def test_what_follows_a_group_without_items_is_not_in_it() -> None:
    nodes = [
        inside("", "root", "none", kind="DAG"),
        inside("root", "none", "after", kind="TaskGroup"),
        inside("root", "after"),
    ]
    assert shown(nodes) == [(0, "root", 0), (1, "none", 0), (1, "after", 0)]


def test_a_boundary_that_is_on_a_cycle_hides_nothing() -> None:
    nodes = [inside("b", "a"), inside("a", "b"), inside("self", "self"), inside("gone", "c")]
    assert {id for _, id, _ in shown(nodes)} == {"a", "b", "self", "c"}
