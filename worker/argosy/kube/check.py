"""The check after registering a cluster: can argosy work there, and if not, what is missing?"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from argosy.inputs import clean
from argosy.kube import finalizers
from argosy.kube.answers import ClusterDown, Health, KubeError, Missing, Unclear, understood
from argosy.kube.argo_server import ArgoServer
from argosy.kube.connection import Connection
from argosy.labels import LABEL_POD_WORKFLOW

NEEDED = [("argoproj.io", "workflows", verb) for verb in ("create", "get", "list", "watch", "patch")] + [
    ("", "secrets", verb) for verb in ("create", "list", "delete")
]
NEEDED += [("coordination.k8s.io", "leases", verb) for verb in ("create", "get", "patch")]
NEEDED += [("", "pods", "list"), ("", "namespaces", "get")]
"""(group, resource, verb) that the Role `argosy` of clusters/jobcluster.yaml grants."""

LOGS = ("", "pods/log", "get")
"""What its Role `argosy-logs` grants; without it there are no logs, and all else works. Nothing but these is used."""


@dataclass
class Report:
    """Findings of one check; `health` is `ok` if argosy can work there.

    `held` are the k8s uids of our ended workflows that still have the finalizer. `stuck` says how many of them should not have it any more,
    because their end was recorded at least a minute ago. `pod_security` is the level that the namespace enforces, empty if it names none.
    `logs` says whether the token may read logs of pods; None if that was not asked.
    `argo_server` is about the cluster's Argo Server; None if the cluster names none.
    """

    health: Health = Health.OK
    message: str = ""
    kubernetes_version: str = ""
    argo_version: str = ""
    pod_security: str = ""
    crd: bool = False
    logs: bool | None = None
    missing_permissions: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    stuck: int = 0
    argo_server: "ArgoServerReport | None" = None


@dataclass(frozen=True)
class ArgoServerReport:
    """Findings about a cluster's Argo Server. What is missing is said in words; nothing is missing if it can be used for all it is for."""

    version: str
    missing: list[str]


async def check(connection: Connection, selector: str) -> Report:
    """Ask a cluster for its versions, the Workflow CRD, each permission that argosy needs, and the ended workflows that still have the
    finalizer.

    Args:
        connection: The cluster.
        selector: Label selector of our workflows.

    Returns:
        The report; an unreachable cluster is a finding, not an error.
    """
    report = Report()
    try:
        version = await connection.call("get", "version", "/version")
        with understood():
            report.kubernetes_version = clean(str(orjson.loads(version)["gitVersion"]), limit=100)
        report.crd = await _crd(connection)
        allowed = await asyncio.gather(*(connection.allowed(verb, group, name) for group, name, verb in NEEDED))
        report.missing_permissions = [
            f"{verb} {name}" for (_, name, verb), granted in zip(NEEDED, allowed, strict=True) if not granted
        ]
        if report.missing_permissions:
            raise ClusterDown(Health.FORBIDDEN, "missing permissions: " + ", ".join(report.missing_permissions))
        report.logs = await connection.allowed(LOGS[2], LOGS[0], LOGS[1])
        async for page in finalizers.held(connection, selector):
            report.held += [seen.k8s_uid for seen in page if seen.finished or seen.deleting]
        report.crd = True  # the list has shown it; discovery knows a new CRD some seconds later
        report.pod_security = await _pod_security(connection)
        report.argo_version = await _argo_version(connection)
    except ClusterDown as error:
        report.health, report.message = error.health, str(error)
    except KubeError as error:
        report.health = error.health if isinstance(error, Unclear) else Health.UNREACHABLE
        report.message = str(error)
    return report


async def check_argo_server(server: ArgoServer) -> ArgoServerReport:
    """Ask an Argo Server for its version, and whether argosy may read workflows and the archive through it.

    Returns:
        The findings; that it does not answer is one.
    """
    version, missing = "", []
    try:
        version = await server.version()
        with suppress(Missing):  # it has looked
            await server.workflow(_NOBODY)
    except KubeError as error:
        return ArgoServerReport(version, [str(error)])
    try:
        await server.archived(_NO_UID)
    except Missing:
        pass
    except KubeError as error:
        missing.append(f"the archive cannot be read (in Argo's configuration: persistence, archive: true): {error}")
    return ArgoServerReport(version, missing)


_NOBODY, _NO_UID = "argosy-nobody", "00000000-0000-0000-0000-000000000000"
"""Name and uid that no workflow has."""


async def _crd(connection: Connection) -> bool:
    """Whether the cluster serves workflows, by discovery, which every authenticated user may read."""
    try:
        answer = await connection.call("get", "apiresources", "/apis/argoproj.io/v1alpha1")
    except (Missing, ClusterDown, Unclear) as error:
        if not isinstance(error, Missing) and error.health != Health.ARGO_MISSING:
            raise
        raise ClusterDown(Health.ARGO_MISSING, "the CRD workflows.argoproj.io is not installed") from error
    with understood():
        return any(resource["name"] == "workflows" for resource in orjson.loads(answer)["resources"])


async def _pod_security(connection: Connection) -> str:
    answer = await connection.call("get", "namespaces", f"/api/v1/namespaces/{connection.access.namespace}")
    with understood():
        labels = orjson.loads(answer)["metadata"].get("labels") or {}
        return clean(str(labels.get("pod-security.kubernetes.io/enforce", "")), limit=100)


async def _argo_version(connection: Connection) -> str:
    """Argo's version, from the image of its executor: it is nowhere else. Empty if there is no pod of a workflow."""
    path = f"/api/v1/namespaces/{connection.access.namespace}/pods"
    query = {"labelSelector": LABEL_POD_WORKFLOW, "limit": "1"}
    answer = await connection.call("list", "pods", path, query=query)
    with understood():
        images = (
            str(container["image"]) for pod in orjson.loads(answer)["items"] for container in pod["spec"]["containers"]
        )
        return clean(next((image.rpartition(":")[2] for image in images if "/argoexec:" in image), ""), limit=100)
