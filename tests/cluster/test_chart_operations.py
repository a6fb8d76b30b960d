"""What the chart tells the operators of others, and what keeps a release up: budgets, sizes, monitors, networks."""

import json
import re
from pathlib import Path

import psycopg
import pytest
import yaml

from argosy.client import Client
from tests.support.chart import (
    CHART,
    DEFAULT,
    EVERYTHING,
    VALUE_SETS,
    VALUES,
    HelmFailed,
    Render,
    all_of,
    container,
    helm,
    one,
    pod_specs,
    render,
    templates,
)
from tests.support.queues import claim, clusters, fill

__all__ = ["helm", "render"]


@VALUE_SETS
def test_all_that_serve_metrics_say_so_to_prometheus(render: Render, values: Path) -> None:
    specs = templates(render(values, options=("--set=metrics.annotations=true",)), "Deployment").values()
    assert len(specs) >= 2
    for template in specs:
        (port,) = [each for each in template["spec"]["containers"][0]["ports"] if each["name"] == "metrics"]
        annotations = template["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert annotations["prometheus.io/port"] == str(port["containerPort"])
        assert annotations["prometheus.io/path"] == "/metrics"


@VALUE_SETS
def test_whoever_has_several_pods_has_a_budget_that_lets_a_node_be_emptied(render: Render, values: Path) -> None:
    objects = render(values)
    budgets = {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]
               for each in all_of(objects, "PodDisruptionBudget")}  # fmt: skip
    several = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in all_of(objects, "Deployment")
               if each["spec"].get("replicas", 2) > 1}  # fmt: skip
    assert set(budgets) == several
    assert all(each["maxUnavailable"] in (1, "50%") and "minAvailable" not in each for each in budgets.values())


def test_a_deployment_that_something_else_sizes_has_no_size_of_its_own(render: Render) -> None:
    objects = render(VALUES["gateway-api"])
    for component in ("worker", "api"):
        scaler = one(objects, "HorizontalPodAutoscaler", f"-{component}")["spec"]
        deployment = one(objects, "Deployment", f"-{component}")
        assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]
    assert one(objects, "Deployment", "-tracker")["spec"]["replicas"] == 2
    with pytest.raises(HelmFailed, match=r"worker\.keda and worker\.autoscaling"):
        render(VALUES["keda"], options=("--set=worker.autoscaling.enabled=true",))


def test_keda_counts_the_jobs_that_wait_and_no_more_than_it_needs(render: Render, client: Client) -> None:
    objects = render(VALUES["keda"])
    scaled = one(objects, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one(objects, "Deployment", "-worker")["metadata"]["name"]
    assert "replicas" not in one(objects, "Deployment", "-worker")["spec"]
    (trigger,) = scaled["triggers"]
    authentication = one(objects, "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert authentication["spec"]["secretTargetRef"][0]["key"] == "database-url"
    query, target = trigger["metadata"]["query"], int(trigger["metadata"]["targetQueryValue"])
    assert int(re.findall(r"LIMIT (\d+)", query)[0]) == target * scaled["maxReplicaCount"]
    with psycopg.connect(client.settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("SET search_path = public")
        assert connection.execute(query.encode()).fetchone() == (0,)
        # Where no worker is left, somebody must begin with a launch, and with what a worker held that died.
        clusters(client, "c")
        client.launch("hello", project=1, user=7, media_ids=[1])
        assert connection.execute(query.encode()).fetchone() == (1,)
        with client.engine.begin() as database:
            fill(database, 1, 3)
        assert connection.execute(query.encode()).fetchone() == (4,)
        assert len(claim(client.engine, limit=2).jobs) == 2
        assert connection.execute(query.encode()).fetchone() == (4,)
        with client.engine.begin() as database:
            fill(database, 1, 5, delay=3600)
        assert connection.execute(query.encode()).fetchone() == (4,)


def test_prometheus_finds_every_pod_of_argosy_once(render: Render) -> None:
    pods = {name: each["metadata"]["labels"] for name, each in templates(render(EVERYTHING), "Deployment").items()}
    by_pod = one(render(EVERYTHING), "PodMonitor")["spec"]
    assert all(by_pod["selector"]["matchLabels"].items() <= labels.items() for labels in pods.values())
    objects = render(VALUES["monitoring"])
    service, monitor = one(objects, "Service", "-metrics"), one(objects, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pods["worker"].items()
    (port,), (endpoint,) = service["spec"]["ports"], monitor["endpoints"]
    assert port["name"] == endpoint["port"] == by_pod["podMetricsEndpoints"][0]["port"] == "metrics"
    with pytest.raises(HelmFailed, match=r"metrics\.podMonitor and metrics\.serviceMonitor"):
        render(EVERYTHING, options=("--set=metrics.serviceMonitor.enabled=true",))


def test_rules_and_dashboard_come_out_of_the_chart_as_they_are_in_its_files(render: Render) -> None:
    # Where somebody else scrapes, series do not say of which release they are.
    objects = render(VALUES["monitoring"], options=("--set=metrics.serviceMonitor.enabled=false",))
    files = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "files").glob("*.yaml"))]
    assert files
    assert one(objects, "PrometheusRule")["spec"]["groups"] == [group for each in files for group in each["groups"]]
    found = one(objects, "ConfigMap", "-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in (CHART / "files").glob("*.json")
    }
    assert found["data"]


def test_a_network_policy_lets_in_who_is_named_and_to_the_port_that_is_named(render: Render) -> None:
    policies = {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]
                for each in all_of(render(EVERYTHING), "NetworkPolicy")}  # fmt: skip
    assert set(policies) == {"worker", "tracker", "api"}
    doors = {
        name: [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] for name, spec in policies.items()
    }
    assert doors == {"worker": [["metrics"]], "tracker": [["metrics"]], "api": [["metrics"], ["http"]]}
    specs = pod_specs(render(EVERYTHING), "Deployment")
    for name, spec in policies.items():
        assert {port for ports in doors[name] for port in ports} <= {
            each["name"] for each in container(specs[name])["ports"]
        }
        assert all(rule["from"] for rule in spec["ingress"])
        assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert not all_of(render(DEFAULT), "NetworkPolicy")
    inner = {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]
             for each in all_of(render(VALUES["evaluation"]), "NetworkPolicy")}  # fmt: skip
    assert inner["postgresql"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in inner["postgresql"], "a database calls nobody"
