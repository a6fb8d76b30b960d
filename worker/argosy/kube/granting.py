"""What an administrator applies to make a namespace a JobCluster: clusters/jobcluster.yaml, for another namespace or with other switches.

That file is the one source. Its comments say the reason for each verb, so it is changed as text and not read as objects.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argosy
from argosy.errors import InvalidRequest
from argosy.shapes.given import Policy

_PACKAGED = Path(argosy.__file__).parent / "jobcluster.yaml"
_SOURCE = _PACKAGED if _PACKAGED.is_file() else Path(argosy.__file__).parents[2] / "clusters" / "jobcluster.yaml"

PROFILE_LEVEL = {"restricted": "baseline", "baseline": "baseline", "trusted": "privileged"}
"""The Pod Security level that a namespace enforces for each profile of a cluster's policy. Argo's own containers ask for nothing, so
`restricted` needs more than a label: clusters/README.md."""


def of_policy(policy: Policy) -> dict[str, Any]:
    """The fields of `Grant` that follow from what manifests may do on a cluster."""
    return {
        "pod_security": PROFILE_LEVEL[policy.profile],
        "secrets": tuple(policy.secrets),
        "service_accounts": tuple(policy.service_accounts),
        "volume_claims": tuple(policy.volume_claims),
    }


@dataclass(frozen=True)
class Grant:
    """What a namespace is to grant.

    Attributes:
        namespace: Where workflows run.
        logs: Whether argosy may read what containers write.
        pod_security: The level that the namespace enforces.
        artifact_secrets: Secrets that Argo Server reads with argosy's token, to show logs that Argo has stored.
        pods: The most pods of the namespace; None for no quota.
        secrets: What workflows' pods may name, as are the next two.
        service_accounts: Beside those that every namespace has.
        volume_claims: See `secrets`.
    """

    namespace: str = "argosy"
    logs: bool = True
    pod_security: str = "baseline"
    artifact_secrets: tuple[str, ...] = ()
    pods: int | None = None
    secrets: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    volume_claims: tuple[str, ...] = ()


def manifest(grant: Grant) -> str:
    """The objects that grant it, as YAML with the reason for each verb.

    Raises:
        InvalidRequest: A name is none of Kubernetes'. It could be text that adds objects.
    """
    for name in (
        grant.namespace,
        *grant.artifact_secrets,
        *grant.secrets,
        *grant.service_accounts,
        *grant.volume_claims,
    ):
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r}: no name of a Kubernetes object: lower-case letters, digits, '-' and '.'")
    documents = _SOURCE.read_text().split("\n---\n")
    if not grant.logs:
        documents = [each for each in documents if "\n  name: argosy-logs\n" not in each]
    text = "\n---\n".join([*(each.rstrip("\n") for each in documents), *_more(grant)]) + "\n"
    for field, names in _pod_lists(grant).items():
        text = _put(rf"^  {field}: (.*)$", f"  {field}: {names}", text)
    text = _put(r"(/enforce): \w+$", rf"\1: {grant.pod_security}", text)
    return text if grant.namespace == "argosy" else _moved(text, grant.namespace)


def _pod_lists(grant: Grant) -> dict[str, str]:
    accounts = ["argosy-job", "default", *(each for each in grant.service_accounts if each not in _ACCOUNTS)]
    return {
        "secrets": _quoted([*grant.secrets, *(each for each in grant.artifact_secrets if each not in grant.secrets)]),
        "serviceAccounts": " ".join(accounts),
        "volumeClaims": _quoted(grant.volume_claims),
    }


_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ACCOUNTS = ("argosy-job", "default")


def _quoted(names: Sequence[str]) -> str:
    return f'"{" ".join(names)}"'


def _more(grant: Grant) -> list[str]:
    more = []
    if grant.artifact_secrets:
        more += [_ARTIFACTS.format(names=", ".join(grant.artifact_secrets)), _bound("argosy-artifacts")]
    if grant.pods is not None:
        more.append(_QUOTA.format(pods=grant.pods))
    return more


_ARTIFACTS = """\
# Argo Server reads the artifact repository's credentials with the token of whoever asks for a stored log.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: argosy-artifacts
  namespace: argosy
rules:
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{names}]
    verbs:
      - get # what Argo has stored of a log"""

_QUOTA = """\
# argosy waits when it is exhausted; no attempt is lost by it.
apiVersion: v1
kind: ResourceQuota
metadata:
  name: argosy
  namespace: argosy
spec:
  hard:
    pods: "{pods}\""""


def _bound(role: str) -> str:
    return f"""\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {role}
  namespace: argosy
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {role}
subjects:
  - kind: ServiceAccount
    name: argosy
    namespace: argosy"""


def _moved(text: str, namespace: str) -> str:
    """For another namespace. What lies outside of namespaces has its name in its own, so that several may be on one cluster."""
    text = re.sub(r"^( *namespace): argosy$", rf"\1: {namespace}", text, flags=re.MULTILINE)
    text = _put(r"^(kind: Namespace\nmetadata:\n  name): argosy$", rf"\1: {namespace}", text)
    text = _put(r"(kubernetes.io/metadata.name): argosy$", rf"\1: {namespace}", text)
    text = re.sub(
        r"^(kind: ValidatingAdmissionPolicy(?:Binding)?\nmetadata:\n  name: argosy-pods)$",
        rf"\1-{namespace}",
        text,
        flags=re.MULTILINE,
    )
    return _put(r"^(  policyName: argosy-pods)$", rf"\1-{namespace}", text)


def _put(pattern: str, new: str, text: str) -> str:
    text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
    assert count == 1, f"{_SOURCE.name} has {count} lines like {pattern}"  # noqa: S101 -- a defect of the file
    return text
