"""What only a real node does: containers that run out of memory, are evicted, have no image, lose their node; and what it leaves behind."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.client import Client
from argosy.kube.check import check
from argosy.kube.connection import Connection
from argosy.settings import Settings
from clusters.local import node
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import access
from tests.cluster.manifests import IMAGE
from tests.conftest import ROOT
from tests.support.on_node import PATIENCE, at, begun, ended, launch, manifest, register, stack
from tests.support.stack import Direct, finished, running, until

__all__ = ["at", "stack"]

pytestmark = pytest.mark.timeout(900)


async def test_a_container_that_needs_more_memory_than_its_limit_says_so(at: Client, stack: Direct) -> None:
    limit = "resources: {limits: {memory: 24Mi}}"
    launch(at, manifest('x=$(head -c 60000000 /dev/zero | tr "\\\\0" a); echo ${#x}', more=limit))
    job = await ended(at)
    assert job.status == "Failed"
    assert "OOMKilled" in job.message, job.message
    assert [each.exit_code for each in job.nodes] == [137]


async def test_an_image_that_cannot_be_pulled_ends_at_the_pending_deadline_in_words(at: Client, stack: Direct) -> None:
    launch(at, manifest("true", image="argosy.invalid/absent:1"), pending_deadline=8)
    job = await ended(at)
    assert job.status == "Failed"
    assert "pending deadline" in job.message
    assert "argosy.invalid/absent:1" in job.message, job.message


async def test_a_pod_that_is_evicted_fails_its_job_in_words(
    at: Client, stack: Direct, local_node: LocalCluster
) -> None:
    # Argo makes a pod anew that goes before Argo has seen it run, and Argo may look late.
    launch(at, manifest("sleep 15; echo begun; sleep 600"))
    name = await begun(local_node, "begun")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "argosy"}}
    answer = local_node.admin.post(f"/api/v1/namespaces/argosy/pods/{name}/eviction", json=eviction)
    assert answer.is_success, answer.text
    job = await ended(at)
    assert job.status in ("Failed", "Error")
    assert job.message


async def test_a_job_outlives_a_node_that_goes_away_for_a_while(
    at: Client, stack: Direct, local_node: LocalCluster
) -> None:
    assert local_node.node is not None
    stands = launch(at, manifest("echo begun; sleep 12; exit 5"))
    uid = _uid(local_node, await begun(local_node, "begun"))
    await asyncio.to_thread(local_node.node.kubelet.stop)
    try:
        # The container ends while nobody says so.
        await until(lambda: _running(local_node.node), lambda alive: uid not in alive, PATIENCE)
        assert stands().status == "Running"
    finally:
        await asyncio.to_thread(local_node.node.kubelet.start)
    job = await ended(at)
    assert (job.status, [each.exit_code for each in job.nodes]) == ("Failed", [5])


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_container_that_ignores_being_told_to_end_does_not_outlive_its_job(
    at: Client, stack: Direct, local_node: LocalCluster, how: str
) -> None:
    assert local_node.node is not None
    deadlines = {"run_deadline": 5} if how == "deadline" else {}
    stands = launch(at, manifest("trap : TERM; echo begun; while :; do sleep 1; done"), **deadlines)
    name = await begun(local_node, "begun")
    uid = _uid(local_node, name)
    assert uid in _running(local_node.node)
    if how == "cancel":
        at.cancel(stands().uid)
    job = await ended(at)
    assert job.status == ("Cancelled" if how == "cancel" else "Failed")
    assert uid not in _running(local_node.node)


async def test_a_quota_of_workflows_delays_jobs_and_fails_none(
    client: Client, settings: Settings, local_node: LocalCluster, mine: str
) -> None:
    there = await asyncio.to_thread(local_node.namespace, mine)
    register(client, there)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-at-a-time"},
        "spec": {"hard": {"count/workflows.argoproj.io": "1"}},
    }
    path = f"/api/v1/namespaces/{mine}/resourcequotas"
    local_node.admin.post(path, json=quota).raise_for_status()
    await until(
        lambda: local_node.admin.get(f"{path}/one-at-a-time").json().get("status", {}).get("used"), bool, PATIENCE
    )
    # What has ended counts as well, until it is gone.
    text = manifest("true", spec="ttlStrategy: {secondsAfterCompletion: 1}")
    client.register_algorithm(name="one", project=1, user=7, manifest=text, files_per_job=1)
    async with running(settings):
        launched = client.launch("one", project=1, user=7, media_ids=[1, 2, 3])
        await until(
            lambda: [job.message for job in client.list(gid=launched.gid)],
            lambda said: any("exceeded quota" in each for each in said),
            PATIENCE,
        )
        jobs = await finished(client, launched.gid, PATIENCE)
    assert {job.status for job in jobs} == {"Succeeded"}


async def test_a_namespace_with_pod_security_restricted_runs_what_keeps_its_rules(
    local_node: LocalCluster, mine: str
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    there = await asyncio.to_thread(local_node.namespace, mine)
    patched = local_node.admin.patch(
        f"/api/v1/namespaces/{mine}",
        json={"metadata": {"labels": labels}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    patched.raise_for_status()
    async with Connection(access(there)) as connection:
        assert (await check(connection, "argosy.dev/installation=none")).pod_security == "restricted"
    careful = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "careful"},
        "spec": {
            "entrypoint": "main",
            "serviceAccountName": "argosy-job",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 8737, "seccompProfile": {"type": "RuntimeDefault"}},
            "templates": [
                {
                    "name": "main",
                    "container": {
                        "image": IMAGE, "command": ["sh", "-c"], "args": ["echo out > /tmp/out"], "securityContext": careful
                    },
                    "outputs": {"parameters": [{"name": "out", "valueFrom": {"path": "/tmp/out"}}]},
                }
            ],
        },
    }  # fmt: skip
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{there.namespace}/workflows"
    local_node.admin.post(path, json=workflow).raise_for_status()

    def over() -> dict[str, Any]:
        found: dict[str, Any] = local_node.admin.get(f"{path}/careful").json()
        return found if found.get("status", {}).get("finishedAt") else {}

    found = await until(over, bool, PATIENCE)
    assert found["status"]["phase"] == "Succeeded", found["status"].get("message")
    (pod,) = found["status"]["nodes"].values()
    assert pod["outputs"]["parameters"][0]["value"] == "out"


def test_nothing_of_the_machine_is_changed_and_nothing_stays_after_a_kill(tmp_path: Path) -> None:
    if why := node.unable():
        pytest.skip(why)

    def machine() -> dict[str, Any]:
        settings = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"]
        return {
            "settings": [Path("/proc/sys", each).read_text() for each in settings],
            "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(tmp_path) in line],
            "links": [
                name
                for name in sorted(path.name for path in Path("/sys/class/net").iterdir())
                if not name.startswith("agy")
            ],
            "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{tmp_path.name}*")],
        }

    before = machine()
    command = [sys.executable, "-m", "clusters.local", "up", "--node", "--directory", str(tmp_path / tmp_path.name)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as up:
        assert up.stdout is not None
        assert json.loads(up.stdout.readline())["kind"] == "node"
        during = machine()
        assert during["cgroups"]
        assert during | {"cgroups": []} == before
        up.send_signal(signal.SIGKILL)

    def left() -> Any:
        found = [str(path) for path in Path("/proc").glob("[0-9]*/cmdline") if _names(path, str(tmp_path))]
        return [*found, *machine()["cgroups"], *tmp_path.iterdir()]

    asyncio.run(_until_empty(left))
    assert machine() == before


def _uid(local_node: LocalCluster, name: str) -> str:
    """Of a pod."""
    found = local_node.kubectl("get", "pod", "-n", "argosy", name, "-o", "json")
    return str(json.loads(found)["metadata"]["uid"])


def _running(node_: node.Node | None) -> set[str]:
    """The uids of the pods of which containerd has a container that runs; the one that holds the pod's network is none."""
    assert node_ is not None
    lines = node_.ctr("tasks", "list").splitlines()[1:]
    alive = {line.split()[0] for line in lines if line.split()[2] == "RUNNING"}
    found = (json.loads(node_.ctr("containers", "info", each))["Labels"] for each in alive)
    return {labels["io.kubernetes.pod.uid"] for labels in found if labels["io.cri-containerd.kind"] == "container"}


async def _until_empty(left: Callable[[], Any]) -> None:
    await until(left, lambda found: not found, 60)


def _names(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False
