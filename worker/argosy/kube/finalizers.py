"""Our finalizers on one cluster: which workflows have one, and removing all of them.

The finalizer keeps a finished workflow until its end is recorded (P2). An operator who abandons a cluster, or removes argosy from it, must
be able to remove the finalizers without a tracker: else Kubernetes can never delete the objects and their namespace.
"""

import asyncio
from collections.abc import AsyncIterator

from argosy.kube import answers, status
from argosy.kube.connection import Connection
from argosy.kube.status import Sighting
from argosy.kube.workflows import Workflows

_AT_ONCE = 16


async def held(connection: Connection, selector: str) -> AsyncIterator[list[Sighting]]:
    """The workflows that have our finalizer, a page at a time.

    Args:
        connection: The cluster.
        selector: Label selector of our workflows.

    Raises:
        KubeError: One of the classes in `answers`.
    """
    workflows = Workflows(connection)
    page = await workflows.page(selector)
    while True:
        yield [seen for seen in map(status.read, page.items) if seen.held]
        if not page.continue_:
            return
        page = await workflows.page(selector, page.continue_)


async def release(connection: Connection, selector: str) -> int:
    """Remove our finalizer from every workflow of ours, ended or not.

    Returns:
        How many had it.

    Raises:
        KubeError: One of the classes in `answers`; a second call continues with the rest.
    """
    workflows, limit = Workflows(connection), asyncio.Semaphore(_AT_ONCE)

    async def one(seen: Sighting) -> int:
        async with limit:
            try:
                await workflows.release(seen.name, seen.k8s_uid, list(seen.finalizers), seen.version)
            except (answers.Missing, answers.OtherObject):
                return 0
            return 1

    count = 0
    async for page in held(connection, selector):
        count += sum(await asyncio.gather(*map(one, page)))
    return count
