"""Pods of one cluster's workflows: which of them have not ended.

Argo calls a workflow ended as soon as it has told its containers to end. Only the pods show whether they still run (F73).
"""

from collections.abc import Set

import orjson

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.labels import LABEL_POD_WORKFLOW

_NAMED = 100
"""Up to this many workflows are named in the request. For more, listing all pods is cheaper for the apiserver than such a long request."""

_PAGE = 500

_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Pods:
    """Calls on the pods in a connection's namespace.

    Args:
        connection: The cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._path = f"/api/v1/namespaces/{connection.access.namespace}/pods"

    async def unfinished(self, workflows: Set[str]) -> set[str]:
        """Which of these workflows, by name, have a pod with a container that runs or may still start.

        A pod that is being deleted counts until the kubelet has seen the end of its containers.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        named = f"{LABEL_POD_WORKFLOW} in ({','.join(sorted(workflows))})"
        query = {
            "labelSelector": named if len(workflows) <= _NAMED else LABEL_POD_WORKFLOW,
            "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed",
            "limit": str(_PAGE),
        }
        found: set[str] = set()
        while True:
            answer = await self._connection.call("list", "pods", self._path, query=query, accept=_METADATA_ONLY)
            with answers.understood():
                document = orjson.loads(answer)
                # A metadata-only list without pods has null here.
                found |= workflows & {
                    str(pod["metadata"]["labels"][LABEL_POD_WORKFLOW]) for pod in document["items"] or ()
                }
                query["continue"] = document["metadata"].get("continue") or ""
            if not query["continue"]:
                return found
