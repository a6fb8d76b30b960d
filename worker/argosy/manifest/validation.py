"""Mistakes in a manifest that Argo would find only when a job runs: kinds of templates, calls, names, variables. Pure.

The rules are those of Argo's own validation (argo-workflows v3.7, workflow/validate), which ends a workflow with `invalid spec`. A test
compares this module with the real `argo lint` (tests/cluster/test_corpus.py). Argo stops at the first mistake; here all are found. If only
a cluster or a running workflow can know whether something is right (a `templateRef`, a name that is a parameter), there is no finding.
"""

import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.calls import Template, calls, holders, templates
from argosy.manifest.document import Document, Path, shorten, spell
from argosy.manifest.kinds import kind_of, of_kind
from argosy.manifest.names import ANY, NAME, PARAMETER, unique, unique_of
from argosy.manifest.parameters import RESERVED
from argosy.manifest.parts import items, mapping
from argosy.manifest.texts import tags
from argosy.manifest.variables import (
    NOT_DECLARED,
    Finding,
    Scope,
    Variables,
    ancestors,
    of_items,
    of_some_items,
)

_WHERE_USED = "; a template that uses the parameter fails"
"""Findings that end so are warnings: only Argo can find out whether a template uses the parameter."""

_STRATEGIES = {"", "OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess"}


def validate(document: Document, given: Collection[str] = (), launched: bool = False) -> Iterator[ManifestError]:
    """All such mistakes in a manifest.

    Args:
        document: The manifest.
        given: Names of parameters that the algorithm, or the launch, gives.
        launched: Whether `given` is complete. Until then an undeclared parameter is only a warning: a launch may give it.
    """
    manifest = _Manifest(document, given, launched)
    for path, problem in manifest.findings():
        yield document.error(
            path, f"{spell(path)}: {problem}", warning=NOT_DECLARED in problem or problem.endswith(_WHERE_USED)
        )


@dataclass(frozen=True)
class _Needs:
    """Names of the inputs of a template that whoever calls it gives."""

    parameters: list[str]
    artifacts: list[str]


