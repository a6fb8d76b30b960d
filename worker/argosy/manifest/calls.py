"""Which template calls which other one, with which arguments.

Argo has eight ways to call a template (entrypoint, onExit and hooks of the workflow; step, task, their onExit and hooks; inline), and some
of them pass the workflow's own arguments implicitly. The reference checks and the token rewriting both use this one list. Malformed parts
are skipped here: the schema check reports them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.manifest.document import Document, Path


@dataclass(frozen=True)
class Template:
    """A template, named or inline.

    Args:
        path: Where it is in the document; its identity.
        body: Its fields.
    """

    path: Path
    body: dict[str, Any]

    def parameters(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Its declared input parameters, with their paths."""
        yield from _parameters((*self.path, "inputs"), self.body.get("inputs"))


@dataclass(frozen=True)
class Call:
    """A place that runs a template.

    Args:
        path: Where it is.
        caller: Path of the template it is in; empty for the workflow's own.
        target: Path of the called template; None if only a cluster knows it (templateRef, a name that is a parameter).
        missing: The name, if no template has it.
        arguments: What it passes, as name to path and value; None if the workflow's own arguments are passed.
    """

    path: Path
    caller: Path
    target: Path | None
    missing: str | None
    arguments: dict[str, tuple[Path, Any]] | None


def templates(document: Document) -> list[Template]:
    """All templates of a manifest, inline ones included."""
    found = [Template(path, body) for path, body in _items(("spec", "templates"), document.spec.get("templates"))]
    for template in found:
        for path, holder in holders(template):
            if isinstance(inline := holder.get("inline"), dict):
                found.append(Template((*path, "inline"), inline))
    return found


def holders(template: Template) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The steps or tasks of a template, with their paths."""
    steps = template.body.get("steps")
    for index, group in enumerate(steps if isinstance(steps, list) else []):
        yield from _items((*template.path, "steps", index), group)
    if isinstance(dag := template.body.get("dag"), dict):
        yield from _items((*template.path, "dag", "tasks"), dag.get("tasks"))


def calls(document: Document) -> Iterator[Call]:
    """Every call in a manifest."""
    spec = document.spec
    known = templates(document)
    names = {t.body["name"]: t.path for t in known if isinstance(t.body.get("name"), str) and len(t.path) == 3}
    for key in ("entrypoint", "onExit"):
        if key in spec:
            yield _call(("spec", key), (), {"template": spec[key]}, names, "workflow")
    yield from _hooks(("spec",), (), spec, names)
    for template in known:
        for path, holder in holders(template):
            yield _call(path, template.path, holder, names, "own")
            if "onExit" in holder:
                yield _call((*path, "onExit"), template.path, {"template": holder["onExit"]}, names, "workflow")
            yield from _hooks(path, template.path, holder, names)


def workflow_parameters(document: Document) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The workflow parameters that a manifest declares itself, with their paths."""
    yield from _parameters(("spec", "arguments"), document.spec.get("arguments"))


def _hooks(path: Path, caller: Path, holder: dict[str, Any], names: Mapping[str, Path]) -> Iterator[Call]:
    hooks = holder.get("hooks")
    for event, hook in hooks.items() if isinstance(hooks, dict) else ():
        if isinstance(hook, dict):
            passes = "workflow" if event == "exit" and not hook.get("arguments") else "own"
            yield _call((*path, "hooks", event), caller, hook, names, passes)


def _call(path: Path, caller: Path, holder: dict[str, Any], names: Mapping[str, Path], passes: str) -> Call:
    name = holder.get("template")
    target, missing = None, None
    if isinstance(holder.get("inline"), dict):
        target = (*path, "inline")
    elif isinstance(name, str) and "templateRef" not in holder:
        target = names.get(name)
        missing = name if target is None and "{{inputs." not in name else None
    arguments = None
    if passes == "own":
        found = _parameters((*path, "arguments"), holder.get("arguments"))
        arguments = {parameter["name"]: ((*place, "value"), parameter.get("value")) for place, parameter in found}
    return Call(path, caller, target, missing, arguments)


def _parameters(path: Path, holder: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(holder, dict):
        for place, parameter in _items((*path, "parameters"), holder.get("parameters")):
            if isinstance(parameter.get("name"), str):
                yield place, parameter


def _items(path: Path, value: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    for index, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, dict):
            yield (*path, index), item
