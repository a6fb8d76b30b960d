"""What Argo would find wrong with a manifest only when a job of it runs: kinds of templates, calls, names, variables. Pure.

The rules are those of Argo's own validation (argo-workflows v3.7, workflow/validate), which ends a workflow as `invalid spec`; the real
`argo lint` is the judge of this module (tests/cluster/test_corpus.py). Argo stops at the first fault, here all are found. Where only a
cluster or a running workflow can tell (a `templateRef`, a name that is a parameter), nothing is found.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.calls import Template, calls, holders, templates
from argosy.manifest.document import Document, Path, shorten, spell
from argosy.manifest.parameters import RESERVED
from argosy.manifest.parts import items, mapping, strings
from argosy.manifest.schema import definitions
from argosy.manifest.variables import (
    LEAVES,
    NOT_DECLARED,
    Finding,
    Scope,
    Variables,
    ancestors,
    dependencies,
    of_items,
    ordered,
    outputs,
)

_WHERE_USED = "; a template that uses the parameter fails"
"""A warning: whether one does, Argo finds out."""

KINDS = ("container", "containerSet", "steps", "script", "resource", "dag", "suspend", "data", "http", "plugin")

_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
_ANY = re.compile(r".*", re.DOTALL)
_ACTIONS = {"get", "create", "apply", "delete", "replace", "patch"}
_POLICIES = {"", "Always", "OnError", "OnFailure", "OnTransientError"}
_STRATEGIES = {"", "OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess"}
_RESULTS = {"Succeeded", "Failed", "Skipped", "Omitted", "Errored", "Daemoned", "AnySucceeded", "AllFailed"}
_OF_ITEMS = {"AnySucceeded", "AllFailed"}
_SOURCES = ("path", "jqFilter", "jsonPath", "parameter", "expression", "supplied")
_OUTPUT_FROM = {
    **dict.fromkeys(("container", "containerSet", "script"), ("path",)),
    "resource": ("jqFilter", "jsonPath"),
    **dict.fromkeys(("steps", "dag"), ("parameter", "expression")),
}


def validate(document: Document, given: Collection[str] = (), launched: bool = False) -> Iterator[ManifestError]:
    """Everything of that kind in a manifest.

    Args:
        document: The manifest.
        given: Names of parameters that the algorithm, or the launch, gives.
        launched: Whether that is all. Before, a parameter that nobody declares is a warning: a launch may give it.
    """
    manifest = _Manifest(document, given, launched)
    for path, problem in manifest.findings():
        yield document.error(
            path, f"{spell(path)}: {problem}", warning=problem == NOT_DECLARED or problem.endswith(_WHERE_USED)
        )


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
        yield from _unique(("spec", "templates"), self._spec.get("templates"), _NAME, "a template")
        arguments = self._spec.get("arguments")
        yield from _arguments(("spec", "arguments"), arguments, self._is_set, set(RESERVED))
        for path, problem in self._variables.unresolved(("spec", "arguments"), arguments, Scope(frozenset())):
            yield path, problem + _WHERE_USED

    def _is_set(self, name: str) -> bool:
        """Whether a parameter of the workflow gets its value from argosy: a reserved one, or the launch's."""
        return name in RESERVED or not self._launched or name in self._given

    def _hooks(self, path: Path, holder: Mapping[str, Any]) -> Iterator[Finding]:
        for event, hook in mapping(holder.get("hooks")).items():
            if event != "exit" and isinstance(hook, dict) and not hook.get("expression"):
                yield (*path, "hooks", event), "a hook other than exit needs an expression"

    def _template(self, template: Template) -> Iterator[Finding]:
        path, body = template.path, template.body
        kinds = [kind for kind in KINDS if kind in body]
        if len(kinds) > 1:
            yield (*path, kinds[1]), f"a template is of one kind, and this one has {' and '.join(kinds)}"
        elif not kinds and body.keys() <= _known():
            yield path, f"a template is of one kind: {', '.join(KINDS)}"
        kind = kinds[0] if len(kinds) == 1 else ""
        yield from self._inputs(template, kind)
        yield from self._of_kind(template, kind)
        yield from self._mounts(template)
        yield from self._common(template, kind)
        if kind in ("steps", "dag"):
            yield from self._called(template, kind)
        elif kind:
            scope = self._variables.scope(template, kind)
            yield from self._variables.unresolved(path, {k: v for k, v in body.items() if k != "outputs"}, scope)
            yield from self._variables.unresolved((*path, "outputs"), body.get("outputs"), scope)
        yield from self._output_sources(template, kind)

    def _inputs(self, template: Template, kind: str) -> Iterator[Finding]:
        path, inputs = (*template.path, "inputs"), mapping(template.body.get("inputs"))
        yield from _unique((*path, "parameters"), inputs.get("parameters"), _PARAMETER, "an input parameter")
        yield from _unique((*path, "artifacts"), inputs.get("artifacts"), _PARAMETER, "an input artifact")
        for place, artifact in items((*path, "artifacts"), inputs.get("artifacts")):
            if kind in LEAVES and not artifact.get("path"):
                yield place, "an input artifact of a pod needs a path"
            if kind in ("steps", "dag") and artifact.get("path"):
                yield (*place, "path"), f"only a pod's artifact has a path, and this is a template of {kind}"
            if artifact.get("from"):
                yield (*place, "from"), "an input artifact has no from: the caller says from where it comes"
            if isinstance(git := artifact.get("git"), dict) and not git.get("repo"):
                yield (*place, "git"), '"repo" is missing'

    def _of_kind(self, template: Template, kind: str) -> Iterator[Finding]:
        path, body = template.path, template.body
        if kind == "resource":
            resource = mapping(body["resource"])
            action = resource.get("action")
            if action not in _ACTIONS and "{{" not in str(action):
                yield (*path, "resource", "action"), f"one of {', '.join(sorted(_ACTIONS))}"
            if action not in ("delete", "get") and ("manifest" in resource) == ("manifestFrom" in resource):
                yield (*path, "resource"), "give manifest or manifestFrom"
        if kind == "containerSet":
            yield from self._container_set(template)
        if kind == "dag":
            yield from self._dag(template)

    def _container_set(self, template: Template) -> Iterator[Finding]:
        path, set_ = (*template.path, "containerSet"), mapping(template.body["containerSet"])
        containers = list(items((*path, "containers"), set_.get("containers")))
        if not containers:
            yield path, "at least one container is needed"
        yield from _unique((*path, "containers"), set_.get("containers"), _NAME, "a container")
        names = {each.get("name") for _, each in containers}
        yield from _graph({str(e.get("name")): strings(e.get("dependencies")) for _, e in containers}, path, names)
        takes = any(mapping(template.body.get("inputs")).get("artifacts") or []) or any(True for _ in outputs(template))
        if takes and "main" not in names:
            yield (
                (*path, "containers"),
                'artifacts and outputs are those of a container named "main", and there is none',
            )

    def _dag(self, template: Template) -> Iterator[Finding]:
        path = (*template.path, "dag")
        dag = mapping(template.body["dag"])
        tasks = list(items((*path, "tasks"), dag.get("tasks")))
        if not tasks:
            yield path, "at least one task is needed"
        names = {task.get("name") for _, task in tasks}
        depends = any(task.get("depends") for _, task in tasks)
        by_name = {str(task.get("name")): task for _, task in tasks}
        for place, task in tasks:
            starts_with_digit = str(task.get("name", ""))[:1].isdigit()
            if (depends or task.get("dependencies")) and starts_with_digit:
                yield (*place, "name"), "in a dag with dependencies a name cannot begin with a digit"
            if depends and task.get("dependencies"):
                yield (*place, "dependencies"), "a dag has depends or dependencies, not both"
            if depends and "continueOn" in task:
                yield (*place, "continueOn"), "in a dag with depends, write a.Failed or a.Errored there"
            for name, result in dependencies(task):
                if result and result not in _RESULTS:
                    yield (*place, "depends"), f"{shorten(result)} is not one of {', '.join(sorted(_RESULTS))}"
                other = by_name.get(name)
                loops = other is not None and {"withItems", "withParam", "withSequence"} & other.keys()
                if result in _OF_ITEMS and other is not None and not loops:
                    yield (*place, "depends"), f"{name}.{result} is of a task with items, and {name} has none"
        graph = {str(task.get("name")): [name for name, _ in dependencies(task)] for _, task in tasks}
        yield from _graph(graph, (*path, "tasks"), names)
        for target in str(dag.get("target", "")).split():
            if "{{" not in target and target not in names:
                yield (*path, "target"), f'there is no task "{shorten(target)}"'

    def _mounts(self, template: Template) -> Iterator[Finding]:
        body = template.body
        own = {each.get("name") for _, each in items((), body.get("volumes"))}
        patched = any("podSpecPatch" in each for each in (self._spec, body, self._defaults))
        for path, container in _containers(template):
            yield from _unique((*path, "env"), container.get("env"), _ANY, "an environment variable")
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

    def _common(self, template: Template, kind: str) -> Iterator[Finding]:
        path, body = template.path, template.body
        if kind in ("steps", "dag") and "activeDeadlineSeconds" in body:
            yield (
                (*path, "activeDeadlineSeconds"),
                f"only of pods, and this is a template of {kind}; see spec.activeDeadlineSeconds",
            )
        if kind in ("steps", "dag", "suspend") and body.get("timeout"):
            yield (*path, "timeout"), f"only of pods, and this is a template of {kind}"
        elif str(body.get("timeout", "")).isdigit():
            yield (*path, "timeout"), "write a duration with its unit, such as 90s"
        if kind not in ("steps", "dag", "") and "parallelism" in body:
            yield (*path, "parallelism"), f"only of steps and dag, and this is a template of {kind}"
        if kind not in ("steps", "dag") and "activeDeadlineSeconds" in body:
            seconds = str(body["activeDeadlineSeconds"])
            if "{{" not in seconds and not (seconds.isdigit() and len(seconds) < 19):
                yield (*path, "activeDeadlineSeconds"), "must be a positive number of seconds"
        policy = mapping(body.get("retryStrategy")).get("retryPolicy", "")
        if policy not in _POLICIES:
            yield (*path, "retryStrategy", "retryPolicy"), f"one of {', '.join(sorted(_POLICIES - {''}))}"
        for place, each in items((*path, "initContainers"), body.get("initContainers")):
            if not each.get("name"):
                yield place, '"name" is missing'

    def _called(self, template: Template, kind: str) -> Iterator[Finding]:
        """The steps or tasks of a template: what they are called, what they pass, which variables they use."""
        found = list(holders(template))
        what = "a step" if kind == "steps" else "a task"
        yield from _unique_of(found, _NAME, what)
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
            if not {"template", "templateRef", "inline"} & holder.keys():
                yield path, "needs a template to run"
            inline = mapping(mapping(holder.get("inline")).get("inputs"))
            passed = {f"inputs.parameters.{each.get('name')}" for _, each in items((), inline.get("parameters"))}
            names = whole.names | of_items(holder) | passed if passed or of_items(holder) else whole.names
            if kind == "steps":
                ends = "onExit" in holder or "exit" in mapping(holder.get("hooks"))
                visible = _With(reached, name) if ends else reached
                scope = replace(whole, names=names, visible=visible, with_status=_With(reached, name).__contains__)
            else:
                known = before.get(name, 0) | bits[name]
                scope = replace(whole, names=names, with_status=partial(_is_among, known, bits))
            # An inline template is looked at by itself.
            yield from self._variables.unresolved(path, {k: v for k, v in holder.items() if k != "inline"}, scope)
            reached.add(name)
        yield from self._variables.unresolved((*template.path, "outputs"), template.body.get("outputs"), whole)

    def _passes_workflows(self, path: Path) -> Iterator[Finding]:
        """What the workflow's own parameters lack of what the template needs that they are passed to."""
        target = self._variables.target(path)
        for _, parameter in target.parameters() if target is not None else ():
            name = parameter["name"]
            if not {"value", "default", "valueFrom"} & parameter.keys() and not self._variables.is_declared(name):
                problem = f'the template needs the parameter "{shorten(name)}", and nobody gives it'
                yield path, problem if self._launched else NOT_DECLARED
        if target is not None:
            given = {each.get("name") for _, each in items((), mapping(self._spec.get("arguments")).get("artifacts"))}
            yield from _needed_artifacts(path, target, given)

    def _passes(self, path: Path) -> Iterator[Finding]:
        """What a call does not pass although the template that it calls needs it."""
        call = self._calls.get(path)
        target = self._by_path.get(call.target) if call is not None and call.target is not None else None
        if call is None or target is None or call.arguments is None:
            return
        for _, parameter in target.parameters():
            if parameter["name"] not in call.arguments and not {"value", "default", "valueFrom"} & parameter.keys():
                yield path, f'the template that it calls needs the parameter "{shorten(parameter["name"])}"'
        holder: Any = self._document.body
        for step in path:
            holder = holder[step]
        given = {each.get("name") for _, each in items((), mapping(mapping(holder).get("arguments")).get("artifacts"))}
        yield from _needed_artifacts(path, target, given)

    def _output_sources(self, template: Template, kind: str) -> Iterator[Finding]:
        outputs = mapping(template.body.get("outputs"))
        path = (*template.path, "outputs")
        yield from _unique((*path, "parameters"), outputs.get("parameters"), _PARAMETER, "an output parameter")
        yield from _unique((*path, "artifacts"), outputs.get("artifacts"), _PARAMETER, "an output artifact")
        for place, artifact in items((*path, "artifacts"), outputs.get("artifacts")):
            if kind in LEAVES and not artifact.get("path"):
                yield place, "an output artifact of a pod needs a path"
            if kind in ("steps", "dag") and artifact.get("path"):
                yield (*place, "path"), f"only a pod's artifact has a path, and this is a template of {kind}"
        for place, parameter in items((*path, "parameters"), outputs.get("parameters")):
            source = parameter.get("valueFrom")
            if "value" in parameter and source is not None:
                yield (*place, "valueFrom"), "give value or valueFrom"
            elif "value" not in parameter and not isinstance(source, dict):
                yield place, "an output parameter needs valueFrom"
            elif isinstance(source, dict):
                given = [each for each in _SOURCES if source.get(each) not in (None, "")]
                wanted = _OUTPUT_FROM.get(kind, _SOURCES)
                if len(given) > 1:
                    yield (*place, "valueFrom"), f"give one of {' and '.join(given)}"
                elif not given or (given[0] not in wanted):
                    yield (
                        (*place, "valueFrom"),
                        f"of a template of {kind or 'this kind'} it needs {' or '.join(wanted)}",
                    )


