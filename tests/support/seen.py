"""What a test waits for."""

from uuid import UUID

from prometheus_client import REGISTRY

from argosy.client import Client
from argosy.kube.workflows import Workflows
from argosy.shapes.shown import JobShape
from tests.faults.conftest import become
from tests.support.stack import until


async def shown(client: Client, gid: UUID, status: str) -> JobShape:
    """The one job of a launch once it shows a status."""
    (job,) = await until(lambda: client.list(gid=gid), lambda jobs: [job.status for job in jobs] == [status], 60)
    return job


def strangers() -> float:
    return REGISTRY.get_sample_value("argosy_stranger_workflows_total", {"cluster": "here"}) or 0.0


async def terminated(workflows: Workflows, name: str, k8s_uid: str) -> None:
    """Return when Argo has ended an object that was told to."""

    found = await become(lambda found: found.get("status", {}).get("phase") == "Failed", workflows.get, name)
    assert (found["metadata"]["uid"], found["spec"].get("shutdown")) == (k8s_uid, "Terminate"), found["status"]


async def becomes(client: Client, health: str, words: str = "") -> None:
    """Return when the cluster's health is this and its message says so in words."""
    await until(
        lambda: client.cluster("here"), lambda it: it.health == health and words in (it.health_message or ""), 60
    )
