"""What a check of a cluster has found, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.kube.check import ArgoServerReport, Report


def findings(report: Report, logs: bool) -> dict[str, str]:
    """The findings by what they are about.

    Args:
        report: What was found.
        logs: Whether the cluster is to be asked for logs.
    """
    missing = report.missing_permissions
    reached = bool(report.kubernetes_version)
    asked = report.crd  # permissions are checked only if the cluster serves workflows
    stuck = f"{report.stuck} stuck: is a tracker running? (argosy tracker)" if report.stuck else "none stuck"
    return {
        "health": str(report.health),
        "message": report.message,
        "kubernetes": report.kubernetes_version or "not known",
        "argo": report.argo_version or "not known: shown where a workflow has run",
        "crd": "installed" if report.crd else "not found" if reached else "not asked",
        "finalizers": stuck if asked and not missing else "not asked",
        "pod security": _pod_security(report) if asked and not missing else "not asked",
        "logs": _logs(report, logs),
        "argo server": _argo_server(report.argo_server),
        "permissions": f"missing: {', '.join(missing)}" if missing else "all granted" if asked else "not asked",
    }


def _pod_security(report: Report) -> str:
    if report.pod_security != "restricted":
        return report.pod_security or "none enforced"
    return "restricted: Argo and the manifests must say securityContext, see Pod Security in clusters/README.md"


def _logs(report: Report, wanted: bool) -> str:
    if not wanted:
        return "off (argosy cluster update NAME --logs)"
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