def _needed_artifacts(path: Path, target: Template, given: Collection[Any]) -> Iterator[Finding]:
    """Input artifacts of a template that are not passed, and come from nowhere else."""
    for _, artifact in items((), mapping(target.body.get("inputs")).get("artifacts")):
        name = artifact.get("name")
        if name not in given and not artifact.get("optional") and not _LOCATIONS & artifact.keys():
            yield path, f'the template needs the artifact "{shorten(str(name))}"'


_LOCATIONS = {"artifactory", "azure", "gcs", "git", "hdfs", "http", "oss", "raw", "s3"}


def _loops(path: Path, holder: Mapping[str, Any]) -> Iterator[Finding]:
    given = [name for name in ("withItems", "withParam", "withSequence") if holder.get(name) not in (None, "", [])]
    if len(given) > 1:
        yield (*path, given[1]), f"give one of {' and '.join(given)}"
    sequence = mapping(holder.get("withSequence"))
    if "count" in sequence and "end" in sequence:
        yield (*path, "withSequence"), "give count or end"


def _arguments(path: Path, holder: Any, is_set: Callable[[str], bool], skip: Collection[str]) -> Iterator[Finding]:
    arguments = mapping(holder)
    yield from _unique((*path, "parameters"), arguments.get("parameters"), _PARAMETER, "a parameter", skip)
    yield from _unique((*path, "artifacts"), arguments.get("artifacts"), _PARAMETER, "an artifact")
    for place, parameter in items((*path, "parameters"), arguments.get("parameters")):
        name, source = str(parameter.get("name")), parameter.get("valueFrom")
        if source is None and "value" not in parameter and not is_set(name):
            yield place, "a value is missing"
        if isinstance(source, dict) and not {"configMapKeyRef", "event", "supplied"} & source.keys():
            yield (*place, "valueFrom"), "of an argument it needs configMapKeyRef or supplied"
        choices = parameter.get("enum")
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


