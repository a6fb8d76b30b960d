"""The variables of a manifest, such as `{{inputs.parameters.x}}`: checks that each has a value where it is used. Pure.

A step can use results of the steps before it, a task those of all tasks of its dag, a pod only its inputs. A variable that does not begin
with one of Argo's words is not checked. If only a cluster or a running workflow can know whether a variable has a value, it counts as
having one.
"""

import difflib
import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from argosy import labels
from argosy.manifest.calls import Template, calls, holders, templates, workflow_parameters
from argosy.manifest.document import Document, Path, shorten
from argosy.manifest.parameters import RESERVED
from argosy.manifest.parts import items, listed, mapping, strings
from argosy.manifest.texts import tags, texts

Finding = tuple[Path, str]

_COMPARED, _COMPARED_WITH = 5, 100
"""Names that are looked for among others that are much the same: a hostile manifest could have thousands of each."""

NOT_DECLARED = " is not declared in the manifest; each launch has to give it"
"""A warning, until the launch is there."""

PODS = {"container", "containerSet", "script", "resource", "data"}
LEAVES = PODS | {"http", "plugin"}
_WITH_RESULT = {"container", "script", "data", "http", "plugin"}
_DEPENDS = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*)(?:\.([A-Z][a-zA-Z]+))?")

_ROOTS = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
_ANY_ITEM = "item.*"
_OF_WORKFLOW = {
    "name", "namespace", "mainEntrypoint", "serviceAccountName", "uid", "parameters", "annotations", "labels", "creationTimestamp",
    "priority", "duration", "scheduledTime", "status", "failures",
}  # fmt: skip


_LABELS = {
    labels.LABEL_JOB_TYPE, labels.LABEL_PROJECT, labels.LABEL_GID, labels.LABEL_UID, labels.LABEL_USER, labels.LABEL_MANAGED_BY,
    labels.LABEL_INSTALLATION, labels.LABEL_ATTEMPT,
}  # fmt: skip
_ANNOTATIONS = {
    labels.ANNOTATION_MEDIA_IDS, labels.ANNOTATION_NAME, labels.ANNOTATION_ALGORITHM, labels.ANNOTATION_DIGEST
}  # fmt: skip


