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
    return set(_used(local.audit_log, local.connection.namespace, after))


def _used(log: Path, namespace: str, after: int) -> Iterator[Right]:
    user = f"system:serviceaccount:{namespace}:argosy"
    with log.open("rb") as lines:
        lines.seek(after)
        for line in lines:
            if user.encode() not in line or not line.endswith(b"\n"):
                continue
            record = orjson.loads(line)
            what = record.get("objectRef", {})
            if record["user"]["username"] == user and what.get("namespace") == namespace:
                resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
                yield what.get("apiGroup", ""), resource, record["verb"]
