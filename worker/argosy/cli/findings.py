"""What a check of a cluster has found, as lines for people: what is there, what is missing, and the command that gives it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.kube.check import ArgoServerReport, Report
    from argosy.shapes.shown import ClusterShape

SOON = timedelta(days=7)
"""How long before its end a token is warned of."""


def findings(report: Report, cluster: ClusterShape) -> dict[str, str]:
    """The findings by what they are about.

    Args:
        report: What was found.
        cluster: Of which cluster.
    """
    missing = report.missing_permissions
    reached = bool(report.kubernetes_version)
    asked = report.crd  # permissions are checked only if the cluster serves workflows
    stuck = f"{report.stuck} stuck: is a tracker running? (argosy tracker)" if report.stuck else "none stuck"
    found = {
        "health": str(report.health),
        "message": report.message,
        "kubernetes": report.kubernetes_version or "not known",
        "argo": argo(report.argo_version),
        "crd": "installed" if report.crd else "not found" if reached else "not asked",
        "finalizers": stuck if asked and not missing else "not asked",
        "pod security": _pod_security(report) if asked and not missing else "not asked",
        "logs": _logs(report, cluster),
        "argo server": _argo_server(report.argo_server),
        "token": token(cluster, datetime.now(UTC)),
        "permissions": f"missing: {', '.join(missing)}" if missing else "all granted" if asked else "not asked",
    }
    return found | {"to do": to_do(report, cluster)}


def to_do(report: Report, cluster: ClusterShape) -> str:
    """The command that gives what is missing; empty if nothing is."""
    name, namespace = cluster.name, cluster.namespace
    if report.health == "ok" and report.logs is not False:
        return renew(cluster) if ends_soon(cluster, datetime.now(UTC)) else ""
    return {
        "ok": f"argosy cluster manifest {name} | kubectl apply -f -   (or: argosy cluster update {name} --no-logs)",
        "forbidden": f"argosy cluster manifest {name} | kubectl apply -f -",
        "namespace_missing": f"argosy cluster manifest {name} | kubectl apply -f -",
        "argo_missing": "install Argo Workflows there, e.g. helm install as clusters/argo-values.yaml says",
        "unauthorized": renew(cluster),
        "certificate": f"argosy cluster update {name} --ca-file FILE   (the CA that signed its certificate: {namespace}'s "
        "ConfigMap kube-root-ca.crt has it)",
        "unreachable": f"see from here that it answers: curl -k https://{cluster.host}:{cluster.port}{cluster.path}/version; "
        f"or argosy cluster update {name} --host HOST --token-file FILE",
    }.get(str(report.health), "")


def renew(cluster: ClusterShape) -> str:
    """The command that gives a cluster a new token."""
    if cluster.token_source is not None:
        return "see that the token's file or command works as the user of argosy's processes, and that they may use it"
    if cluster.host is None:
        return "see that the pod's ServiceAccount has a token"
    return (
        f"kubectl create token argosy -n {cluster.namespace} --duration 8760h | "
        f"argosy cluster update {cluster.name} --token-file -"
    )


def ends_soon(cluster: ClusterShape, now: datetime) -> bool:
    """Whether a cluster's token ends within days, or has ended."""
    return cluster.token_expires_at is not None and cluster.token_expires_at - now < SOON


def token(cluster: ClusterShape, now: datetime) -> str:
    """When a cluster's token ends, in words."""
    if cluster.host is None:
        return "that of this pod"
    if cluster.token_source is not None:
        source = cluster.token_source
        return f"renewed by {source.command[0]}" if source.command else f"renewed in {source.file}"
    if cluster.token_expires_at is None:
        return "it does not say when it ends"
    left = cluster.token_expires_at - now
    day = f"{cluster.token_expires_at:%Y-%m-%d %H:%M} UTC"
    return f"ended {day}" if left < timedelta(0) else f"ends {day}, in {left.days} day{'s' * (left.days != 1)}"


LEAST_ARGO = {3: (3, 7, 15), 4: (4, 0, 6)}
"""By Argo's major version, the least one without the holes that clusters/argo-values.yaml names."""


def argo(version: str) -> str:
    """Argo's version, and whether one with known holes is mended in a later one."""
    if not version:
        return "not known: shown where a workflow has run"
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    numbers = tuple(map(int, found.groups())) if found else ()
    least = LEAST_ARGO.get(numbers[0]) if numbers else None
    if least is None or numbers >= least:
        return version
    return f"{version}: it has known holes, which v{'.'.join(map(str, least))} mends; see clusters/argo-values.yaml"


def _pod_security(report: Report) -> str:
    if report.pod_security != "restricted":
        return report.pod_security or "none enforced"
    return "restricted: Argo and the manifests must say securityContext, see Pod Security in clusters/README.md"


def _logs(report: Report, cluster: ClusterShape) -> str:
    if not cluster.logs:
        return f"off (argosy cluster update {cluster.name} --logs)"
    if report.logs is None:
        return "not asked"
    return "permitted" if report.logs else "not permitted: grant the Role argosy-logs in clusters/jobcluster.yaml"


def _argo_server(report: ArgoServerReport | None) -> str:
    if report is None:
        return "none named"
    missing = "; ".join(report.missing)
    if not report.version:
        return f"cannot be used: {missing}"
    return f"{report.version}, " + (missing or "can be used, with its archive")