class _Manifest:
    def __init__(self, document: Document, given: Collection[str], launched: bool) -> None:
        self._document, self._given, self._launched = document, given, launched
        self._spec = document.spec
        self._templates = templates(document)
        self._by_path = {template.path: template for template in self._templates}
        self._calls = {call.path: call for call in calls(document)}
        self._defaults = mapping(self._spec.get("templateDefaults"))
        lists = [self._spec.get("volumes"), self._defaults.get("volumes")]
        claims = items((), self._spec.get("volumeClaimTemplates"))
        self._volumes = {each.get("name") for found in lists for _, each in items((), found)}
        self._volumes |= {mapping(each.get("metadata")).get("name") for _, each in claims}
        self._variables = Variables(document, given, launched)
        self._needs: dict[Path, _Needs] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._workflow()
        for template in self._templates:
            yield from self._template(template)

    def _workflow(self) -> Iterator[Finding]:
        strategy = mapping(self._spec.get("podGC")).get("strategy", "")
        if strategy not in _STRATEGIES:
            yield ("spec", "podGC", "strategy"), f"one of {', '.join(sorted(_STRATEGIES - {''}))}"
        yield from self._hooks(("spec",), self._spec)
        for key in ("entrypoint", "onExit"):
            yield from self._passes_workflows(("spec", key))
        yield from unique(("spec", "templates"), self._spec.get("templates"), NAME, "a template")
        arguments = self._spec.get("arguments")
        yield from _arguments(("spec", "arguments"), arguments, self._is_set, set(RESERVED))
        for path, problem in self._variables.unresolved(("spec", "arguments"), arguments, Scope(frozenset())):
            yield path, problem + _WHERE_USED

    def _is_set(self, name: str) -> bool:
        """Whether a parameter of the workflow gets its value from argosy: a reserved one, or one of the launch."""
        return name in RESERVED or not self._launched or name in self._given

    def _hooks(self, path: Path, holder: Mapping[str, Any]) -> Iterator[Finding]:
        for event, hook in mapping(holder.get("hooks")).items():
            if event != "exit" and isinstance(hook, dict) and not hook.get("expression"):
                yield (*path, "hooks", event), "a hook other than exit needs an expression"

    def _template(self, template: Template) -> Iterator[Finding]:
        path, body = template.path, template.body
        kind = kind_of(template)
        yield from of_kind(template)
        yield from self._mounts(template)
        if kind in ("steps", "dag"):
            yield from self._called(template, kind)
        elif kind:
            scope = self._variables.scope(template, kind)
            yield from self._variables.unresolved(path, {k: v for k, v in body.items() if k != "outputs"}, scope)
            yield from self._variables.unresolved((*path, "outputs"), body.get("outputs"), scope)

    def _mounts(self, template: Template) -> Iterator[Finding]:
        body = template.body
        own = {each.get("name") for _, each in items((), body.get("volumes"))}
        patched = any("podSpecPatch" in each for each in (self._spec, body, self._defaults))
        for path, container in _containers(template):
            yield from unique((*path, "env"), container.get("env"), ANY, "an environment variable")
            taken: dict[str, str] = {}
            for place, mount in items((*path, "volumeMounts"), container.get("volumeMounts")):
                name, where = str(mount.get("name")), str(mount.get("mountPath"))
                if name not in own and name not in self._volumes and "{{" not in name and not patched:
                    yield (*place, "name"), f'there is no volume "{shorten(name)}"'
                if where in taken:
                    yield (*place, "mountPath"), f"{shorten(where)} is taken by the volume {shorten(taken[where])}"
                taken[where] = name
            if path == (*template.path, "container"):
                inputs = mapping(body.get("inputs")).get("artifacts")
                for place, artifact in items((*template.path, "inputs", "artifacts"), inputs):
                    if (where := str(artifact.get("path"))) in taken:
                        yield (*place, "path"), f"{shorten(where)} is taken by the volume {shorten(taken[where])}"

    def _called(self, template: Template, kind: str) -> Iterator[Finding]:
        """Check the steps or tasks of a template: their names, their arguments, their variables."""
        found = list(holders(template))
        what = "a step" if kind == "steps" else "a task"
        yield from unique_of(found, NAME, what)
        reached: set[str] = set()
        whole = self._variables.scope(template, kind)
        before = ancestors({str(task.get("name")): task for _, task in found}) if kind == "dag" else {}
        bits = {name: 1 << at for at, name in enumerate(whole.calls)}
        for path, holder in found:
            name = str(holder.get("name"))
            yield from self._hooks(path, holder)
            yield from _loops(path, holder)
            yield from _arguments((*path, "arguments"), holder.get("arguments"), lambda name: False, ())
            yield from self._passes(path)
            if "template" in holder and "templateRef" in holder:
                yield (*path, "template"), "give template or templateRef"
            if (problem := _condition(holder.get("when"))) is not None:
                yield (*path, "when"), problem
            if isinstance(holder.get("templateRef"), dict) and not holder["templateRef"].get("name"):
                yield (*path, "templateRef"), '"name" is missing'
            if not {"template", "templateRef", "inline"} & holder.keys():
                yield path, "needs a template to run"
            inline = mapping(mapping(holder.get("inline")).get("inputs"))
            passed = {f"inputs.parameters.{each.get('name')}" for _, each in items((), inline.get("parameters"))}
            more = of_items(holder) | passed
            names = _Either(whole.names, more) if more else whole.names
            loop = of_some_items(holder)
            if kind == "steps":
                ends = "onExit" in holder or "exit" in mapping(holder.get("hooks"))
                visible = _Either(reached, {name}) if ends else reached
                scope = replace(
                    whole, names=names, items=loop, visible=visible, with_status=_Either(reached, {name}).__contains__
                )
            else:
                known = before.get(name, 0) | bits[name]
                scope = replace(whole, names=names, items=loop, with_status=partial(_is_among, known, bits))
            # An inline template is looked at by itself.
            yield from self._variables.unresolved(path, {k: v for k, v in holder.items() if k != "inline"}, scope)
            reached.add(name)
        yield from self._variables.unresolved((*template.path, "outputs"), template.body.get("outputs"), whole)

    def _passes_workflows(self, path: Path) -> Iterator[Finding]:
        """Parameters that a template needs and that the workflow's own parameters, which are passed to it, do not have."""
        target = self._variables.target(path)
        needed = self._needed(target) if target is not None else _Needs([], [])
        for name in needed.parameters:
            if not self._variables.is_declared(name):
                problem = f'the template needs the parameter "{shorten(name)}", and nobody gives it'
                yield path, problem if self._launched else self._variables.not_declared(name)
        if target is not None:
            given = {each.get("name") for _, each in items((), mapping(self._spec.get("arguments")).get("artifacts"))}
            yield from _not_passed(path, needed.artifacts, given)

    def _needed(self, target: Template) -> _Needs:
        """Kept, because many calls may be of one template."""
        if target.path not in self._needs:
            self._needs[target.path] = _needs(target)
        return self._needs[target.path]

    def _passes(self, path: Path) -> Iterator[Finding]:
        """Parameters that a call does not pass, although the called template needs them."""
        call = self._calls.get(path)
        target = self._by_path.get(call.target) if call is not None and call.target is not None else None
        if call is None or target is None or call.arguments is None:
            return
        needed = self._needed(target)
        for name in needed.parameters:
            if name not in call.arguments:
                yield path, f'the template that it calls needs the parameter "{shorten(name)}"'
        holder: Any = self._document.body
        for step in path:
            holder = holder[step]
        given = {each.get("name") for _, each in items((), mapping(mapping(holder).get("arguments")).get("artifacts"))}
        yield from _not_passed(path, needed.artifacts, given)


