"""A workflow as a job of a manifest would be, for Argo's own lint. Only the values that each job has for itself are made up. Pure."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from argosy.manifest.render import PLACEHOLDER, LaunchFrame, Renderer
from argosy.shapes.given import Policy

_ID = UUID("00000000-0000-1000-8000-000000000000")
_ADDRESS = "https://sample.invalid"
_PARAMETER = re.compile(r"workflow\.parameters\.([A-Za-z0-9_-]+)")


def sample(
    text: str, parameters: Sequence[tuple[str, str]], policy: Policy, service_account: str | None, token_in_clear: bool
) -> dict[str, Any]:
    """The workflow of a job that nobody launched.

    A parameter that the manifest uses and that neither it nor the algorithm gives is declared without a value: a launch may give it.

    Args:
        text: The manifest.
        parameters: Those of the algorithm, from `merge_parameters`.
        policy: The cluster's.
        service_account: The cluster's.
        token_in_clear: Whether the cluster lets workflows have the token as a parameter.

    Raises:
        ManifestError: The manifest cannot be run there.
        InvalidRequest: A parameter cannot be passed to a workflow.
    """
    frame = LaunchFrame(
        gid=_ID,
        secret_id=_ID,
        project=0,
        user=0,
        algorithm_id=0,
        algorithm_name="sample",
        manifest=text,
        parameters=list(parameters),
        installation="sample",
        host=_ADDRESS,
        rest_url=_ADDRESS,
        tus_url=_ADDRESS,
        service_account=service_account,
        policy=policy,
        finalizer=True,
        token=PLACEHOLDER if token_in_clear else None,
    )
    rendered = Renderer(frame).render(_ID, 1, [1])
    workflow: dict[str, Any] = orjson.loads(rendered.body)
    given: list[dict[str, Any]] = workflow["spec"]["arguments"]["parameters"]
    known = {each["name"] for each in given}
    used = dict.fromkeys(_PARAMETER.findall(rendered.body.decode()))
    given += [{"name": name} for name in used if name not in known]
    return workflow