class Variables:
    """The variables of one manifest.

    Args:
        document: The manifest.
        given: Names of parameters that the algorithm, or the launch, gives.
        launched: Whether `given` is complete.
    """

    def __init__(self, document: Document, given: Collection[str], launched: bool) -> None:
        self._given, self._launched, self._spec = given, launched, document.spec
        self._declared = {parameter["name"] for _, parameter in workflow_parameters(document)}
        found = templates(document)
        self._by_path = {template.path: template for template in found}
        self._calls = {call.path: call for call in calls(document)}
        globals_ = [output.get("globalName") for template in found for output in outputs(template)]
        self._globals = {name for name in globals_ if isinstance(name, str)}
        self._close: dict[str, list[str]] = {}
        self._results: dict[Path, set[str]] = {}

    def is_declared(self, name: str) -> bool:
        """Whether the workflow has a parameter, as far as is known now."""
        return name in self._declared or name in RESERVED or name in self._given

    def not_declared(self, name: str) -> str:
        """What is to be said of a parameter that nobody declares."""
        known = [*self._declared, *RESERVED, *self._given]
        if name not in self._close and len(self._close) < _COMPARED and len(known) < _COMPARED_WITH:
            self._close[name] = difflib.get_close_matches(name[:40], [each[:40] for each in known], 1)
        close = self._close.get(name)
        hint = f', or did you mean "{shorten(close[0])}"?' if close else ""
        return f'the parameter "{shorten(name)}"{NOT_DECLARED}{hint}'

    def target(self, path: Path) -> Template | None:
        """The template that the call at a path runs; None if only a cluster knows it."""
        call = self._calls.get(path)
        return self._by_path.get(call.target) if call is not None and call.target is not None else None

    def called(self, template: Template) -> dict[str, Template | None]:
        """The templates that a template's steps or tasks run, by the names of the steps or tasks."""
        return {str(holder.get("name")): self.target(path) for path, holder in holders(template)}

    def scope(self, template: Template, kind: str) -> "Scope":
        """The variables that a template can use, with those of all its steps or tasks."""
        inputs = mapping(template.body.get("inputs"))
        parameters = {f"inputs.parameters.{each.get('name')}" for _, each in items((), inputs.get("parameters"))}
        artifacts = {f"inputs.artifacts.{each.get('name')}" for _, each in items((), inputs.get("artifacts"))}
        names = parameters | artifacts | ({"inputs.parameters"} if parameters else set())
        if kind in LEAVES:
            names |= {f"{name}.path" for name in artifacts}
        if kind in PODS:
            names.add("pod.name")
        return Scope(names, {"steps": "steps", "dag": "tasks"}.get(kind, ""), self.called(template))

    def unresolved(self, path: Path, value: Any, scope: "Scope") -> Iterator[Finding]:
        """The variables in a text that have no value there."""
        for place, text in texts(path, value):
            for _, tag in tags(text):
                name = tag[2:-2].strip()
                if name.startswith("=") or "{{" in name or not name.startswith(_ROOTS):
                    continue
                if (problem := self._problem(name, scope)) is not None:
                    yield place, problem

    def _problem(self, name: str, scope: "Scope") -> str | None:
        """Why a variable has no value; None if it may have one."""
        root, _, rest = name.partition(".")
        if name in scope.names or root == "outputs" or name.startswith(("tasks.name", "steps.name")):
            return None
        if root == "workflow":
            return self._of_workflow(rest)
        if root == "item" and _ANY_ITEM in scope.names:
            return None
        if root == "item" and scope.items:
            known = ", ".join(map(shorten, sorted(scope.items)[:10]))
            return f"{{{{{shorten(name)}}}}}: not every item of this step or task has that; some have {known}"
        if root == "item":
            return f"{{{{{shorten(name)}}}}}: only a step or task with items has a value here"
        owner, _, variable = rest.partition(".")
        if root == scope.root and owner in scope.calls and self._has(scope, owner, variable):
            return None
        return f"{{{{{shorten(name)}}}}} has no value here"

    def _has(self, scope: "Scope", owner: str, variable: str) -> bool:
        """Whether a step or task has a variable that can be used in this scope."""
        if variable == "status":
            return scope.with_status(owner)
        if scope.visible is not None and owner not in scope.visible:
            return False
        target = scope.calls[owner]
        if target is None:
            return True
        if target.path not in self._results:
            self._results[target.path] = _of_call(target)
        return variable in self._results[target.path]

    def _of_workflow(self, name: str) -> str | None:
        kind, _, rest = name.partition(".")
        if kind == "parameters" and rest not in ("", "json") and not self.is_declared(rest):
            if self._launched:
                return f'neither the manifest nor the launch has a parameter "{shorten(rest)}"'
            return self.not_declared(rest)
        if kind == "outputs":
            name_ = rest.partition(".")[2]
            known = name_ in self._globals or any("{{" in each for each in self._globals)
            return None if known else f"no template gives out {shorten(name_)} with a globalName"
        if kind == "failures" and "onExit" not in self._spec:
            return "{{workflow.failures}} has a value only where the workflow has an onExit"
        if kind in ("labels", "annotations") and rest not in ("", "json"):
            known = rest in (_LABELS if kind == "labels" else _ANNOTATIONS)
            return (
                None
                if known
                else f"workflows have no {kind[:-1]} {shorten(rest)}; argosy sets {', '.join(sorted(_LABELS))}"
            )
        if kind == "priority" and "priority" not in self._spec:
            return "{{workflow.priority}} has a value only where the workflow has a priority"
        known = kind in _OF_WORKFLOW or name.startswith(("creationTimestamp", "scheduledTime", "duration"))
        return None if known else f"{{{{workflow.{shorten(name)}}}}} is not one of Argo's variables"