def _not_passed(path: Path, needed: Collection[str], given: Collection[Any]) -> Iterator[Finding]:
    yield from ((path, f'the template needs the artifact "{shorten(name)}"') for name in needed if name not in given)


def _needs(target: Template) -> _Needs:
    parameters = [parameter for _, parameter in target.parameters()]
    artifacts = [artifact for _, artifact in items((), mapping(target.body.get("inputs")).get("artifacts"))]
    return _Needs(
        [each["name"] for each in parameters if not {"value", "default"} & each.keys() and not _is_found(each)],
        [str(each.get("name")) for each in artifacts if not each.get("optional") and not LOCATIONS & each.keys()],
    )


def _is_found(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter comes from a place that Argo asks by itself."""
    return bool(mapping(parameter.get("valueFrom")).keys() - {"supplied", "default"})


LOCATIONS = {"artifactory", "azure", "gcs", "git", "hdfs", "http", "oss", "raw", "s3"}


def _condition(text: Any) -> str | None:
    """What is wrong with a condition as far as it can be read."""
    condition = str(text or "")
    ends = [0, *(at for start, tag in tags(condition) for at in (start, start + len(tag))), len(condition)]
    outside = _QUOTED.sub("", "".join(condition[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)))
    return "one = compares nothing; write ==" if _ONE_EQUAL.search(outside) else None


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_ONE_EQUAL = re.compile(r"(?<![=!<>])=(?![=~])")


def _loops(path: Path, holder: Mapping[str, Any]) -> Iterator[Finding]:
    given = [name for name in ("withItems", "withParam", "withSequence") if holder.get(name) not in (None, "", [])]
    if len(given) > 1:
        yield (*path, given[1]), f"give one of {' and '.join(given)}"
    sequence = mapping(holder.get("withSequence"))
    if "count" in sequence and "end" in sequence:
        yield (*path, "withSequence"), "give count or end"


def _arguments(path: Path, holder: Any, is_set: Callable[[str], bool], skip: Collection[str]) -> Iterator[Finding]:
    arguments = mapping(holder)
    yield from unique((*path, "parameters"), arguments.get("parameters"), PARAMETER, "a parameter", skip)
    yield from unique((*path, "artifacts"), arguments.get("artifacts"), PARAMETER, "an artifact")
    for place, parameter in items((*path, "parameters"), arguments.get("parameters")):
        name, source = str(parameter.get("name")), parameter.get("valueFrom")
        if source is None and "value" not in parameter and not is_set(name):
            yield place, "a value is missing"
        if isinstance(source, dict) and not {"configMapKeyRef", "event", "supplied"} & source.keys():
            yield (*place, "valueFrom"), "of an argument it needs configMapKeyRef or supplied"
        choices = parameter.get("enum")
        if choices == []:
            yield (*place, "enum"), "lists at least one value"
        if (
            isinstance(choices, list)
            and "value" in parameter
            and parameter["value"] not in choices
            and not is_set(name)
        ):
            yield (*place, "value"), "is not one of its enum"
    for place, artifact in items((*path, "artifacts"), arguments.get("artifacts")):
        if artifact.get("from") and artifact.get("fromExpression"):
            yield (*place, "fromExpression"), "give from or fromExpression"
        if not {"from", "fromExpression", *LOCATIONS} & artifact.keys():
            yield place, "an artifact that is passed needs from, or where it is kept (s3, http, raw …)"


def _is_among(known: int, bits: Mapping[str, int], name: str) -> bool:
    return bool(known & bits[name])


@dataclass(frozen=True)
class _Either:
    """Two sets, of which the first may be large, or still grow."""

    names: Container[str]
    more: Container[str]

    def __contains__(self, name: object) -> bool:
        return name in self.names or name in self.more


def _containers(template: Template) -> Iterator[tuple[Path, dict[str, Any]]]:
    for kind in ("container", "script"):
        if isinstance(body := template.body.get(kind), dict):
            yield (*template.path, kind), body
    if isinstance(set_ := template.body.get("containerSet"), dict):
        yield (*template.path, "containerSet"), set_
        yield from items((*template.path, "containerSet", "containers"), set_.get("containers"))
    for kind in ("initContainers", "sidecars"):
        yield from items((*template.path, kind), template.body.get(kind))
