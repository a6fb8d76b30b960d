"""A cluster's namespace is being deleted under its jobs: the cluster's fault, and no job's."""

import asyncio
from collections.abc import Iterator

import pytest

from argosy.client import Client
from argosy.kube.connection import Access
from argosy.network.guard import inside
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults.conftest import register
from tests.faults.proxy import HOST, Proxy
from tests.faults.world import workflows
from tests.support.hosts import HERE
from tests.support.stack import running, until

ENDING = "ending"
PATH = f"/api/v1/namespaces/{ENDING}"
GRANTED = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ENDING}/rolebindings/argosy"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def ending(client: Client, proxy: Proxy, local_cluster: LocalCluster) -> Iterator[Client]:
    """A client whose cluster "here" is a namespace of its own, behind the proxy; nothing of it is left afterwards."""
    at = local_cluster.namespace(ENDING)
    yield register(client, Access("here", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE)))
    admin, path = local_cluster.admin, workflows(ENDING)
    admin.delete(PATH)
    for item in admin.get(path).raise_for_status().json()["items"]:
        admin.patch(f"{path}/{item['metadata']['name']}", json={"metadata": {"finalizers": None}}, headers=MERGE)


async def test_a_namespace_that_is_being_deleted_rejects_no_job(
    ending: Client, proxy: Proxy, impatient: Settings, local_cluster: LocalCluster
) -> None:
    """First it only takes nothing new, as long as something holds it; then all that was in it goes, argosy's rights too."""

    async def refused() -> None:
        """Once something that is asked from now on was."""
        before = len(proxy.exchanges)
        await until(lambda: [each for each in proxy.exchanges[before:] if each.status in {401, 403}], bool, 60)

    async with running(impatient):
        held = ending.launch("long", project=1, user=7, media_ids=range(2))
        await until(lambda: ending.list(gid=held.gid), lambda jobs: [job.status for job in jobs] == ["Running"] * 2)
        ending.pause(cluster="here")
        waiting = ending.launch("quick", project=1, user=7, media_ids=range(5))
        await until(lambda: ending.list(gid=waiting.gid), lambda jobs: len(jobs) == 5)

        def stand() -> tuple[str, set[str]]:
            return ending.cluster("here").open_reason, {job.status for job in ending.list(gid=waiting.gid)}

        local_cluster.controller_manager.stop()
        try:
            await asyncio.to_thread(local_cluster.admin.delete, PATH)
            ending.resume(cluster="here")
            await until(stand, lambda now: "namespace_missing" in now[0] or "Rejected" in now[1])
            assert stand()[1] <= {"Queued", "Submitting"}
        finally:
            local_cluster.controller_manager.start()
        await until(lambda: local_cluster.admin.get(GRANTED).status_code, lambda code: code == 404, 60)
        await refused()
        assert stand()[1] <= {"Queued", "Submitting"}
