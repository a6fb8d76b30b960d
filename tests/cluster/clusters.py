"""A JobCluster to test against, whatever kind it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from argosy.demo.simulator import SimulatedConnection
from argosy.kube.connection import Access, Connection
from argosy.network.guard import inside
from clusters.local.cluster import Connection as LocalConnection
from clusters.local.cluster import LocalCluster
from tests.support.hosts import HERE

POWERLESS = "known-and-powerless"


@dataclass(frozen=True)
class Cluster:
    """One running JobCluster.

    Args:
        kind: `simulated`, `local` or `node`.
        at: How argosy reaches it.
        admin_token: May do everything.
        powerless_token: Is known to the cluster and may do nothing there.
        compact: Has it forget the history of its objects; it may take some seconds until it shows.
    """

    kind: str
    at: Access
    admin_token: str
    powerless_token: str
    compact: Callable[[], None]

    def access(self, name: str, token: str | None = None) -> Access:
        """How to reach it, under a name for metrics and messages; with argosy's token unless another is given."""
        return replace(self.at, name=name, token=token or self.at.token)


async def delete(admin: Connection, name: str, uid: str) -> None:
    """Delete a workflow, as a person would: argosy itself deletes none, and may not.

    Raises:
        OtherObject: The name now belongs to another object.
        Missing: It is gone.
    """
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.access.namespace}/workflows/{name}"
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    await admin.call("delete", "workflows", path, body=orjson.dumps(options))


async def unpin(admin: Connection, name: str) -> None:
    """Take all finalizers off a workflow, whosever they are."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.access.namespace}/workflows/{name}"
    patch = orjson.dumps({"metadata": {"finalizers": None}})
    await admin.call("patch", "workflows", path, body=patch, content_type="application/merge-patch+json")


def access(connection: SimulatedConnection | LocalConnection) -> Access:
    """How argosy reaches a cluster of either kind."""
    return Access(
        name=connection.kind,
        namespace=connection.namespace,
        host=connection.host,
        port=connection.port,
        ca=connection.ca,
        token=connection.token,
        guard=inside(HERE),
    )


def of_local(local: LocalCluster) -> Cluster:
    """A real control plane, as tests see every cluster; once for each."""
    connection = local.connection
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": POWERLESS}}
    path = f"/api/v1/namespaces/{connection.namespace}/serviceaccounts"
    local.admin.post(path, json=account).raise_for_status()
    powerless = local.token_of(POWERLESS)
    return Cluster(connection.kind, access(connection), connection.admin_token, powerless, local.compact)