def _unique(path: Path, value: Any, form: re.Pattern[str], what: str, skip: Collection[str] = ()) -> Iterator[Finding]:
    yield from _unique_of(list(items(path, value)), form, what, skip)


def _unique_of(
    found: list[tuple[Path, dict[str, Any]]], form: re.Pattern[str], what: str, skip: Collection[str] = ()
) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for path, each in found:
        name = each.get("name")
        yield from _named(path, name, form, what)
        seen[str(name)] += 1
        if isinstance(name, str) and seen[name] > 1 and name not in skip:
            yield (*path, "name"), f'{what} named "{shorten(name)}" is there already'


def _named(path: Path, name: Any, form: re.Pattern[str], what: str) -> Iterator[Finding]:
    if name is None or name == "":
        yield path, '"name" is missing'
    elif isinstance(name, str) and not form.fullmatch(name):
        letters = 'letters, digits and "-"' if form is _NAME else 'letters, digits, "-" and "_"'
        yield (*path, "name"), f'"{shorten(name)}": the name of {what} has {letters} only, at most 128'


def _graph(graph: Mapping[str, list[str]], path: Path, names: Collection[Any]) -> Iterator[Finding]:
    for name, others in graph.items():
        for other in others:
            if other not in names:
                yield path, f'{shorten(name)} waits for "{shorten(other)}", which is not there'
    known = {name: [other for other in others if other in graph] for name, others in graph.items()}
    if circle := sorted(graph.keys() - set(ordered(known))):
        yield path, f"these wait for each other: {', '.join(map(shorten, circle[:5]))}"


def _is_among(known: int, bits: Mapping[str, int], name: str) -> bool:
    return bool(known & bits[name])


@dataclass(frozen=True)
class _With:
    """A set that still grows, and one name more."""

    names: Set[str]
    name: str

    def __contains__(self, name: object) -> bool:
        return name == self.name or name in self.names


def _containers(template: Template) -> Iterator[tuple[Path, dict[str, Any]]]:
    for kind in ("container", "script"):
        if isinstance(body := template.body.get(kind), dict):
            yield (*template.path, kind), body
    if isinstance(set_ := template.body.get("containerSet"), dict):
        yield (*template.path, "containerSet"), set_
        yield from items((*template.path, "containerSet", "containers"), set_.get("containers"))
    for kind in ("initContainers", "sidecars"):
        yield from items((*template.path, kind), template.body.get(kind))


def _known() -> Set[str]:
    """The fields of a template: one that is misspelt may be its kind."""
    fields: dict[str, Any] = definitions()["Template"]["properties"]
    return fields.keys()
