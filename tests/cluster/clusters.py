"""A JobCluster to test against, whatever kind it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from argosy.kube.connection import Access
from argosy.simulator import SimulatedConnection
from clusters.local.cluster import Connection as LocalConnection

POWERLESS = "known-and-powerless"


@dataclass(frozen=True)
class Cluster:
    """One running JobCluster.

    Args:
        kind: `simulated` or `local`.
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


def access(connection: SimulatedConnection | LocalConnection) -> Access:
    """How argosy reaches a cluster of either kind."""
    return Access(
        name=connection.kind,
        namespace=connection.namespace,
        host=connection.host,
        port=connection.port,
        ca=connection.ca,
        token=connection.token,
    )
