"""Logs of pods that are gone, from where Argo has stored them, if the cluster names an Argo Server."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing

from argosy.inputs import log_text
from argosy.kube import answers
from argosy.kube.archived_log import archived_log
from argosy.kube.argo_server import ArgoServer
from argosy.shapes.shown import ContainerLogShape, NodeShape

_CONTAINER = "main"
"""The container whose log Argo stores for every pod."""


async def archived(
    server: ArgoServer,
    workflow: str,
    k8s_uid: str,
    nodes: Sequence[NodeShape],
    size: int,
    limit: asyncio.Semaphore,
    ends: float,
) -> list[ContainerLogShape]:
    """The ends of the stored logs of some nodes. Those that Argo Server does not give, or not in time, are left out.

    Args:
        server: The cluster's Argo Server.
        workflow: Name of the workflow.
        k8s_uid: Its uid.
        nodes: Those whose pods are gone.
        size: Bytes of each that are shown at most, of its end.
        limit: How many are read at the same time.
        ends: When the event loop's clock shows this, no more is read.
    """

    async def one(node: NodeShape) -> ContainerLogShape | None:
        pieces: deque[bytes] = deque()
        kept = whole = 0
        try:
            async with asyncio.timeout_at(ends), limit:
                async with aclosing(archived_log(server, workflow, k8s_uid, node.id, _CONTAINER)) as stored:
                    async for piece in stored:
                        pieces.append(piece)
                        kept, whole = kept + len(piece), whole + len(piece)
                        while kept - len(pieces[0]) >= size:
                            kept -= len(pieces.popleft())
        except (answers.KubeError, TimeoutError):
            return None
        return ContainerLogShape(
            node=node.id,
            task=node.task,
            container=_CONTAINER,
            exit_code=node.exit_code,
            source="archive",
            cut=whole > size,
            text=log_text(b"".join(pieces)[-size:], size, server.secrets),
        )

    return [each for each in await asyncio.gather(*map(one, nodes)) if each is not None]
