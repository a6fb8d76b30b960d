"""clusters/argo-values.yaml, by the real controller: it starts with what the chart makes of the values, and does what they say."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.cli.findings import LEAST_ARGO
from clusters.local.build import ARGO, CONTROLLER, ensure_binaries
from clusters.local.cluster import LocalCluster
from clusters.local.component import Component
from clusters.local.guard import Guard
from tests.conftest import ROOT

VALUES = yaml.safe_load((ROOT / "clusters" / "argo-values.yaml").read_text())
NAMESPACE = "argo-values"
OTHERS = {
    "images": {"tag", "pullPolicy"},
    "workflow": {"rbac"},
    "controller": {"resources", "extraArgs"},
    "server": {"enabled"},
    "createAggregateRoles": set(),
}
"""Values that the chart puts elsewhere than into the controller's configuration."""


def configuration() -> dict[str, Any]:
    """What the chart writes into the controller's configuration: these values under their own names, `executor` as it is."""
    return {"executor": VALUES["executor"]} | {
        name: value for name, value in VALUES["controller"].items() if name not in OTHERS["controller"]
    }


def test_its_values_are_those_that_the_chart_takes() -> None:
    assert VALUES.keys() == OTHERS.keys() | {"executor"}
    for name in OTHERS.keys() - {"controller", "createAggregateRoles"}:
        assert VALUES[name].keys() == OTHERS[name]


def test_its_version_is_the_tested_one_and_has_none_of_the_holes_that_it_names() -> None:
    assert VALUES["images"]["tag"] == CONTROLLER.version, ARGO
    numbers = tuple(map(int, CONTROLLER.version.removeprefix("v").split(".")))
    assert numbers >= LEAST_ARGO[numbers[0]]


def test_argos_containers_run_on_the_real_node_as_it_says() -> None:
    (configured,) = [
        document["data"]["config"]
        for document in yaml.safe_load_all((ROOT / "clusters/local/argo.yaml").read_text())
        if document["kind"] == "ConfigMap"
    ]
    there = yaml.safe_load(configured)
    assert there["executor"]["securityContext"] == VALUES["executor"]["securityContext"]
    for name in ("nodeEvents", "workflowEvents"):
        assert there[name] == VALUES["controller"][name]


@pytest.fixture
def controller(local_cluster: LocalCluster, tmp_path: Path) -> Iterator[Component]:
    """A second controller, for workflows with its id only, in a namespace that enforces `restricted`."""
    quiet = {"metricsConfig": {"enabled": False}, "telemetryConfig": {"enabled": False}, "instanceID": NAMESPACE}
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}
    objects = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "configured", "namespace": NAMESPACE},
        "data": {"config": yaml.safe_dump(configuration() | quiet)},
    }
    local_cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([namespace, objects]))
    command = [
        str(ensure_binaries(print).workflow_controller),
        f"--kubeconfig={local_cluster.directory / 'argo.kubeconfig'}",
        f"--namespace={NAMESPACE}",
        "--namespaced",
        "--configmap=configured",
        "--executor-image=none",
        *VALUES["controller"]["extraArgs"],
    ]
    with Guard(tmp_path / "guarded") as guard:
        component = Component(
            "controller", command, guard, tmp_path / "controller.log", {"LEADER_ELECTION_DISABLE": "true"}
        )
        component.start()
        yield component
        component.stop()


def test_the_controller_does_what_it_says(local_cluster: LocalCluster, controller: Component) -> None:
    allowed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {"runAsNonRoot": True, "runAsUser": 8737, "seccompProfile": {"type": "RuntimeDefault"}}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "valued", "labels": {"workflows.argoproj.io/controller-instanceid": NAMESPACE}},
        "spec": {
            "entrypoint": "main",
            "securityContext": pod,
            "templates": [
                {"name": "main", "container": {"image": "none", "command": ["true"], "securityContext": allowed}}
            ],
        },
    }
    at = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"
    local_cluster.admin.post(at, json=workflow).raise_for_status()
    pods = awaited(controller, lambda: local_cluster.admin.get(f"/api/v1/namespaces/{NAMESPACE}/pods").json()["items"])
    of_argo = [
        container
        for container in pods[0]["spec"]["containers"] + pods[0]["spec"]["initContainers"]
        if container["name"] != "main"
    ]
    assert {container["name"] for container in of_argo} == {"init", "wait"}
    for container in of_argo:
        assert container["securityContext"] == VALUES["executor"]["securityContext"]
        assert container["resources"] == VALUES["executor"]["resources"]
    kept = awaited(controller, lambda: local_cluster.admin.get(f"{at}/valued").json()["spec"].get("ttlStrategy"))
    assert kept == VALUES["controller"]["workflowDefaults"]["spec"]["ttlStrategy"]


def awaited(controller: Component, question: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (answer := question()):
        assert controller.process is not None
        assert controller.process.poll() is None, controller.log.read_text()
        assert time.monotonic() < deadline, controller.log.read_text()
        time.sleep(0.1)
    return answer
