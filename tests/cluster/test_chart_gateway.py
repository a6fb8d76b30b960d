"""The HTTP gateway in the chart: who reaches it, and how."""

from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from argosy.api import algorithms, clusters, jobs
from argosy.cli import gateway as command_of_the_gateway
from argosy.demo.embedded import free_ports
from argosy.settings import Settings
from tests.support.chart import (
    DEFAULT,
    EVERYTHING,
    GATEWAY,
    VALUES,
    HelmFailed,
    Render,
    container,
    environment,
    helm,
    one,
    pod_specs,
    probes,
    render,
    secret_files,
)
from tests.support.cli import started
from tests.support.stack import until

__all__ = ["helm", "render"]


def test_every_process_says_itself_whether_it_has_begun_is_ready_and_lives(render: Render) -> None:
    specs = pod_specs(render(GATEWAY))
    asked = {
        name: tuple((probe["path"], probe["port"]) for probe in probes(specs[name]))
        for name in ("worker", "tracker", "api")
    }
    own = (("/livez", "metrics"), ("/readyz", "metrics"), ("/livez", "metrics"))
    assert asked == {"worker": own, "tracker": own, "api": own}


def test_nobody_has_a_gateway_who_did_not_ask_for_one(render: Render) -> None:
    kinds = {each["kind"] for each in render(DEFAULT)}
    assert not kinds & {"Service", "Ingress"}
    assert "api" not in pod_specs(render(DEFAULT))
    assert "Ingress" not in {each["kind"] for each in render(DEFAULT, options=("--set=api.enabled=true",))}


@pytest.mark.parametrize("values", [GATEWAY, EVERYTHING], ids=lambda path: path.stem)
def test_a_request_gets_from_the_ingress_to_where_the_gateway_listens(render: Render, values: Path) -> None:
    objects = render(values)
    ingress, service = one(objects, "Ingress"), one(objects, "Service", "-api")
    (rule,) = ingress["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    assert all(each == {"name": service["metadata"]["name"], "port": {"name": "http"}} for each in backends)
    assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [[rule["host"]]]
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == ("http", "http"), "/metrics is not served to callers"
    deployment = one(objects, "Deployment", "-api")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    gateway = container(deployment["spec"]["template"]["spec"])
    ports = {each["name"]: each["containerPort"] for each in gateway["ports"]}
    assert gateway["args"][2:] == ["--host", gateway["args"][3], "--port", str(ports["http"])]
    assert environment(deployment["spec"]["template"]["spec"])["ARGOSY_METRICS_PORT"]["value"] == str(ports["metrics"])


def test_the_ingress_has_the_job_half_of_the_platforms_api(render: Render) -> None:
    (ingress,) = [each for each in render(GATEWAY) if each["kind"] == "Ingress"]
    paths = {each["path"] for rule in ingress["spec"]["rules"] for each in rule["http"]["paths"]}
    routers = (jobs.router, algorithms.router, clusters.router)
    routes = [route.path for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert paths == {"/".join(path.split("/")[:3]) for path in routes if path.startswith("/rest/")}


def test_an_ingress_names_its_host_and_the_gateway_a_port_of_its_own(render: Render) -> None:
    with pytest.raises(HelmFailed, match=r"api\.ingress\.host: name the host"):
        render(GATEWAY, options=("--set=api.ingress.host=",))
    with pytest.raises(HelmFailed, match=r"api\.port: 9191 is metrics\.port"):
        render(GATEWAY, options=("--set=api.port=9191",))


def test_without_tls_an_ingress_asks_for_none(render: Render) -> None:
    (ingress,) = [
        each for each in render(GATEWAY, options=("--set=api.ingress.tls.enabled=false",)) if each["kind"] == "Ingress"
    ]
    assert "tls" not in ingress["spec"]


@pytest.mark.parametrize("values", [GATEWAY, EVERYTHING], ids=lambda path: path.stem)
async def test_a_gateways_command_with_its_variables_answers_its_probes_and_serves_metrics(
    render: Render, settings: Settings, tmp_path: Path, values: Path
) -> None:
    port, metrics_port = free_ports(2)
    ports = (f"--set=api.port={port}", f"--set=metrics.port={metrics_port}")
    hosts = ("--set=api.host=127.0.0.1", "--set=settings.metricsHost=127.0.0.1")  # IPv6 is not everywhere
    spec = pod_specs(render(values, options=(*ports, *hosts)))["api"]
    secrets = {
        "database-url": settings.database_url.get_secret_value(),
        "keys": settings.keys[0].get_secret_value(),
        "token-public-key": str(settings.token_public_key),
    }
    given = {name: variable["value"] for name, variable in environment(spec).items() if name.startswith("ARGOSY_")}
    given |= {path.upper(): secrets[key] for key, path in secret_files(spec).items()}
    numbers = {each["name"]: each["containerPort"] for each in container(spec)["ports"]}
    command = container(spec)["args"][1:]
    with started(*command, environment=given | {"ARGOSY_METRICS_DIRECTORY": str(tmp_path)}) as process:

        def answers(path: str, port: str) -> int:
            assert process.poll() is None, process.communicate()
            try:
                return httpx.get(f"http://127.0.0.1:{numbers[port]}{path}", timeout=5, trust_env=False).status_code
            except httpx.TransportError:
                return 0

        for probe in probes(spec):
            await until(lambda probe=probe: answers(probe["path"], probe["port"]), lambda code: code == 200, 60)
        assert answers("/metrics", "metrics") == 200
        assert answers("/rest/Jobs/1", "http") == 401


def test_a_gateway_has_the_time_that_it_needs_to_end(render: Render) -> None:
    spec = pod_specs(render(GATEWAY))["api"]
    (_, wait) = container(spec)["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] > int(wait) + command_of_the_gateway._STOPPING


def test_a_route_of_the_gateway_api_has_what_an_ingress_has(render: Render) -> None:
    objects = render(VALUES["gateway-api"])
    route, service = one(objects, "HTTPRoute"), one(objects, "Service", "-api")
    rules = route["spec"]["rules"]
    assert all(len(each["matches"]) <= 8 for each in rules), "the API takes no more"
    paths = [match["path"]["value"] for each in rules for match in each["matches"]]
    assert len(paths) == 9
    assert "/rest/Jobs" in paths
    backend = {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    assert all(each["backendRefs"] == [backend] for each in rules)
    with pytest.raises(HelmFailed, match=r"api\.httpRoute\.parentRefs: name the Gateway"):
        render(GATEWAY, options=("--set=api.httpRoute.enabled=true",))
