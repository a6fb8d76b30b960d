"""How a pod behaves that nobody runs: pure functions from what a pod says of itself to the statuses it goes through.

What decides, first that is given (annotations of the pod, i.e. of the template's `metadata`; env of the main container):

- exit code: annotation `argosy.dev/exit-code`, env `ARGOSY_EXIT_CODE`, a script or `sh -c` whose last line plainly is `exit N`,
  or 0. A comma list goes by retry: `1,1,0` fails twice; its last entry counts for all further ones.
- seconds it runs: annotation `argosy.dev/seconds`, env `ARGOSY_SECONDS`, or 0; `activeDeadlineSeconds` cuts it as kubelet does.
- whether its image is there: with annotation `argosy.dev/pull` or env `ARGOSY_PULL` set to `never` it waits for it until it is ended.
- a script's `outputs.result`: annotation `argosy.dev/result`, or empty. Output parameters have their default, or are empty.
"""

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import orjson

Json = dict[str, Any]


def exit_code(pod: Json) -> int:
    """The exit code a pod asks for.

    Raises:
        ValueError: It asks for something that is no number; so does `seconds`.
    """
    codes = _wish(pod, "argosy.dev/exit-code", "ARGOSY_EXIT_CODE")
    if codes is None:
        return _literal_exit_code(_template(pod))
    retry = re.search(r"\((\d+)\)$", annotations(pod).get("workflows.argoproj.io/node-name", ""))
    by_retry = codes.split(",")
    return int(by_retry[min(int(retry[1]) if retry else 0, len(by_retry) - 1)])


def seconds(pod: Json) -> float:
    """How long a pod asks to run."""
    return float(_wish(pod, "argosy.dev/seconds", "ARGOSY_SECONDS") or 0)


def deadline(pod: Json) -> float:
    """How many seconds a pod may run."""
    return float(pod["spec"].get("activeDeadlineSeconds", "inf"))


def pulled(pod: Json) -> bool:
    """Whether a pod's image can be pulled."""
    return _wish(pod, "argosy.dev/pull", "ARGOSY_PULL") != "never"


def _wish(pod: Json, annotation: str, variable: str) -> str | None:
    return annotations(pod).get(annotation) or _environment(pod).get(variable)


def annotations(pod: Json) -> Mapping[str, str]:
    """A pod's annotations."""
    found: Mapping[str, str] = pod["metadata"].get("annotations", {})
    return found


def _environment(pod: Json) -> dict[str, str]:
    main: Json = next((c for c in pod["spec"]["containers"] if c["name"] != "wait"), {})
    return _variables(main)


def _variables(container: Json) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}


def _template(pod: Json) -> Json:
    """The template with its parameters filled in; empty where Argo moved a large one to a ConfigMap."""
    init: Json = next((c for c in pod["spec"].get("initContainers", []) if c["name"] == "init"), {})
    text = _variables(init).get("ARGO_TEMPLATE", "")
    template: Json = orjson.loads(text) if text.startswith("{") else {}
    return template


def _literal_exit_code(template: Json) -> int:
    if "script" in template:
        source = template["script"].get("source", "")
    else:
        container = template.get("container", {})
        words = [*container.get("command", []), *container.get("args", [])]
        source = words[2] if len(words) > 2 and words[0].endswith("sh") and words[1].endswith("c") else ""
    last_line = textwrap.dedent(source).rstrip().rpartition("\n")[2]
    plain = re.search(r"(?:^|[;&]\s*)(?:sys\.)?exit[ (]\s*(\d+)\)?;?$", last_line)
    return int(plain[1]) if plain else 0


def running(pod: Json, now: str) -> Json:
    """The status of a pod whose init containers are done and whose containers run."""
    return {
        "phase": "Running",
        "startTime": now,
        "initContainerStatuses": [
            _container(c, {"terminated": _terminated(0, now, now)}) for c in pod["spec"].get("initContainers", [])
        ],
        "containerStatuses": [_container(c, {"running": {"startedAt": now}}) for c in pod["spec"]["containers"]],
    }


def waiting(pod: Json) -> Json:
    """The status of a pod whose image cannot be pulled, as kubelet reports it."""
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    return {
        "phase": "Pending",
        "containerStatuses": [
            {**_container(container, state), "ready": False, "started": False}
            for container in pod["spec"]["containers"]
        ],
    }


def finished(pod: Json, started: str, now: str, code: int, reason: str = "", message: str = "") -> Json:
    """The status of a pod whose main containers ended with `code`; wait and sidecars always end with 0.

    Args:
        pod: The pod.
        started: When its containers started.
        now: When they ended.
        code: The main containers' exit code.
        reason: Why the pod was ended, in a word, where it did not end by itself.
        message: The same in a sentence; Argo takes it for the node's.
    """
    helpers = {"wait", *(c["name"] for c in _template(pod).get("sidecars", []))}
    return {
        "phase": "Failed" if code else "Succeeded",
        "reason": reason,
        "message": message,
        "containerStatuses": [
            _container(c, {"terminated": _terminated(0 if c["name"] in helpers else code, started, now)})
            for c in pod["spec"]["containers"]
        ],
    }


def _container(container: Json, state: Json) -> Json:
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": "running" in state,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _terminated(code: int, started: str, now: str) -> Json:
    return {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": started,
        "finishedAt": now,
    }


def outputs(pod: Json) -> Json:
    """What the pod's wait container reports; empty where nothing is declared."""
    declared = _template(pod).get("outputs", {})
    reported: Json = {}
    if parameters := declared.get("parameters"):
        reported["parameters"] = [
            {"name": p["name"], "value": p.get("value", p.get("valueFrom", {}).get("default", ""))} for p in parameters
        ]
    if artifacts := declared.get("artifacts"):
        reported["artifacts"] = artifacts
    if _environment(pod).get("ARGO_INCLUDE_SCRIPT_OUTPUT") == "true":
        reported["result"] = annotations(pod).get("argosy.dev/result", "")
    return reported
