"""Logs of containers whose pod is gone, from where Argo has stored them (`archiveLogs`), through Argo Server."""

from collections.abc import AsyncGenerator

from argosy.kube import answers
from argosy.kube.argo_server import ArgoServer

LIMIT = 64 << 20
"""The most bytes of one log that are read."""


async def archived_log(
    server: ArgoServer, workflow: str, k8s_uid: str, node_id: str, container: str = "main", limit: int = LIMIT
) -> AsyncGenerator[bytes, None]:
    """The stored log of one container, in pieces as they arrive. Whoever stops early closes it (`contextlib.aclosing`).

    Where the workflow is archived, the log is found by its k8s uid; else by the workflow's name, while it is on the cluster.

    Args:
        server: The cluster's Argo Server.
        workflow: Name of the workflow.
        k8s_uid: Its uid; empty if none is recorded.
        node_id: The node of the pod, as in `status.nodes`.
        container: Name of the container.
        limit: The most bytes; the caller says how much it can show.

    Raises:
        Unclear: Argo Server gives no such log; its answer is no proof that none is stored.
        TooLong: It has more bytes than `limit`; those up to it were given.
        KubeError: Argo Server cannot be asked, or the log broke off.
    """
    size, words = 0, ""
    for whose in ({"k8s_uid": k8s_uid}, {"name": workflow}):
        try:
            async with server.artifact(node_id, f"{container}-logs", **whose) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    yield piece[: len(piece) - max(size - limit, 0)]
                    if size > limit:
                        raise answers.TooLong(f"the log has more than {limit} bytes; the rest was not read")
                return
        except (answers.TooLong, answers.ClusterDown):
            raise
        except answers.KubeError as error:
            if size:
                raise
            words = str(error)
    raise answers.Unclear(
        f"Argo Server gives no stored log of container {container} in node {node_id} ({words}); logs are stored where the workflow or "
        "Argo's artifact repository says archiveLogs"
    )
