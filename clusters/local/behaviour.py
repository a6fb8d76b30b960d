"""The statuses that a pod goes through that nobody runs: pure functions. What it does meanwhile it says itself: demo/wishes.py."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from argosy.demo.wishes import Wishes

Json = dict[str, Any]


def wishes(pod: Json) -> Wishes:
    """What a pod asks for."""
    return Wishes(_template(pod), annotations(pod), _environment(pod))


def retry(pod: Json) -> int:
    """Which of its node's retries a pod is; 0 for the first."""
    found = re.search(r"\((\d+)\)$", annotations(pod).get("workflows.argoproj.io/node-name", ""))
    return int(found[1]) if found else 0


def deadline(pod: Json) -> float:
    """How many seconds a pod may run."""
    return float(pod["spec"].get("activeDeadlineSeconds", "inf"))


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
    asked = wishes(pod)
    reported: Json = {}
    if parameters := asked.parameters():
        reported["parameters"] = parameters
    if artifacts := asked.template.get("outputs", {}).get("artifacts"):
        reported["artifacts"] = artifacts
    if _environment(pod).get("ARGO_INCLUDE_SCRIPT_OUTPUT") == "true":
        reported["result"] = asked.result()
    return reported
