"""What argosy's ServiceAccount is granted on a JobCluster, by clusters/jobcluster.yaml, and what it used, by the apiserver's audit log."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import yaml

from clusters.local.cluster import LocalCluster

ROOT = Path(__file__).parents[2]

Right = tuple[str, str, str]
"""Group, resource, verb."""


def granted() -> set[Right]:
    """What the Roles of ServiceAccount `argosy` say."""
    documents = [each for each in yaml.safe_load_all((ROOT / "clusters/jobcluster.yaml").read_text()) if each]
    roles = {
        each["roleRef"]["name"]
        for each in documents
        if each["kind"] == "RoleBinding" and any(subject["name"] == "argosy" for subject in each["subjects"])
    }
    return {
        (group, resource, verb)
        for each in documents
        if each["kind"] == "Role" and each["metadata"]["name"] in roles
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(local: LocalCluster, after: int = 0) -> set[Right]:
    """What argosy's ServiceAccount asked of its namespace, allowed or not.

    Args:
        local: The control plane.
        after: Bytes of the audit log to leave out.
    """
    assert local.audit_log is not None
    here = local.connection.namespace
    return {right for right, namespace in _asked(local.audit_log, here, after) if namespace == here}


def not_granted(local: LocalCluster) -> set[tuple[Right, str]]:
    """What argosy has asked for as long as the control plane lived, and has no right to: by its verb, or because it asked all namespaces.
    What tests ask with its token to see it refused is left out: that does not come from argosy's own connections."""
    assert local.audit_log is not None
    here, allowed = local.connection.namespace, granted()
    logs = local.audit_log.parent.glob(
        f"{local.audit_log.stem}*{local.audit_log.suffix}"
    )  # it is rotated when it is large
    asked = {each for log in logs for each in _asked(log, here)}
    return {
        (right, namespace)
        for right, namespace in asked
        if right != EVERYBODYS and (right not in allowed or not namespace)
    }


EVERYBODYS = ("authorization.k8s.io", "selfsubjectaccessreviews", "create")
"""Kubernetes grants it to all that it knows."""


def _asked(log: Path, of: str, after: int = 0) -> Iterator[tuple[Right, str]]:
    user = f"system:serviceaccount:{of}:argosy"
    with log.open("rb") as lines:
        lines.seek(after)
        for line in lines:
            if user.encode() not in line or not line.endswith(b"\n"):
                continue
            record = orjson.loads(line)
            what = record.get("objectRef")
            if what and record["user"]["username"] == user and record["userAgent"].startswith("argosy/"):
                resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
                yield (what.get("apiGroup", ""), resource, record["verb"]), what.get("namespace", "")
