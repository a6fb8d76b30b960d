"""The variables of a manifest, `{{inputs.parameters.x}}` and the like: where each has a value. Pure.

A step knows the steps before it, a task all tasks of its dag, a pod only what it was passed. What begins with no word of Argo's is not
looked at, and what only a cluster or a running workflow can tell may have a value.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from argosy.manifest.calls import Template, calls, holders, templates, workflow_parameters
from argosy.manifest.document import Document, Path, shorten
from argosy.manifest.parameters import RESERVED
from argosy.manifest.parts import items, listed, mapping, strings
from argosy.manifest.texts import tags, texts

Finding = tuple[Path, str]

NOT_DECLARED = "no such parameter is declared in the manifest; each launch has to give it"
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


class Variables:
    """Of one manifest.

    Args:
        document: The manifest.
        given: Names of parameters that the algorithm, or the launch, gives.
        launched: Whether that is all.
    """

    def __init__(self, document: Document, given: Collection[str], launched: bool) -> None:
        self._given, self._launched, self._spec = given, launched, document.spec
        self._declared = {parameter["name"] for _, parameter in workflow_parameters(document)}
        found = templates(document)
        self._by_path = {template.path: template for template in found}
        self._calls = {call.path: call for call in calls(document)}
        globals_ = [output.get("globalName") for template in found for output in outputs(template)]
        self._globals = {name for name in globals_ if isinstance(name, str)}

    def is_declared(self, name: str) -> bool:
        """Whether the workflow has a parameter, as far as anybody knows yet."""
        return name in self._declared or name in RESERVED or name in self._given

    def target(self, path: Path) -> Template | None:
        """The template that the call at a path runs; None where only a cluster can tell."""
        call = self._calls.get(path)
        return self._by_path.get(call.target) if call is not None and call.target is not None else None

    def called(self, template: Template) -> dict[str, Template | None]:
        """The templates that a template's steps or tasks run, by the names of those."""
        return {str(holder.get("name")): self.target(path) for path, holder in holders(template)}

    def ancestry(self, template: Template, name: str) -> set[str]:
        """The tasks that one waits for, and those that they wait for."""
        tasks = {str(task.get("name")): task for _, task in holders(template)}
        found: set[str] = set()
        left = [name]
        while left:
            task = tasks.get(left.pop())
            new = {other for other, _ in dependencies(task)} - found if task is not None else set()
            found |= new
            left += new
        return found

    def scope(
        self,
        template: Template,
        kind: str,
        earlier: Collection[str] | None = None,
        ancestors: Collection[str] | None = None,
        own: str = "",
    ) -> set[str]:
        """The variables that may be used in a template, as far as they begin with a word of Argo's."""
        inputs = mapping(template.body.get("inputs"))
        parameters = {f"inputs.parameters.{each.get('name')}" for _, each in items((), inputs.get("parameters"))}
        artifacts = {f"inputs.artifacts.{each.get('name')}" for _, each in items((), inputs.get("artifacts"))}
        scope = parameters | artifacts | ({"inputs.parameters"} if parameters else set())
        if kind in LEAVES:
            scope |= {f"{name}.path" for name in artifacts}
        if kind in PODS:
            scope.add("pod.name")
        for name, target in self.called(template).items():
            prefix = f"{'steps' if kind == 'steps' else 'tasks'}.{name}"
            if kind == "steps" and earlier is not None and name not in earlier:
                continue
            if kind == "steps" or ancestors is None or name in ancestors or name == own:
                scope.add(f"{prefix}.status")
            if kind == "steps" and name == own:
                continue
            scope |= _of_call(prefix, target)
        return scope

    def unresolved(self, path: Path, value: Any, scope: Collection[str]) -> Iterator[Finding]:
        """The variables in a value that have none."""
        for place, text in texts(path, value):
            for _, tag in tags(text):
                name = tag[2:-2].strip()
                if name.startswith("=") or "{{" in name or not name.startswith(_ROOTS):
                    continue
                if (problem := self._problem(name, scope)) is not None:
                    yield place, problem

    def _problem(self, name: str, scope: Collection[str]) -> str | None:
        """Why a variable has no value; None where it may have one."""
        root, _, rest = name.partition(".")
        if name in scope or root == "outputs" or name.startswith(("tasks.name", "steps.name")):
            return None
        if root == "item":
            return (
                None
                if _ANY_ITEM in scope
                else f"{{{{{shorten(name)}}}}}: only the items of this step or task have a value here"
            )
        if root == "workflow":
            return self._of_workflow(rest)
        owner = ".".join(name.split(".")[:2])
        if f"{owner}.*" in scope:
            return None
        return f"{{{{{shorten(name)}}}}} has no value here"

    def _of_workflow(self, name: str) -> str | None:
        kind, _, rest = name.partition(".")
        if kind == "parameters" and rest not in ("", "json") and not self.is_declared(rest):
            return (
                f"neither the manifest nor the launch has a parameter {shorten(rest)}"
                if self._launched
                else NOT_DECLARED
            )
        if kind == "outputs":
            name_ = rest.partition(".")[2]
            known = name_ in self._globals or any("{{" in each for each in self._globals)
            return None if known else f"no template gives out {shorten(name_)} with a globalName"
        if kind == "failures" and "onExit" not in self._spec:
            return "{{workflow.failures}} has a value only where the workflow has an onExit"
        known = kind in _OF_WORKFLOW or name.startswith(("creationTimestamp", "scheduledTime", "duration"))
        return None if known else f"{{{{workflow.{shorten(name)}}}}} is not one of Argo's variables"


def _of_call(prefix: str, target: Template | None) -> set[str]:
    """The variables that a step or task has once it has run."""
    if target is None:
        return {f"{prefix}.*"}
    found = {f"{prefix}.{name}" for name in ("id", "startedAt", "finishedAt", "hostNodeName")}
    found |= {f"{prefix}.ip"} if target.body.get("daemon") else set()
    named = {each.get("name") for _, each in items((), mapping(target.body.get("containerSet")).get("containers"))}
    found |= {f"{prefix}.outputs.parameters", f"{prefix}.outputs.result", f"{prefix}.exitCode"}
    if not (_WITH_RESULT & target.body.keys() or "main" in named or "containerSet" in target.body):
        found -= {f"{prefix}.outputs.result", f"{prefix}.exitCode"}
    outputs = mapping(target.body.get("outputs"))
    for kind in ("parameters", "artifacts"):
        found |= {f"{prefix}.outputs.{kind}.{each.get('name')}" for _, each in items((), outputs.get(kind))}
    return found


def of_items(holder: Mapping[str, Any]) -> set[str]:
    """The variables that a step or task with items has."""
    if "withParam" in holder or any("{{" in str(each) for each in listed(holder.get("withItems"))):
        return {_ANY_ITEM}
    found: set[str] = set()
    for each in listed(holder.get("withItems")):
        keys = (
            each if isinstance(each, dict) else [f"[{at}]" for at in range(len(each))] if isinstance(each, list) else []
        )
        found |= {f"item.{key}" for key in keys}
    return found


def dependencies(task: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The tasks that one waits for, each with the result that it asks for."""
    if isinstance(depends := task.get("depends"), str):
        return [(found[1], found[2] or "") for found in _DEPENDS.finditer(depends)]
    return [(name, "") for name in strings(task.get("dependencies"))]


def outputs(template: Template) -> Iterator[dict[str, Any]]:
    """What a template gives out, parameters and artifacts."""
    outputs = mapping(template.body.get("outputs"))
    for kind in ("parameters", "artifacts"):
        yield from (each for _, each in items((), outputs.get(kind)))
