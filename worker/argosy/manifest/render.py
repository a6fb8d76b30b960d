"""Makes workflows from a launch's frozen inputs.

What is the same for all jobs of a launch is parsed, rewritten and serialised once. A job's own parts are inserted as whole JSON values,
never into tenant text, so that no value can change the structure. The bytes are canonical (sorted keys). Their digest is stored on the
attempt and in an annotation, for people only: the name and labels say whose a workflow is (P1). The digest leaves out `spec.shutdown`,
because the workflow of a cancelled attempt whose create was unclear is created again with that field (P5).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from argosy.errors import InvalidRequest
from argosy.labels import (
    ANNOTATION_ALGORITHM,
    ANNOTATION_DIGEST,
    ANNOTATION_ENDED,
    ANNOTATION_MEDIA_IDS,
    ANNOTATION_NAME,
    FINALIZER,
    JOB_TYPE,
    LABEL_ATTEMPT,
    LABEL_GID,
    LABEL_INSTALLATION,
    LABEL_JOB_TYPE,
    LABEL_MANAGED_BY,
    LABEL_PROJECT,
    LABEL_UID,
    LABEL_USER,
    MANAGED_BY,
    SAFE_TO_EVICT,
    SECRET_KEY,
    secret_name,
    workflow_name,
)
from argosy.manifest import volumes
from argosy.manifest.calls import templates, workflow_parameters
from argosy.manifest.document import API_VERSION, Document
from argosy.manifest.lint import check
from argosy.manifest.lists import strange_lists
from argosy.manifest.parameters import RESERVED, media_ids_text, safe_text
from argosy.manifest.token import ARGOSY_TOKEN, plan
from argosy.shapes.given import Policy

TTL_FLOOR = 3600
"""The least seconds that a finished workflow stays on a cluster without the finalizer."""

PLACEHOLDER = "in-secret"
"""Value of the parameter rest_token if pods get the token from the launch's Secret."""

_NEVER_EVICT = {SAFE_TO_EVICT: "false"}
_MEDIA_IDS, _UID = RESERVED.index("media_ids"), RESERVED.index("uid")
_TTL_FIELDS = ("secondsAfterCompletion", "secondsAfterSuccess", "secondsAfterFailure")


@dataclass(frozen=True)
class LaunchFrame:
    """The part of a workflow that is the same for all jobs of a launch on one cluster.

    Args:
        parameters: Merged algorithm and extra parameters, from `merge_parameters`.
        service_account: If given, replaces the tenant's `spec.serviceAccountName`.
        policy: What the cluster's owner allows manifests to do.
        finalizer: Whether the cluster's workflows carry the finalizer; without it a TTL is at least an hour.
        token: The API token, only if the cluster's policy allows it in clear; None: pods get it from the launch's Secret.
    """

    gid: UUID
    secret_id: UUID
    project: int
    user: int
    algorithm_id: int
    algorithm_name: str
    manifest: str
    parameters: list[tuple[str, str]]
    installation: str
    host: str
    rest_url: str
    tus_url: str
    service_account: str | None
    policy: Policy
    finalizer: bool
    token: str | None = None


@dataclass(frozen=True)
class Rendered:
    """One workflow, ready to be created.

    Args:
        name: `metadata.name`.
        digest: SHA-256 (hex) of the canonical object, without its digest annotation and without `spec.shutdown`.
        body: JSON.
    """

    name: str
    digest: str
    body: bytes

    def terminated(self) -> bytes:
        """The same workflow for a cancelled job: created so that it never runs. Its digest is the same."""
        body = orjson.loads(self.body)
        body["metadata"]["annotations"][ANNOTATION_ENDED] = "cancelled"
        body["spec"]["shutdown"] = "Terminate"
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


