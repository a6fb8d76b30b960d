"""A DAG template: what each task needs, and the phase of the whole DAG."""

import ast
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from argosy.demo.simulator.nodes import FAILED, FINAL, Node, NodeTree
from argosy.demo.simulator.templates import InvalidSpec, Json, NotSimulated

_DEPENDENCY = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_]*)(?:\.([A-Z][A-Za-z]+))?")
_RESULTS = {"Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned"}
_RESULT_OF_PHASE = {"Error": "Errored"}


class Dag:
    """The tasks of a DAG template and what each needs.

    Args:
        dag: The template's `dag`.

    Raises:
        InvalidSpec: A task needs one that is not there, or itself.
    """

    def __init__(self, dag: Json) -> None:
        self.tasks: dict[str, Json] = {task["name"]: task for task in dag["tasks"]}
        self.depends = {name: _depends_of(task, self.tasks) for name, task in self.tasks.items()}
        self.needed = {name: _dependencies_of(depends) for name, depends in self.depends.items()}
        self.fail_fast = dag.get("failFast") is not False
        if unknown := {other for needed in self.needed.values() for other in needed} - self.tasks.keys():
            raise InvalidSpec(f"sorting failed: invalid dependency {min(unknown)}")
        try:
            TopologicalSorter(self.needed).prepare()
        except CycleError as error:
            raise InvalidSpec("sorting failed: graph with cycle") from error
        self.targets = sorted(self.tasks.keys() - {other for needed in self.needed.values() for other in needed})

    def ancestors(self, task: str) -> list[str]:
        """The tasks before a task, each once."""
        found: dict[str, None] = {}
        queue = list(self.needed[task])
        while queue:
            other = queue.pop()
            if other not in found:
                found[other] = None
                queue += self.needed[other]
        return list(found)

    def phase(self, tree: NodeTree, node: Node) -> str:
        """A DAG node's phase (`assessDAGPhase` of dag.go). An omitted task counts like the branch that led to it."""
        ends = dict.fromkeys((tree.id_of(f"{node['name']}.{target}") for target in self.targets), "")
        queue = [(id_, "Succeeded") for id_ in node.get("children", [])]
        seen = set(queue)
        while queue:
            id_, branch = queue.pop(0)
            current = tree.nodes[id_]
            if current["phase"] not in FINAL:
                return "Running"
            if current["phase"] not in ("Skipped", "Omitted"):
                branch = current["phase"]
            if id_ in ends and ends[id_] not in FAILED:
                ends[id_] = branch
            children = current.get("children", [])
            if current["type"] == "Retry":
                children = [grandchild for child in children for grandchild in tree.nodes[child].get("children", [])]
            fresh = [(child, branch) for child in children if (child, branch) not in seen]
            seen.update(fresh)
            queue += fresh
        result = "Succeeded"
        for target, end in zip(self.targets, ends.values(), strict=True):
            if not end:
                result = "Running"
                if not self.fail_fast:
                    break
            elif end in FAILED and not continues(self.tasks[target], end):
                result = end
                if self.fail_fast:
                    break
        return result


def continues(step: Json, phase: str) -> bool:
    """Whether the following steps or tasks run although this one ended in this phase."""
    return bool((step.get("continueOn") or {}).get({"Failed": "failed", "Error": "error"}[phase]))


def _depends_of(task: Json, tasks: Mapping[str, Json]) -> str:
    """A task's `depends`, or its `dependencies` in that form, with every result spelled out."""
    if task.get("depends"):
        return _DEPENDENCY.sub(lambda match: match[0] if match[2] else _ended_well(tasks, match[1]), task["depends"])
    return " && ".join(_ended_well(tasks, name) for name in task.get("dependencies") or [])


def _dependencies_of(depends: str) -> list[str]:
    """The tasks that a `depends` names, each once."""
    return list(dict.fromkeys(match[1] for match in _DEPENDENCY.finditer(depends)))


def satisfied(depends: str, phases: Mapping[str, str], where: str) -> bool:
    """Whether a `depends` is true, given the phase of each task that it names."""

    def truth(match: re.Match[str]) -> str:
        if match[2] not in _RESULTS:
            raise NotSimulated(f"{where}: depends {match[0]}")
        phase = phases[match[1]]
        return str(_RESULT_OF_PHASE.get(phase, phase) == match[2])

    text = _DEPENDENCY.sub(truth, depends).replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    try:
        return _boolean(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise InvalidSpec(f"{where}: depends {depends!r} is no expression") from error


def _ended_well(tasks: Mapping[str, Json], name: str) -> str:
    go_on = tasks.get(name, {}).get("continueOn") or {}
    results = ["Succeeded", "Skipped", "Daemoned"]
    results += ["Errored"] if go_on.get("error") else []
    results += ["Failed"] if go_on.get("failed") else []
    return "(" + " || ".join(f"{name}.{result}" for result in results) + ")"


def _boolean(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _boolean(operand)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_boolean(value) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_boolean(value) for value in values)
        case _:
            raise ValueError(ast.dump(node))