@dataclass(frozen=True)
class Scope:
    """The variables that have a value at some place.

    Args:
        names: Variables, whole.
        root: How the variables of steps or tasks begin here; empty for a pod's template.
        calls: By the name of each, the template that it runs; None where only a cluster can tell.
        visible: Of which of them everything is known; None for all.
        items: Variables that some of the items have that are looped over.
        with_status: Of which the status is.
    """

    names: Container[str]
    root: str = ""
    calls: Mapping[str, Template | None] = field(default_factory=dict)
    visible: Container[str] | None = None
    items: Set[str] = frozenset()
    with_status: Callable[[str], bool] = lambda name: True


def ancestors(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """For each task, all tasks that it waits for, directly or through others, as bits in the order of the tasks. Tasks in a cycle are left
    out. A manifest may have thousands of tasks, so each is visited once."""
    waits = {name: [other for other, _ in dependencies(task) if other in tasks] for name, task in tasks.items()}
    bits = {name: 1 << at for at, name in enumerate(tasks)}
    found: dict[str, int] = {}
    for name in ordered(waits):
        found[name] = 0
        for other in waits[name]:
            found[name] |= bits[other] | found[other]
    return found


def ordered(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes of a graph in topological order: each after those that it waits for. Nodes in a cycle, or behind one, are left out
    (Kahn)."""
    waiting = {name: len(set(others)) for name, others in graph.items()}
    followers: dict[str, list[str]] = {name: [] for name in graph}
    for name, others in graph.items():
        for other in set(others):
            followers[other].append(name)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:
        for follower in followers[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return ready


def _of_call(target: Template) -> set[str]:
    """The variables of a step or task after it has run, without its name, and without its status."""
    found = {"id", "startedAt", "finishedAt", "hostNodeName", "outputs.parameters"}
    found |= {"ip"} if target.body.get("daemon") else set()
    named = {each.get("name") for _, each in items((), mapping(target.body.get("containerSet")).get("containers"))}
    if _WITH_RESULT & target.body.keys() or "main" in named or "containerSet" in target.body:
        found |= {"outputs.result", "exitCode"}
    for kind in ("parameters", "artifacts"):
        each_ = items((), mapping(target.body.get("outputs")).get(kind))
        found |= {f"outputs.{kind}.{each.get('name')}" for _, each in each_}
    return found


def of_items(holder: Mapping[str, Any]) -> set[str]:
    """The variables that a step or task with items has."""
    given = listed(holder.get("withItems"))
    if "withParam" in holder or any("{{" in str(each) for each in given):
        return {_ANY_ITEM}
    found = _of_each(given)
    return set.intersection(*found) if found else set()


def of_some_items(holder: Mapping[str, Any]) -> set[str]:
    """The variables that some of its items have."""
    return set().union(*_of_each(listed(holder.get("withItems"))))


def _of_each(items: list[Any]) -> list[set[str]]:
    return [{f"item.{key}" for key in (each if isinstance(each, dict) else _indexes(each))} for each in items]


def _indexes(item: Any) -> list[str]:
    return [f"[{at}]" for at in range(len(item))] if isinstance(item, list) else []


def dependencies(task: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The tasks that a task waits for, each with the result that it requires."""
    if isinstance(depends := task.get("depends"), str):
        if "{{" in depends:
            return []  # Argo fills it in first
        return [(found[1], found[2] or "") for found in _DEPENDS.finditer(depends)]
    return [(name, "") for name in strings(task.get("dependencies"))]


def outputs(template: Template) -> Iterator[dict[str, Any]]:
    """The outputs of a template: parameters and artifacts."""
    outputs = mapping(template.body.get("outputs"))
    for kind in ("parameters", "artifacts"):
        yield from (each for _, each in items((), outputs.get(kind)))
