"""What a template of one kind needs, whoever calls it: inputs, outputs, names, deadlines. Pure.

The rules are those of Argo's own validation (argo-workflows v3.7, workflow/validate).
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from argosy.manifest.calls import Template
from argosy.manifest.document import Path, shorten
from argosy.manifest.durations import seconds
from argosy.manifest.names import NAME, PARAMETER, graph, unique
from argosy.manifest.parts import items, mapping, strings
from argosy.manifest.schema import definitions
from argosy.manifest.variables import LEAVES, Finding, dependencies, outputs

KINDS = ("container", "containerSet", "steps", "script", "resource", "dag", "suspend", "data", "http", "plugin")

_ACTIONS = {"get", "create", "apply", "delete", "replace", "patch"}
_POLICIES = {"", "Always", "OnError", "OnFailure", "OnTransientError"}
_RESULTS = {"Succeeded", "Failed", "Skipped", "Omitted", "Errored", "Daemoned", "AnySucceeded", "AllFailed"}
_OF_ITEMS = {"AnySucceeded", "AllFailed"}
_SOURCES = ("path", "jqFilter", "jsonPath", "parameter", "expression", "supplied")
_OUTPUT_FROM = {
    **dict.fromkeys(("container", "containerSet", "script"), ("path",)),
    "resource": ("jqFilter", "jsonPath"),
    **dict.fromkeys(("steps", "dag"), ("parameter", "expression")),
}


def kind_of(template: Template) -> str:
    """The kind of a template; empty where it has none, or more than one."""
    kinds = [kind for kind in KINDS if kind in template.body]
    return kinds[0] if len(kinds) == 1 else ""


def of_kind(template: Template) -> Iterator[Finding]:
    """What is wrong with one template, whatever the others are."""
    path, body, kind = template.path, template.body, kind_of(template)
    kinds = [kind for kind in KINDS if kind in body]
    if len(kinds) > 1:
        yield (*path, kinds[1]), f"a template is of one kind, and this one has {' and '.join(kinds)}"
    elif not kinds and body.keys() <= _known():
        yield path, f"a template is of one kind: {', '.join(KINDS)}"
    yield from _inputs(template, kind)
    if kind == "resource":
        yield from _resource(template)
    if kind == "containerSet":
        yield from _container_set(template)
    if kind == "dag":
        yield from _dag(template)
    yield from _common(template, kind)
    yield from _output_sources(template, kind)


def _inputs(template: Template, kind: str) -> Iterator[Finding]:
    path, inputs = (*template.path, "inputs"), mapping(template.body.get("inputs"))
    yield from unique((*path, "parameters"), inputs.get("parameters"), PARAMETER, "an input parameter")
    yield from unique((*path, "artifacts"), inputs.get("artifacts"), PARAMETER, "an input artifact")
    paths: set[str] = set()
    for place, artifact in items((*path, "artifacts"), inputs.get("artifacts")):
        if kind in LEAVES and not artifact.get("path"):
            yield place, "an input artifact of a pod needs a path"
        if (where := str(artifact.get("path", ""))) in paths:
            yield (*place, "path"), f"{shorten(where)} is the path of another input artifact"
        paths |= {where} - {""}
        if kind in ("steps", "dag") and artifact.get("path"):
            yield (*place, "path"), f"only a pod's artifact has a path, and this is a template of {kind}"
        if artifact.get("from"):
            yield (*place, "from"), "an input artifact has no from: the caller says from where it comes"
        if isinstance(git := artifact.get("git"), dict) and not git.get("repo"):
            yield (*place, "git"), '"repo" is missing'


def _resource(template: Template) -> Iterator[Finding]:
    path, resource = (*template.path, "resource"), mapping(template.body["resource"])
    action = resource.get("action")
    if action not in _ACTIONS and "{{" not in str(action):
        yield (*path, "action"), f"one of {', '.join(sorted(_ACTIONS))}"
    if action not in ("delete", "get") and ("manifest" in resource) == ("manifestFrom" in resource):
        yield path, "give manifest or manifestFrom"


def _container_set(template: Template) -> Iterator[Finding]:
    path, set_ = (*template.path, "containerSet"), mapping(template.body["containerSet"])
    containers = list(items((*path, "containers"), set_.get("containers")))
    if not containers:
        yield path, "at least one container is needed"
    yield from unique((*path, "containers"), set_.get("containers"), NAME, "a container")
    names = {each.get("name") for _, each in containers}
    yield from graph({str(e.get("name")): strings(e.get("dependencies")) for _, e in containers}, path, names)
    takes = any(mapping(template.body.get("inputs")).get("artifacts") or []) or any(True for _ in outputs(template))
    if takes and "main" not in names:
        yield (
            (*path, "containers"),
            'artifacts and outputs are those of a container named "main", and there is none',
        )


def _dag(template: Template) -> Iterator[Finding]:
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
    waits = {str(task.get("name")): [name for name, _ in dependencies(task)] for _, task in tasks}
    yield from graph(waits, (*path, "tasks"), names)
    for target in str(dag.get("target", "")).split():
        if "{{" not in target and target not in names:
            yield (*path, "target"), f'there is no task "{shorten(target)}"'


def _common(template: Template, kind: str) -> Iterator[Finding]:
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
    for place, duration in _durations(path, body):
        if "{{" not in duration and seconds(duration) is None:
            yield place, f'"{shorten(duration)}" is no duration; write it as 90s, 10m or 1h30m'
    if kind not in ("steps", "dag", "") and "parallelism" in body:
        yield (*path, "parallelism"), f"only of steps and dag, and this is a template of {kind}"
    if kind not in ("steps", "dag") and "activeDeadlineSeconds" in body:
        deadline = str(body["activeDeadlineSeconds"])
        if "{{" not in deadline and not (deadline.isascii() and deadline.isdigit() and len(deadline) < 19):
            yield (*path, "activeDeadlineSeconds"), "must be a positive number of seconds"
    policy = mapping(body.get("retryStrategy")).get("retryPolicy", "")
    if policy not in _POLICIES:
        yield (*path, "retryStrategy", "retryPolicy"), f"one of {', '.join(sorted(_POLICIES - {''}))}"
    for place, each in items((*path, "initContainers"), body.get("initContainers")):
        if not each.get("name"):
            yield place, '"name" is missing'


def _durations(path: Path, body: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    backoff = mapping(mapping(body.get("retryStrategy")).get("backoff"))
    given: list[tuple[Path, Any]] = [
        ((*path, "timeout"), body.get("timeout")),
        ((*path, "suspend", "duration"), mapping(body.get("suspend")).get("duration")),
        *(((*path, "retryStrategy", "backoff", key), backoff.get(key)) for key in ("duration", "maxDuration", "cap")),
    ]
    yield from ((place, str(duration)) for place, duration in given if duration not in (None, ""))


def _output_sources(template: Template, kind: str) -> Iterator[Finding]:
    outputs = mapping(template.body.get("outputs"))
    path = (*template.path, "outputs")
    yield from unique((*path, "parameters"), outputs.get("parameters"), PARAMETER, "an output parameter")
    yield from unique((*path, "artifacts"), outputs.get("artifacts"), PARAMETER, "an output artifact")
    for place, artifact in items((*path, "artifacts"), outputs.get("artifacts")):
        if kind in LEAVES and not artifact.get("path"):
            yield place, "an output artifact of a pod needs a path"
        if ".." in str(artifact.get("path", "")).split("/"):
            yield (*place, "path"), 'a path without ".."'
        if kind in ("steps", "dag") and artifact.get("path"):
            yield (*place, "path"), f"only a pod's artifact has a path, and this is a template of {kind}"
    for kind_ in ("parameters", "artifacts"):
        for place, each in items((*path, kind_), outputs.get(kind_)):
            if (
                "globalName" in each
                and not PARAMETER.fullmatch(str(each["globalName"]))
                and "{{" not in each["globalName"]
            ):
                yield (*place, "globalName"), 'a name has letters, digits, "-" and "_" only'
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


def _known() -> Set[str]:
    """The fields of a template: one that is misspelt may be its kind."""
    fields: dict[str, Any] = definitions()["Template"]["properties"]
    return fields.keys()
