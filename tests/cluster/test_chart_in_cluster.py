"""What the chart grants argosy in the cluster that it runs in: what clusters/jobcluster.yaml grants, and no more."""

import yaml

from tests.conftest import ROOT
from tests.support.chart import (
    EVERYTHING,
    NAMESPACE,
    Render,
    helm,
    one,
    pod_specs,
    render,
    rules,
)

__all__ = ["helm", "render"]


def test_in_its_own_cluster_argosy_is_granted_exactly_what_a_jobcluster_grants(render: Render) -> None:
    objects = render(EVERYTHING)
    granted = list(yaml.safe_load_all((ROOT / "clusters/jobcluster.yaml").read_text()))
    for suffix, role in (("-workflows", "argosy"), ("-logs", "argosy-logs"), ("-job", "argosy-job")):
        (expected,) = [each for each in granted if each["kind"] == "Role" and each["metadata"]["name"] == role]
        found = one(objects, "Role", suffix)
        assert rules(found) == rules(expected)
        assert found["metadata"]["namespace"] == "argosy"
        assert one(objects, "RoleBinding", suffix)["roleRef"]["name"] == found["metadata"]["name"]
    assert not [each for each in objects if each["kind"].startswith("ClusterRole")]
    for suffix in ("-workflows", "-logs"):
        assert one(objects, "RoleBinding", suffix)["subjects"] == [
            {"kind": "ServiceAccount", "name": "argosy-runner", "namespace": NAMESPACE}
        ]
    without = render(EVERYTHING, options=("--set=inCluster.logs=false",))
    assert [each["kind"] for each in objects if each not in without] == ["Role", "RoleBinding"]
    for component in ("worker", "tracker"):
        assert pod_specs(objects)[component]["serviceAccountName"] == "argosy-runner"


def test_in_its_own_cluster_no_pod_bears_the_name_of_another_workflow(render: Render) -> None:
    (policy,) = [each for each in render(EVERYTHING) if each["kind"] == "ValidatingAdmissionPolicy"]
    granted = list(yaml.safe_load_all((ROOT / "clusters/jobcluster.yaml").read_text()))
    (expected,) = [each["spec"] for each in granted if each["kind"] == "ValidatingAdmissionPolicy"]
    _runs_as_argosy, *others = expected.pop("validations")
    assert policy["spec"].pop("validations") == others
    assert policy["spec"] == expected
    lists = one(render(EVERYTHING), "ConfigMap", "-pods")
    assert lists["data"] == {
        "secrets": "registry-login",
        "serviceAccounts": "argosy-job gpu-jobs",
        "volumeClaims": "models",
    }
    binding = one(render(EVERYTHING), "ValidatingAdmissionPolicyBinding", "-pods")
    assert binding["spec"]["paramRef"]["name"] == lists["metadata"]["name"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "argosy"
    }
