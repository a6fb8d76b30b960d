"""Which step of a failed workflow is told."""

from datetime import UTC, datetime
from typing import Any

from argosy.kube.failure import failure, together
from argosy.kube.nodes import NodeStatus


def node(name: str, phase: str = "Failed", kind: str = "Pod", second: int = 1, **fields: Any) -> NodeStatus:
    rest = {"message": "", "children": (), "exit_code": None, "started_at": None, **fields}
    ended = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    return NodeStatus(node_id=f"id-{name}", task=name, type=kind, phase=phase, finished_at=ended, **rest)


def test_the_step_that_failed_first_is_told_and_how_many_more() -> None:
    nodes = [
        node("all", kind="DAG", second=9, message="child 'late' failed"),
        node("late", second=5, message="Error (exit code 2)", exit_code=2),
        node("early", second=3, message="OOMKilled", exit_code=137),
        node("fine", "Succeeded"),
    ]
    assert failure(nodes) == ("early: OOMKilled (exit code 137); 1 more step failed", 137)


def test_an_exit_code_that_the_message_has_already_is_not_told_twice() -> None:
    assert failure([node("a", message="Error (exit code 3)", exit_code=3)]) == ("a: Error (exit code 3)", 3)


def test_tries_that_argo_followed_by_others_do_not_count() -> None:
    tries = (node("a(0)", second=1, message="first"), node("a(1)", second=2, message="last"))
    failed = node("a", kind="Retry", second=3, children=("id-a(0)", "id-a(1)"))
    assert failure([failed, *tries]) == ("a(1): last", None)
    saved = node("a", "Succeeded", kind="Retry", children=("id-a(0)", "id-a(1)"))
    assert failure([saved, tries[0], node("a(1)", "Succeeded"), node("b", second=9)]) == ("b: Failed", None)


def test_a_container_is_told_and_not_the_pod_that_holds_it() -> None:
    held = [node("pod", children=("id-main",), message="pod failed"), node("main", kind="Container", exit_code=4)]
    assert failure(held) == ("main: Failed (exit code 4)", 4)


def test_a_container_that_waited_for_another_is_told_and_not_their_pod() -> None:
    held = [
        node("pod", children=("id-good",), message="pod failed"),
        node("good", "Succeeded", kind="Container", children=("id-bad",), boundary="id-pod"),
        node("bad", kind="Container", exit_code=4, boundary="id-pod"),
        node("worse", kind="Container", exit_code=5, boundary="id-pod", second=2),
    ]
    assert failure(held) == ("bad: Failed (exit code 4); 1 more step failed", 4)
    chained = [held[0], held[2]._replace(children=("id-worse",)), held[3]]
    assert failure(chained) == ("bad: Failed (exit code 4); 1 more step failed", 4)


def test_where_no_step_failed_nothing_is_told() -> None:
    assert failure([node("all", kind="Steps"), node("a", "Succeeded")]) is None
    assert failure([]) is None


def test_the_only_step_is_not_told_by_its_workflows_name() -> None:
    only = node("job-1", message="Error (exit code 3)", exit_code=3)._replace(node_id="job-1")
    assert failure([only]) == ("Error (exit code 3)", 3)


def test_a_workflows_own_message_is_told_where_it_says_more() -> None:
    assert together("child 'job-1-292173017' failed", "a: Error (exit code 3)") == "a: Error (exit code 3)"
    assert together("Error (exit code 3)", "a: Error (exit code 3)") == "a: Error (exit code 3)"
    assert together("Max duration limit exceeded", "a: Failed") == "Max duration limit exceeded; a: Failed"
    assert together("", "a: Failed") == "a: Failed"


def test_where_no_leaf_failed_what_says_why_is_told() -> None:
    nodes = [
        node("all", kind="Steps", second=9, message="child 'id-group' errored"),
        node(
            "group", "Error", kind="StepGroup", second=3, message="withParam value could not be parsed as a JSON list"
        ),
    ]
    assert failure(nodes) == ("group: withParam value could not be parsed as a JSON list", None)
