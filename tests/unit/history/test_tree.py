"""The steps of a workflow as rows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

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
