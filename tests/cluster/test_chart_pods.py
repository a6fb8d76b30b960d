"""What the pods of the chart are: how they are locked up, what they see and what may be added to them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.support import acl
from tests.support.chart import (
    DEFAULT,
    EVERYTHING,
    GATEWAY,
    MAILS_KEY,
    SECRET_KEYS,
    TRACKERS_KEY,
    VALUE_SETS,
    VALUES,
    WORKLOADS,
    HelmFailed,
    Render,
    all_of,
    container,
    environment,
    helm,
    one,
    pod_specs,
    render,
    secret_keys,
    templates,
)

__all__ = ["helm", "render"]


def test_each_component_reads_only_the_secrets_that_it_needs(render: Render) -> None:
    specs = pod_specs(render(GATEWAY))
    assert {component: secret_keys(spec) for component, spec in specs.items()} == {
        "worker": SECRET_KEYS,
        "tracker": {"database-url", "redis-url", "keys", TRACKERS_KEY},
        "api": {"database-url", "keys", "token-public-key"},
        "migration": {"database-url"},
    }
    mailing = secret_keys(pod_specs(render(EVERYTHING))["tracker"])
    assert mailing == {"database-url", "redis-url", "keys", TRACKERS_KEY, MAILS_KEY, "token-private-key"}


def test_the_migration_needs_nothing_that_the_release_makes(render: Render) -> None:
    objects = render(EVERYTHING)
    job = one(objects, "Job", "-migration")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]
    made = {each["metadata"]["name"] for each in objects if each is not job}
    assert made
    words = set(re.findall(r"[\w.-]+", json.dumps(job["spec"]["template"]["spec"])))
    assert not made & words


@VALUE_SETS
def test_what_is_writable_is_small_and_the_root_is_not(render: Render, values: Path) -> None:
    for component, spec in pod_specs(render(values)).items():
        assert container(spec)["securityContext"]["readOnlyRootFilesystem"] is True
        empty = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume}
        assert all(each["sizeLimit"] for each in empty.values())
        writable = {mount["mountPath"] for mount in container(spec)["volumeMounts"] if mount["name"] in empty}
        directory = environment(spec).get("ARGOSY_METRICS_DIRECTORY", {}).get("value")
        assert writable == {"/tmp", *([directory] if directory else [])}
        assert (directory is None) == (component == "migration")


@pytest.mark.parametrize("mounted", [False, True])
def test_a_token_is_mounted_only_where_workflows_run_in_the_same_cluster(render: Render, mounted: bool) -> None:
    objects = render(GATEWAY, options=(f"--set=inCluster.enabled={str(mounted).lower()}",))
    specs = pod_specs(objects)
    tokens = {component: spec["automountServiceAccountToken"] for component, spec in specs.items()}
    assert tokens == {"worker": mounted, "tracker": mounted, "api": False, "migration": False}
    assert any(each["kind"] == "RoleBinding" for each in objects) == mounted


@VALUE_SETS
def test_whatever_selects_pods_selects_those_of_one_component(render: Render, values: Path) -> None:
    objects = render(values)
    labels = {name: each["metadata"]["labels"] for name, each in templates(objects, *WORKLOADS, "StatefulSet").items()}
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selector = each["spec"]["selector"]["matchLabels"].items()
        elif each["kind"] == "NetworkPolicy":
            selector = each["spec"]["podSelector"]["matchLabels"].items()
        elif each["kind"] == "Service" and not each["metadata"]["name"].endswith("-metrics"):
            selector = each["spec"]["selector"].items()
        else:
            continue
        own = each["metadata"]["labels"]["app.kubernetes.io/component"]
        assert [name for name, found in labels.items() if selector <= found.items()] == [own]


def test_a_pods_secrets_are_files_and_never_variables(render: Render) -> None:
    for values in VALUES.values():
        for spec in pod_specs(render(values)).values():
            of_the_chart = [each for each in environment(spec).values() if each["name"].startswith("ARGOSY_")]
            assert all("valueFrom" not in each for each in of_the_chart)


@pytest.mark.parametrize("component", ["worker", "tracker", "api", "migration"])
def test_what_is_added_to_a_pod_is_there_and_loosens_nothing_that_it_does_not_name(
    render: Render, component: str
) -> None:
    template = templates(render(EVERYTHING))[component]
    given = yaml.safe_load(EVERYTHING.read_text())[component]
    spec = template["spec"]
    own = container(spec)
    assert spec["priorityClassName"] == given["priorityClassName"]
    assert [each["name"] for each in spec["containers"]] == [component, "mesh"]
    assert [each["name"] for each in spec["initContainers"]] == ["wait"]
    assert given["extraVolumes"][0] in spec["volumes"]
    assert given["extraVolumeMounts"][0] in own["volumeMounts"]
    assert all(each in own["env"] for each in given["extraEnv"])
    assert own["envFrom"] == given["envFrom"]
    assert given["podLabels"].items() <= template["metadata"]["labels"].items()
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
    assert spec["securityContext"] == {
        "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 10001, "fsGroup": 10001
    }  # fmt: skip
    assert own["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsGroup": 10001,
    }


def test_a_spread_that_counts_other_pods_is_left_as_it_is(render: Render) -> None:
    one_of = "worker.topologySpreadConstraints[0]"
    options = (f"--set={one_of}.maxSkew=1", f"--set={one_of}.topologyKey=zone",
               f"--set={one_of}.whenUnsatisfiable=DoNotSchedule", f"--set={one_of}.labelSelector.matchLabels.app=other")  # fmt: skip
    (spread,) = pod_specs(render(DEFAULT, options=options))["worker"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": {"app": "other"}}


def test_a_digest_names_the_image_and_not_the_tag(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    options = ("--set=image.repository=r.example/argosy", "--set-string=image.tag=1", f"--set=image.digest={digest}")
    images = {container(spec)["image"] for spec in pod_specs(render(DEFAULT, options=options)).values()}
    assert images == {f"r.example/argosy@{digest}"}
    images = {container(spec)["image"] for spec in pod_specs(render(DEFAULT, options=options[:2])).values()}
    assert images == {"r.example/argosy:1"}


def test_labels_for_everything_are_on_everything_and_change_no_selector(render: Render) -> None:
    options = ("--set=commonLabels.team=media", "--set=commonLabels.app\\.kubernetes\\.io/component=all")
    plain, labelled = render(EVERYTHING), render(EVERYTHING, options=options)
    ours = [each for each in labelled if "labels" in each["metadata"]]
    assert len(ours) > 20
    assert all(each["metadata"]["labels"]["team"] == "media" for each in ours)
    assert all(each["metadata"]["labels"]["team"] == "media" for each in templates(labelled).values())
    deployments = (all_of(objects, "Deployment") for objects in (plain, labelled))
    before, after = ([each["spec"]["selector"] for each in found] for found in deployments)
    assert before == after


def test_objects_of_ones_own_know_the_release(render: Render) -> None:
    assert one(render(EVERYTHING), "ConfigMap", "jobs-extra")
    assert one(render(EVERYTHING), "ConfigMap", "argosy-as-yaml")


def test_a_migration_that_somebody_else_runs_is_not_run(render: Render) -> None:
    assert not all_of(render(VALUES["locked"]), "Job")
    assert all_of(render(DEFAULT), "Job")


def test_evaluation_brings_its_own_database_and_takes_no_others(render: Render) -> None:
    objects = render(VALUES["evaluation"])
    assert set(templates(objects, "StatefulSet")) == {"postgresql", "valkey"}
    assert not all_of(objects, "Job"), "before an install there is no database yet"
    made = one(objects, "Secret", "-evaluation")["stringData"]
    conf = made["valkey.conf"].splitlines()
    assert conf[0] == "user default off"
    (rules,) = (line for line in acl.LINES if line.startswith("user argosy "))
    assert conf[1] == rules.replace("PASSWORD", made["password"])
    assert made["redis-url"].startswith(f"redis://argosy:{made['password']}@")
    for spec in pod_specs(objects, "Deployment").values():
        assert secret_keys(spec) - {TRACKERS_KEY} <= set(made)
        assert [each["name"] for each in spec["initContainers"]] == ["schema"]
    with pytest.raises(HelmFailed, match=r"evaluation\.enabled: it makes a database and keys of its own"):
        render(VALUES["evaluation"], options=("--set=existingSecret=argosy",))
    assert one(render(VALUES["evaluation"]), "Secret", "-evaluation")["stringData"]["keys"] != made["keys"]