class Renderer:
    """Renders the workflows of one launch on one cluster.

    Args:
        frame: The part that they share.

    Raises:
        ManifestError: The manifest cannot be run.
        InvalidRequest: A value of the frame cannot be passed to a workflow.
    """

    secret_name: str
    """Name of the launch's Secret."""
    uses_secret: bool
    """Whether any container gets the token from it."""

    def __init__(self, frame: LaunchFrame) -> None:
        document = check(frame.manifest, token_in_clear=True, policies={"": frame.policy})
        if frame.policy.profile != "trusted":
            for problem in strange_lists(document, frame.parameters):
                raise InvalidRequest(problem)
        volumes.drop(document)
        spec = document.spec
        self.secret_name = secret_name(frame.secret_id)
        self.uses_secret = frame.token is None and _take_from_secret(document, frame, self.secret_name)
        self._parameters = _parameters(frame, [parameter for _, parameter in workflow_parameters(document)])
        holders = [spec, spec.get("templateDefaults", {}), *(template.body for template in templates(document))]
        for holder in holders:
            holder.pop("automountServiceAccountToken", None)
        _map_storage_classes(spec, holders, frame.policy.storage_classes)
        _adjust(spec, frame)
        arguments = spec.pop("arguments", {})
        self._arguments = {key: _dumped(value) for key, value in arguments.items() if key != "parameters"}
        self._spec = {key: _dumped(value) for key, value in spec.items()}
        self._labels = {
            LABEL_JOB_TYPE: JOB_TYPE,
            LABEL_PROJECT: str(frame.project),
            LABEL_GID: str(frame.gid),
            LABEL_USER: str(frame.user),
            LABEL_MANAGED_BY: MANAGED_BY,
            LABEL_INSTALLATION: frame.installation,
        }
        self._annotations = {ANNOTATION_NAME: frame.algorithm_name, ANNOTATION_ALGORITHM: str(frame.algorithm_id)}
        self._metadata = {"finalizers": [FINALIZER]} if frame.finalizer else {}

    def render(self, uid: UUID, attempt: int, media_ids: Sequence[int]) -> Rendered:
        """The workflow of one attempt.

        Args:
            uid: The job's.
            attempt: From 1.
            media_ids: Its batch, in order.
        """
        name, uid_text, media = workflow_name(uid, attempt), str(uid), media_ids_text(media_ids)
        annotations = {**self._annotations, ANNOTATION_MEDIA_IDS: media}
        parameters: list[orjson.Fragment | dict[str, str]] = [*self._parameters]
        parameters[_MEDIA_IDS] = {"name": "media_ids", "value": media}
        parameters[_UID] = {"name": "uid", "value": uid_text}
        body = {
            "apiVersion": API_VERSION,
            "kind": "Workflow",
            "metadata": {
                **self._metadata,
                "annotations": annotations,
                "labels": {**self._labels, LABEL_UID: uid_text, LABEL_ATTEMPT: str(attempt)},
                "name": name,
            },
            "spec": {**self._spec, "arguments": {**self._arguments, "parameters": parameters}},
        }
        digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        annotations[ANNOTATION_DIGEST] = digest
        return Rendered(name, digest, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


def _parameters(frame: LaunchFrame, own: list[dict[str, Any]]) -> list[orjson.Fragment]:
    """All workflow parameters in order; those that differ from job to job are empty."""
    reserved = {
        "name": frame.algorithm_name,
        "media_ids": "",
        "gid": str(frame.gid),
        "uid": "",
        "host": frame.host,
        "rest_url": frame.rest_url,
        "rest_token": PLACEHOLDER if frame.token is None else frame.token,
        "tus_url": frame.tus_url,
        "project_id": str(frame.project),
    }
    ours = {**{name: reserved[name] for name in RESERVED}, **dict(frame.parameters)}
    theirs = [parameter for parameter in own if parameter["name"] not in ours]
    given = [{"name": name, "value": safe_text(f'parameter "{name}"', value)} for name, value in ours.items()]
    return [_dumped(parameter) for parameter in [*given, *theirs]]


def _take_from_secret(document: Document, frame: LaunchFrame, secret: str) -> bool:
    """Rewrite the uses of the token so that they read it from the Secret. Returns whether there are any."""
    found = plan(document, dict(frame.parameters))
    for finding in found.findings:
        raise finding
    source = {"secretKeyRef": {"name": secret, "key": SECRET_KEY}}
    for path in found.rewrites:
        entry = _at(document.spec, path)
        del entry["value"]
        entry["valueFrom"] = source
    for (*container, part, index), word in found.words.items():
        holder = _at(document.spec, container)
        holder[part][index] = word
        others = [each for each in holder.get("env", []) if each.get("name") != ARGOSY_TOKEN]
        holder["env"] = [{"name": ARGOSY_TOKEN, "valueFrom": source}, *others]
    return bool(found.rewrites or found.words)


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        value = value[step]
    return value


def _adjust(spec: dict[str, Any], frame: LaunchFrame) -> None:
    """Set the fields of a tenant's spec that tracking depends on."""
    spec.pop("shutdown", None)
    spec.pop("workflowMetadata", None)
    metadata = spec.setdefault("podMetadata", {})
    metadata["annotations"] = {**metadata.get("annotations", {}), **_NEVER_EVICT}
    if frame.service_account is not None:
        spec["serviceAccountName"] = frame.service_account
    old = spec.pop("ttlSecondsAfterFinished", None)
    if old is not None:
        spec["ttlStrategy"] = {"secondsAfterCompletion": old, **spec.get("ttlStrategy", {})}
    if not frame.finalizer and "ttlStrategy" in spec:
        ttl = spec["ttlStrategy"]
        ttl.update({name: max(ttl[name], TTL_FLOOR) for name in _TTL_FIELDS if name in ttl})


def _map_storage_classes(spec: dict[str, Any], holders: Sequence[dict[str, Any]], classes: Mapping[str, str]) -> None:
    """Replace the storage class of each claim by the one to which the cluster's policy maps it."""
    claims = [*spec.get("volumeClaimTemplates", [])]
    for holder in holders:
        claims += [
            each["ephemeral"].get("volumeClaimTemplate", {})
            for each in holder.get("volumes", [])
            if "ephemeral" in each
        ]
    for claim in claims:
        wanted = claim.get("spec", {})
        if (name := wanted.get("storageClassName")) in classes:
            wanted["storageClassName"] = classes[name]


def _dumped(value: Any) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
