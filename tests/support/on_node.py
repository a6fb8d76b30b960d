"""One job on a cluster with a real node."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from argosy.client import Client
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from clusters.local.cluster import Connection as LocalConnection
from clusters.local.cluster import LocalCluster
from tests.cluster.manifests import IMAGE
from tests.support.stack import Direct, finished, running, until

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: node-}}
spec:
  entrypoint: main
  {spec}
  templates:
    - name: main
      container:
        image: {image}
        command: [sh, -c]
        args: ['{script}']
        {more}
"""

PATIENCE = 240.0
"""Seconds: on a busy machine the node takes twenty for a pod."""


def manifest(script: str, image: str = IMAGE, more: str = "", spec: str = "arguments: {}") -> str:
    """One container; `more` is another line of it, `spec` one of the workflow's."""
    return MANIFEST.format(script=script, image=image, more=more, spec=spec)


def register(client: Client, at: LocalConnection) -> Client:
    """Register the cluster with the node."""
    client.add_cluster(
        name="node",
        host=at.host,
        port=at.port,
        cert=at.ca,
        token=at.token,
        namespace=at.namespace,
        service_account="argosy-job",
        default=True,
    )
    return client


@pytest.fixture
def at(client: Client, local_node: LocalCluster) -> Client:
    return register(client, local_node.connection)


@pytest.fixture
async def stack(at: Client, settings: Settings) -> AsyncIterator[Direct]:
    async with running(settings) as direct:
        yield direct


def launch(client: Client, text: str, **fields: Any) -> Callable[[], JobShape]:
    """Run one job; how it stands is what the result answers."""
    client.register_algorithm(name="one", project=1, user=7, manifest=text, files_per_job=1, **fields)
    launched = client.launch("one", project=1, user=7, media_ids=[1])
    return lambda: client.list(gid=launched.gid)[0]


async def ended(client: Client) -> JobShape:
    (launched,) = client.launches()
    (job,) = await finished(client, launched.gid, PATIENCE)
    return job


async def begun(local_node: LocalCluster, said: str) -> str:
    """The name of the pod that has written a line."""

    def names() -> list[str]:
        found = local_node.kubectl("get", "pods", "-n", "argosy", "-o", "json")
        return [
            pod["metadata"]["name"]
            for pod in json.loads(found)["items"]
            if pod["status"]["phase"] == "Running"
            and said in local_node.kubectl("logs", "-n", "argosy", pod["metadata"]["name"], "-c", "main")
        ]

    (name,) = await until(names, bool, PATIENCE)
    return str(name)
