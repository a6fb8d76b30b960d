"""Argo's definitions (CRDs), created before anything that needs them starts; and waiting for the admission policy.

Argo's controller dies where it doesn't find them, and the garbage collector learns of those that come later only half a minute
later. Posted as JSON and side by side, because `kubectl apply --server-side` takes seconds longer.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from clusters.local.component import POLL_SECONDS, START_SECONDS, ClusterError

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED = "/apis/argoproj.io/v1alpha1"
ADMISSION_SECONDS = 180.0


def install_definitions(admin: httpx.Client, directory: Path) -> None:
    """Create every definition and return when the apiserver serves them all.

    Args:
        admin: The administrator's client.
        directory: One JSON file for each definition.

    Raises:
        ClusterError: One was refused, or they were not served within START_SECONDS.
    """
    files = sorted(directory.glob("*.json"))

    def create(file: Path) -> None:
        answer = admin.post(DEFINITIONS, content=file.read_bytes(), headers={"Content-Type": "application/json"})
        if answer.is_error:
            raise ClusterError(f"{file.name} was refused: {answer.text}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(create, files))
    deadline = time.monotonic() + START_SECONDS
    for file in files:
        while not _served(admin, file.stem.partition(".")[0]):
            if time.monotonic() > deadline:
                raise ClusterError(f"{file.stem} is not served {START_SECONDS:.0f} s after its definition was created")
            time.sleep(POLL_SECONDS)


def await_admission(admin: httpx.Client, namespace: str) -> None:
    """Wait until the admission policy of `jobcluster.yaml` is in force: the apiserver takes a moment to know a new one.

    Args:
        admin: The administrator's client.
        namespace: Where workflows run.

    Raises:
        ClusterError: It was not within ADMISSION_SECONDS.
    """
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "nobody", "labels": {"workflows.argoproj.io/workflow": "nobody"}},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    ends = time.monotonic() + ADMISSION_SECONDS
    while True:
        answer = admin.post(f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json=pod)
        if "bears the name of another workflow" in answer.text:
            return
        if time.monotonic() > ends:
            raise ClusterError(f"no admission policy after {ADMISSION_SECONDS:.0f} s: {answer.text[:300]}")
        time.sleep(0.1)


def _served(admin: httpx.Client, resource: str) -> bool:
    """Whether objects can be listed; 404 before the definition is Established, 429 while its storage is prepared."""
    return admin.get(f"{SERVED}/{resource}", params={"limit": 1}).is_success
