"""The local cluster is what the rest of the suite takes for a real JobCluster; these tests keep it one."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from clusters.local.cluster import LocalCluster
from clusters.local.component import REPOSITORY, Component
from clusters.local.guard import Guard

Json = dict[str, Any]
T = TypeVar("T")
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/argosy/workflows"
PODS = "/api/v1/namespaces/argosy/pods"


def wait_for(question: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return answer


def create_workflow(client: httpx.Client, *templates: Json) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"entrypoint": "main", "serviceAccountName": "argosy-job", "templates": list(templates)},
    }
    answer = client.post(WORKFLOWS, json=workflow)
    assert answer.status_code == 201, answer.text
    return name


def container(name: str = "main", annotations: dict[str, str] | None = None, **template: Any) -> Json:
    return {
        "name": name,
        "metadata": {"annotations": annotations or {}},
        "container": {"image": "none", "command": ["true"]},
        **template,
    }


def final(cluster: LocalCluster, name: str) -> Json:
    def status() -> Json | None:
        answer = cluster.admin.get(f"{WORKFLOWS}/{name}")
        found: Json = answer.raise_for_status().json().get("status", {})
        return found if found.get("phase") in ("Succeeded", "Failed", "Error") else None

    found = wait_for(status, f"workflow {name} is final")
    assert found is not None
    return found


def pods(cluster: LocalCluster, workflow: str) -> list[Json]:
    selector = {"labelSelector": f"workflows.argoproj.io/workflow={workflow}"}
    items: list[Json] = cluster.admin.get(PODS, params=selector).raise_for_status().json()["items"]
    return items


@pytest.fixture
def argosy(local_cluster: LocalCluster) -> Iterator[httpx.Client]:
    """What the product may do there."""
    headers = {"Authorization": f"Bearer {local_cluster.connection.token}"}
    with httpx.Client(base_url=local_cluster.admin.base_url, verify=local_cluster.tls, headers=headers) as client:
        yield client


def test_a_workflow_succeeds(local_cluster: LocalCluster) -> None:
    name = create_workflow(local_cluster.admin, container())
    assert final(local_cluster, name)["phase"] == "Succeeded"


def test_a_failed_node_carries_its_exit_code(local_cluster: LocalCluster) -> None:
    name = create_workflow(local_cluster.admin, container(annotations={"argosy.dev/exit-code": "3"}))
    status = final(local_cluster, name)
    assert status["phase"] == "Failed"
    assert [node["message"] for node in status["nodes"].values()] == ["main: Error (exit code 3)"]


def test_a_script_that_ends_in_exit_n_fails_with_n(local_cluster: LocalCluster) -> None:
    script = {"image": "none", "command": ["sh"], "source": "if false; then\n  exit 1\nfi\necho so\nexit 7\n"}
    name = create_workflow(local_cluster.admin, {"name": "main", "script": script})
    assert "(exit code 7)" in final(local_cluster, name)["message"]


def test_each_try_ends_with_its_own_exit_code(local_cluster: LocalCluster) -> None:
    annotations = {"argosy.dev/exit-code": "1,2,0"}
    name = create_workflow(local_cluster.admin, container(annotations=annotations, retryStrategy={"limit": 5}))
    status = final(local_cluster, name)
    tries = [node for node in status["nodes"].values() if node["type"] == "Pod"]
    assert status["phase"] == "Succeeded"
    assert sorted((node["name"][-3:], node["outputs"]["exitCode"]) for node in tries) == [
        ("(0)", "1"),
        ("(1)", "2"),
        ("(2)", "0"),
    ]


def test_outputs_reach_the_steps_that_ask_for_them(local_cluster: LocalCluster) -> None:
    tasks = [
        {"name": "list", "template": "list"},
        {
            "name": "each",
            "template": "each",
            "depends": "list",
            "withParam": "{{tasks.list.outputs.result}}",
            "arguments": {
                "parameters": [
                    {"name": "item", "value": "{{item}}"},
                    {"name": "default", "value": "{{tasks.list.outputs.parameters.out}}"},
                ]
            },
        },
    ]
    name = create_workflow(
        local_cluster.admin,
        {"name": "main", "dag": {"tasks": tasks}},
        {
            "name": "list",
            "metadata": {"annotations": {"argosy.dev/result": '["a","b"]'}},
            "script": {"image": "none", "command": ["sh"], "source": "echo"},
            "outputs": {"parameters": [{"name": "out", "valueFrom": {"path": "/out", "default": "seven"}}]},
        },
        container("each", inputs={"parameters": [{"name": "item"}, {"name": "default"}]}),
    )
    status = final(local_cluster, name)
    inputs = [
        node["inputs"]["parameters"]
        for node in status["nodes"].values()
        if node["templateName"] == "each" and node["type"] == "Pod"
    ]
    assert status["phase"] == "Succeeded"
    assert sorted([parameter["value"] for parameter in each] for each in inputs) == [["a", "seven"], ["b", "seven"]]


def test_terminate_ends_the_pods_with_143(local_cluster: LocalCluster) -> None:
    name = create_workflow(local_cluster.admin, container(annotations={"argosy.dev/seconds": "1000"}))
    wait_for(lambda: [p for p in pods(local_cluster, name) if p["status"]["phase"] == "Running"], "the pod runs")
    local_cluster.admin.patch(
        f"{WORKFLOWS}/{name}",
        json={"spec": {"shutdown": "Terminate"}},
        headers={"Content-Type": "application/merge-patch+json"},
    ).raise_for_status()
    assert final(local_cluster, name)["message"] == "Stopped with strategy 'Terminate'"
    ended = wait_for(lambda: [p for p in pods(local_cluster, name) if p["status"]["phase"] == "Failed"], "the pod ends")
    codes = {c["name"]: c["state"]["terminated"]["exitCode"] for c in ended[0]["status"]["containerStatuses"]}
    assert codes["main"] == 143


def test_a_pod_past_its_deadline_fails(local_cluster: LocalCluster) -> None:
    long = container(annotations={"argosy.dev/seconds": "1000"}, activeDeadlineSeconds=1)
    status = final(local_cluster, create_workflow(local_cluster.admin, long))
    assert (status["phase"], status["message"]) == (
        "Failed",
        "Pod was active on the node longer than the specified deadline",
    )


def test_a_wish_that_is_no_number_fails_its_own_pod_only(local_cluster: LocalCluster) -> None:
    bad = create_workflow(local_cluster.admin, container(annotations={"argosy.dev/exit-code": "three"}))
    assert "three" in final(local_cluster, bad)["message"]
    good = create_workflow(local_cluster.admin, container())
    assert final(local_cluster, good)["phase"] == "Succeeded"


def test_argosys_token_reaches_what_its_role_names_in_its_namespace_and_nothing_else(argosy: httpx.Client) -> None:
    create_workflow(argosy, container())
    allowed = [WORKFLOWS, PODS, "/api/v1/namespaces/argosy/secrets", "/api/v1/namespaces/argosy"]
    forbidden = [
        f"{PODS}/any",
        "/api/v1/pods",
        "/api/v1/namespaces/argo",
        "/api/v1/namespaces/argo/pods",
        "/api/v1/namespaces/argo/secrets",
        "/api/v1/secrets",
        "/apis/argoproj.io/v1alpha1/workflows",
        "/apis/argoproj.io/v1alpha1/namespaces/argosy/workflowtaskresults",
        "/api/v1/namespaces",
    ]
    answers = {path: argosy.get(path).status_code for path in allowed + forbidden}
    assert argosy.get(f"{PODS}/any/log").status_code == 404, "it may read logs, and there is no such pod"
    assert answers == dict.fromkeys(allowed, 200) | dict.fromkeys(forbidden, 403)


def test_its_certificate_passes_the_strict_checks_of_newer_pythons(local_cluster: LocalCluster) -> None:
    strict = ssl.create_default_context(cadata=local_cluster.connection.ca)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    for host in ("127.0.0.1", "localhost"):
        url = f"https://{host}:{local_cluster.connection.port}/readyz"
        headers = {"Authorization": f"Bearer {local_cluster.connection.admin_token}"}
        assert httpx.get(url, verify=strict, headers=headers).status_code == 200


def test_the_audit_log_tells_who_created_what(local_cluster: LocalCluster, argosy: httpx.Client) -> None:
    name = create_workflow(argosy, container())
    assert local_cluster.audit_log is not None
    events = [json.loads(line) for line in local_cluster.audit_log.read_text().splitlines()]
    mine = [event for event in events if event["objectRef"].get("name") == name and event["verb"] == "create"]
    assert [(event["user"]["username"], event["responseStatus"]["code"]) for event in mine] == [
        ("system:serviceaccount:argosy:argosy", 201)
    ]


def test_each_component_comes_back_to_the_same_data_and_ports(local_cluster: LocalCluster) -> None:
    name = create_workflow(local_cluster.admin, container(annotations={"argosy.dev/seconds": "1000"}))
    wait_for(lambda: [p for p in pods(local_cluster, name) if p["status"]["phase"] == "Running"], "the pod runs")
    for component in local_cluster.components:
        component.restart()
    (pod,) = pods(local_cluster, name)
    assert pod["status"]["phase"] == "Running"
    local_cluster.admin.delete(f"{PODS}/{pod['metadata']['name']}").raise_for_status()
    local_cluster.admin.delete(f"{WORKFLOWS}/{name}").raise_for_status()
    assert final(local_cluster, create_workflow(local_cluster.admin, container()))["phase"] == "Succeeded"


def test_what_a_stopped_controller_missed_is_done_when_it_is_back(local_cluster: LocalCluster) -> None:
    local_cluster.argo.stop()
    try:
        name = create_workflow(local_cluster.admin, container())
        assert "status" not in local_cluster.admin.get(f"{WORKFLOWS}/{name}").json()
    finally:
        local_cluster.argo.start()
    assert final(local_cluster, name)["phase"] == "Succeeded"


def test_stop_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    with LocalCluster(directory) as cluster:
        pids = [component.process.pid for component in cluster.components if component.process]
        assert len(pids) == 5
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert not directory.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_command_is_the_end_of_everything_it_started(how: signal.Signals, tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    command = [sys.executable, "-m", "clusters.local", "up", "--directory", str(directory)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        connection = json.loads(process.stdout.readline())
        assert (connection["kind"], connection["namespace"]) == ("local", "argosy")
        pids = running_in(directory)
        assert len(pids) >= 5
        process.send_signal(how)
    wait_for(lambda: not any(alive(pid) for pid in pids), "every process has ended")
    wait_for(lambda: not directory.exists(), "the directory is gone")
    if how is not signal.SIGKILL:
        assert process.returncode == 0


def test_a_component_that_dies_says_why(tmp_path: Path) -> None:
    with Guard(tmp_path / "guarded") as guard:
        command = [sys.executable, "-c", "raise SystemExit('no such flag: --colour')"]
        component = Component("dyer", command, guard, tmp_path / "dyer.log", ready=lambda: False)
        with pytest.raises(Exception, match=r"dyer ended with 1; its log ends:\nno such flag: --colour"):
            component.start()


def alive(pid: int) -> bool:
    """Whether a process runs; what only waits for its parent to take note of its end doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def running_in(directory: Path) -> list[int]:
    """Processes whose command line names a directory: the parts of a cluster and its guard."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(directory) in command and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found
