"""Each set of values, as Helm lints it, as its notes tell what comes next, and as the real kube-apiserver judges every object of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clusters.local.cluster import LocalCluster
from clusters.local.operators import definitions
from tests.support.chart import (
    CHART,
    DEFAULT,
    EVERYTHING,
    GATEWAY,
    NAMESPACE,
    VALUE_SETS,
    VALUES,
    Helm,
    Render,
    helm,
    render,
)

__all__ = ["helm", "render"]

pytestmark = pytest.mark.timeout(1200)  # the first test may have to build Helm and the cluster


@pytest.fixture(scope="module")
def release_namespace(local_cluster: LocalCluster) -> Iterator[str]:
    """A namespace in which Kubernetes warns of every pod that is not as restricted as pods can be; the operators' kinds are known there."""
    for path in definitions(print):
        local_cluster.kubectl("apply", "--server-side", "-f", str(path))
    local_cluster.kubectl("wait", "--for=create", "crd", "--all")
    local_cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    local_cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace))
    yield NAMESPACE
    local_cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    for path in definitions(print):
        local_cluster.kubectl("delete", "-f", str(path), "--wait=false")


def test_there_are_sets_of_values_for_what_people_do() -> None:
    assert len(VALUES) >= 8
    assert all(path.read_text().startswith("# ") for path in VALUES.values()), "each says what it is for"


@VALUE_SETS
def test_helm_finds_nothing_to_warn_of(helm: Helm, values: Path) -> None:
    helm("lint", "--strict", str(CHART), f"--values={values}", f"--namespace={NAMESPACE}")


@VALUE_SETS
def test_the_apiserver_accepts_every_object_and_warns_of_none(
    render: Render, local_cluster: LocalCluster, release_namespace: str, values: Path
) -> None:
    # What runs workflows elsewhere goes into namespaces that are there.
    objects = render(values, options=("--set=inCluster.namespace=argosy",))
    assert {each["kind"] for each in objects} >= {"Deployment"}
    accepted = local_cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-o", "name", "-f", "-",
        stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert len(accepted.split()) == len(objects)


@VALUE_SETS
def test_the_notes_name_the_next_step(helm: Helm, values: Path) -> None:
    arguments = ("--dry-run=client", f"--namespace={NAMESPACE}", f"--values={values}")
    notes = helm("install", "argosy", str(CHART), *arguments).partition("\nNOTES:\n")[2]
    name = "jobs" if values is EVERYTHING else "argosy"
    argosy = f"kubectl --namespace {NAMESPACE} exec --stdin deployment/{name}-worker --container worker -- argosy"
    here = yaml.safe_load(values.read_text()).get("inCluster", {}).get("enabled", False)
    assert f"{argosy} cluster {'add here --in-cluster' if here else 'check there'}" in notes
    assert f"{argosy} algorithm register - " in notes
    told = {
        DEFAULT: "",
        GATEWAY: f"The gateway is http://argosy-api.{NAMESPACE}:80 within the cluster and https://platform.example from outside, "
        "for /rest/Job /rest/Jobs ",
        EVERYTHING: f"The gateway is http://jobs-api.{NAMESPACE}:8080 within the cluster and https://argosy.example from outside, for /, "
        f"and by its Gateway for /. Make a token for each caller:\n  {argosy} token create nightly ",
    }.get(values)
    if told is not None:
        assert told in notes
        assert ("gateway" in notes) == ("deployment/" + name + "-api" in notes) == bool(told)


@pytest.mark.parametrize("values", [DEFAULT, VALUES["in-cluster"]], ids=lambda path: path.stem)
def test_every_command_of_the_notes_is_one_that_argosy_knows(helm: Helm, values: Path) -> None:
    from typer.testing import CliRunner

    from argosy.cli import app

    notes = helm("install", "argosy", str(CHART), "--dry-run=client", f"--values={values}").partition("\nNOTES:\n")[2]
    commands = re.findall(r"-- argosy ((?:.*\\\n)*.*)", notes)
    assert len(commands) >= 3
    for command in commands:
        words = re.sub(r"\\\n|<.*", " ", command).split()
        # With --help nothing is done, but every word before it is read.
        answer = CliRunner().invoke(app, [*words, "--help"])
        assert answer.exit_code == 0, (command, answer.output)
        options = {word for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", answer.output)), command
