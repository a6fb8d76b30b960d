"""Checks of a spec before it runs: whether all its fields are simulated, and whether Argo itself would accept it.

It lists the fields that are known: a field that nobody thought of must not be ignored, or a demo would succeed where Argo would not.
"""

from collections.abc import Iterator

from argosy.demo.simulator.dag import Dag
from argosy.demo.simulator.templates import InvalidSpec, Json, NotSimulated

_WHERE_PODS_RUN = {
    "affinity", "automountServiceAccountToken", "executor", "hostAliases", "metrics", "nodeSelector", "parallelism",
    "schedulerName", "securityContext", "serviceAccountName", "tolerations", "volumes",
}  # fmt: skip
_SPEC = _WHERE_PODS_RUN | {
    "activeDeadlineSeconds", "archiveLogs", "arguments", "artifactGC", "artifactRepositoryRef", "dnsConfig", "dnsPolicy",
    "entrypoint", "hostNetwork", "imagePullSecrets", "onExit", "podDisruptionBudget", "podGC", "podMetadata",
    "podPriorityClassName", "priority", "retryStrategy", "shutdown", "templates", "ttlStrategy", "volumeClaimGC",
    "volumeClaimTemplates",
}  # fmt: skip
_TEMPLATE = _WHERE_PODS_RUN | {
    "activeDeadlineSeconds", "archiveLocation", "container", "dag", "initContainers", "inputs", "metadata", "name",
    "outputs", "priorityClassName", "retryStrategy", "script", "sidecars", "steps",
}  # fmt: skip
_STEP = {"arguments", "continueOn", "name", "template", "when", "withItems", "withParam"}
_TASK = _STEP | {"dependencies", "depends"}
_RETRY = {"affinity", "backoff", "limit", "retryPolicy"}
_KINDS = ("container", "script", "steps", "dag")


def check_known(spec: Json) -> None:
    """Raise for the first field that is not simulated.

    Raises:
        NotSimulated: With its path.
    """
    _fields(spec, _SPEC | ({"suspend"} if not spec.get("suspend") else set()), "spec")
    _fields(spec.get("arguments"), {"parameters"}, "spec.arguments")
    _retry(spec.get("retryStrategy"), "spec.retryStrategy")
    for template in spec.get("templates") or []:
        _template(template, f"templates.{template['name']}")


def check_valid(spec: Json) -> None:
    """Raise for the first mistake that Argo's validation would find, of those that authors make.

    Raises:
        InvalidSpec: With Argo's message.
    """
    if not spec.get("entrypoint"):
        raise InvalidSpec("spec.entrypoint is required")
    by_name = {template["name"]: template for template in spec.get("templates") or []}
    for name in (spec["entrypoint"], spec.get("onExit")):
        if name and name not in by_name:
            raise InvalidSpec(f"template name '{name}' undefined")
    for template in by_name.values():
        for step, where in _calls(template):
            if step["template"] not in by_name:
                raise InvalidSpec(f"{where} template name '{step['template']}' undefined")
            _check_inputs(by_name[step["template"]], step.get("arguments") or {}, where)
        tasks = template.get("dag", {}).get("tasks") or []
        where = f"templates.{template['name']}"
        if any(task.get("depends") for task in tasks):
            if any(task.get("dependencies") for task in tasks):
                raise InvalidSpec(f"{where} cannot use both 'depends' and 'dependencies' in the same DAG template")
            if any(task.get("continueOn") for task in tasks):
                advice = "Instead use 'dep-task.Failed'/'dep-task.Errored'"
                raise InvalidSpec(f"{where} cannot use 'continueOn' when using 'depends'. {advice}")
        if tasks:
            try:
                Dag(template["dag"])
            except InvalidSpec as error:
                raise InvalidSpec(f"{where} {error}") from error


def _calls(template: Json) -> Iterator[tuple[Json, str]]:
    """The steps and tasks of a template, each with its place in the spec."""
    where = f"templates.{template['name']}"
    for index, group in enumerate(template.get("steps") or []):
        yield from ((step, f"{where}.steps[{index}].{step['name']}") for step in group)
    yield from ((task, f"{where}.tasks.{task['name']}") for task in template.get("dag", {}).get("tasks") or [])


def _check_inputs(template: Json, arguments: Json, where: str) -> None:
    given = {item["name"] for item in arguments.get("parameters") or []}
    for parameter in template.get("inputs", {}).get("parameters") or []:
        if not given & {parameter["name"]} and not parameter.keys() & {"value", "default", "valueFrom"}:
            name = f"templates.{template['name']} inputs.parameters.{parameter['name']}"
            raise InvalidSpec(f"{where} {name} was not supplied")


def _template(template: Json, where: str) -> None:
    _fields(template, _TEMPLATE, where)
    kinds = [kind for kind in _KINDS if kind in template]
    if len(kinds) != 1:
        raise NotSimulated(f"{where}: one of {', '.join(_KINDS)}")
    _fields(template.get("inputs"), {"parameters", "artifacts"}, f"{where}.inputs")
    for artifact in template.get("inputs", {}).get("artifacts") or []:
        _fields(artifact, {"name", "path", "raw", "mode", "optional"}, f"{where}.inputs.artifacts.{artifact['name']}")
    _fields(
        template.get("outputs"), {"parameters"} if kinds[0] in ("container", "script") else set(), f"{where}.outputs"
    )
    _retry(template.get("retryStrategy"), f"{where}.retryStrategy")
    for group in template.get("steps") or []:
        for step in group:
            _step(step, _STEP, f"{where}.steps.{step['name']}")
    _fields(template.get("dag"), {"tasks", "failFast"}, f"{where}.dag")
    for task in template.get("dag", {}).get("tasks") or []:
        _step(task, _TASK, f"{where}.tasks.{task['name']}")


def _step(step: Json, known: set[str], where: str) -> None:
    _fields(step, known, where)
    _fields(step.get("arguments"), {"parameters"}, f"{where}.arguments")


def _retry(strategy: Json | None, where: str) -> None:
    _fields(strategy, _RETRY, where)
    _fields((strategy or {}).get("backoff"), {"duration", "factor", "cap"}, f"{where}.backoff")
    if (strategy or {}).get("retryPolicy", "OnFailure") not in ("Always", "OnFailure", "OnError"):
        raise NotSimulated(f"{where}.retryPolicy")


def _fields(document: Json | None, known: set[str], where: str) -> None:
    unknown = sorted(key for key, value in (document or {}).items() if key not in known and value not in (None, "", []))
    if unknown:
        raise NotSimulated(f"{where}.{unknown[0]}")
