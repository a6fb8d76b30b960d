"""The chart as tests see it: rendered by the real Helm."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters.local.build import ensure_helm
from tests.conftest import ROOT

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Helm = Callable[..., str]

CHART = ROOT / "helm/argosy"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
DEFAULT, EVERYTHING, GATEWAY = VALUES["default"], VALUES["everything"], VALUES["gateway"]
VALUE_SETS = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
NAMESPACE = "argosy-system"
SECRET_KEYS = {"database-url", "redis-url", "keys", "token-private-key", "token-public-key"}
TRACKERS_KEY = "webhook-key"
MAILS_KEY = "smtp-url"
OF_THE_CHART = {"metrics_port", "metrics_directory"}
"""Settings with a value or a place of their own in the chart."""
WORKLOADS = ("Deployment", "Job")


class HelmFailed(Exception):
    """What Helm wrote to standard error."""


def helm_in(home: Path, kubeconfig: str = os.devnull) -> Helm:
    """Helm with a home of its own.

    Args:
        home: Where its cache and configuration go.
        kubeconfig: Of the cluster that it installs into.

    Returns:
        Runs Helm with the given arguments, and has its standard output.
    """
    binary = ensure_helm(print)
    places = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments: str, timeout: float = 120) -> str:
        done = subprocess.run(
            [binary, *arguments],
            env=os.environ | places | {"KUBECONFIG": kubeconfig},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise HelmFailed(done.stdout + done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    return helm_in(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Render with value files and `--set` options; the objects, hooks included."""

    def run(*values: Path, options: tuple[str, ...] = (), namespace: str = NAMESPACE) -> list[Object]:
        files = [f"--values={path}" for path in values]
        text = helm("template", "argosy", str(CHART), f"--namespace={namespace}", *files, *options)
        return [document for document in yaml.safe_load_all(text) if document]

    return run


def all_of(objects: list[Object], kind: str) -> list[Object]:
    """The objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def one(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The only object of a kind whose name ends so."""
    (found,) = [each for each in all_of(objects, kind) if each["metadata"]["name"].endswith(suffix)]
    return found


def templates(objects: list[Object], *kinds: str) -> dict[str, Object]:
    """Pods' templates by component."""
    found = [each["spec"]["template"] for each in objects if each["kind"] in (kinds or WORKLOADS)]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def pod_specs(objects: list[Object], *kinds: str) -> dict[str, Object]:
    """Pods' specs by component."""
    return {component: each["spec"] for component, each in templates(objects, *kinds).items()}


def container(spec: Object) -> Object:
    """argosy's own container of a pod; others may be beside it."""
    found: Object = spec["containers"][0]
    return found


def environment(spec: Object) -> dict[str, Object]:
    """The variables of argosy's container by name."""
    given = container(spec)["env"]
    variables = {variable["name"]: variable for variable in given}
    assert len(variables) == len(given), "a variable is set twice"
    return variables


def secret_keys(spec: Object) -> set[str]:
    """The keys of the Secret that a pod sees."""
    (volume,) = [each for each in spec["volumes"] if each["name"] == "secrets"]
    return {item["key"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}


def secret_files(spec: Object) -> dict[str, str]:
    """The file of each key."""
    (volume,) = [each for each in spec["volumes"] if each["name"] == "secrets"]
    items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
    return {item["key"]: item["path"] for item in items}


def probes(spec: Object) -> Iterator[Object]:
    """What is asked whether a pod has begun, is ready, and lives."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield container(spec)[name]["httpGet"]


def schema() -> Object:
    """The schema of the values."""
    found: Object = json.loads((CHART / "values.schema.json").read_text())
    return found


def camel_case(name: str) -> str:
    """A setting's name, as the values have it."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def rules(document: Object) -> set[tuple[str, str, str]]:
    """What a Role grants, as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
