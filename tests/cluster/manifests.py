"""Workflows to create in tests, and what to read off them.

How a pod behaves is said by its env, which every kind of cluster obeys: `ARGOSY_EXIT_CODE`, a number or one per try, and
`ARGOSY_SECONDS`. On a real node it is the image that does: its `true` is the script below.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from argosy.kube.workflows import Object, Workflows

LABEL = "argosy-test"
ENTRY = "main"
FOR_EVER = 600.0

IMAGE = "argosy.invalid/none:1"

TRUE = b"""#!/bin/sh
trap 'exit 143' TERM
sleep "${ARGOSY_SECONDS:-0}" &
wait $!
set -- $(echo "${ARGOSY_EXIT_CODE:-0}" | tr , ' ')
retry=${ARGOSY_RETRY:-0}
[ "$retry" -lt $# ] || retry=$(($# - 1))
shift "$retry"
exit "$1"
"""

_POLL_SECONDS = 0.1
_PATIENCE = 240.0


def container(name: str = ENTRY, exit_code: str | int = 0, seconds: float = 0.05, **fields: Any) -> Object:
    """A container template.

    Args:
        name: Its name.
        exit_code: Of its pod; a comma list goes by try.
        seconds: That its pod runs.
        fields: More of the template.
    """
    env = [{"name": "ARGOSY_EXIT_CODE", "value": str(exit_code)}, {"name": "ARGOSY_SECONDS", "value": str(seconds)}]
    if "," in str(exit_code):
        env.append({"name": "ARGOSY_RETRY", "value": "{{retries}}"})
    return {"name": name, "container": {"image": IMAGE, "command": ["true"], "env": env}, **fields}


def workflow(name: str, *templates: Object, finalizers: list[str] | None = None, **spec: Any) -> bytes:
    """A workflow, as argosy would send it; its label is the part of its name before the first dash.

    Args:
        name: `{mine}` or `{mine}-…`.
        templates: Its templates; the entrypoint is `main`.
        finalizers: Of the object.
        spec: More of its spec.
    """
    metadata: Object = {"name": name, "labels": {LABEL: name.partition("-")[0]}}
    metadata |= {"finalizers": finalizers} if finalizers else {}
    return orjson.dumps(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": metadata,
            "spec": {"entrypoint": ENTRY, "serviceAccountName": "argosy-job", "templates": list(templates), **spec},
        }
    )


async def ended(workflows: Workflows, name: str) -> Object:
    """The workflow once Argo has brought it to its end."""
    return await seen(workflows, name, lambda found: bool(found.get("status", {}).get("finishedAt")))


async def running(workflows: Workflows, name: str) -> Object:
    """The workflow once one of its pods runs."""
    return await seen(workflows, name, lambda found: any(node["phase"] == "Running" for node in pods(found)))


async def seen(workflows: Workflows, name: str, condition: Callable[[Object], bool]) -> Object:
    """The workflow once it fulfils a condition."""
    last: Object = {}

    async def holds() -> bool:
        nonlocal last
        last = await workflows.get(name)
        return condition(last)

    await eventually(holds, lambda: f"{name}: {last.get('status')}")
    return last


async def eventually(condition: Callable[[], Awaitable[bool]], state: Callable[[], str] = lambda: "") -> None:
    """Return when a condition holds; fail with the state when it does not in time."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await condition():  # noqa: ASYNC110 - another process fulfils it
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {_PATIENCE} s; {state()}") from None


def nodes(found: Object) -> list[Object]:
    """All nodes."""
    return list(found.get("status", {}).get("nodes", {}).values())


def pods(found: Object) -> list[Object]:
    """The nodes that are pods."""
    return [node for node in nodes(found) if node["type"] == "Pod"]


def by_name(found: Object) -> dict[str, Object]:
    """The nodes by their names without the workflow's."""
    prefix = found["metadata"]["name"]
    return {node["name"].removeprefix(prefix): node for node in nodes(found)}


def tree(found: Object) -> dict[str, tuple[str, str, list[str]]]:
    """Type, phase and children's names of each node, by name without the workflow's."""
    named = {node["id"]: name for name, node in by_name(found).items()}
    return {
        name: (node["type"], node["phase"], [named[child] for child in node.get("children", [])])
        for name, node in by_name(found).items()
    }
