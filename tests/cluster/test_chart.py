"""The chart, rendered by the real Helm and judged by the real kube-apiserver."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.routing import APIRoute

from argosy.api import algorithms, clusters, jobs
from argosy.cli import gateway
from argosy.demo.embedded import free_ports
from argosy.settings import Settings
from clusters.local.build import ensure_helm
from clusters.local.cluster import LocalCluster
from tests.support.cli import started
from tests.support.stack import until

Object = dict[str, Any]
Render = Callable[..., list[Object]]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/argosy"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
DEFAULT, EVERYTHING, GATEWAY = VALUES
VALUE_SETS = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
NAMESPACE = "argosy-system"
pytestmark = pytest.mark.timeout(1200)  # the first test may have to build Helm and the cluster
SECRET_KEYS = {"database-url", "redis-url", "keys", "token-private-key", "token-public-key"}
TRACKERS_KEY = "webhook-key"
MAILS_KEY = "smtp-url"
OF_THE_CHART = {"metrics_port", "metrics_directory"}  # settings with a value or a place of their own in the chart


class HelmFailed(Exception):
    """What Helm wrote to standard error."""


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run Helm in a home of its own; its standard output."""
    binary = ensure_helm(print)
    home = tmp_path_factory.mktemp("helm")
    places = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [binary, *arguments],
            env=os.environ | places | {"KUBECONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise HelmFailed(done.stdout + done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., str]) -> Render:
    """Render with value files and `--set` options; the objects, hooks included."""

    def run(*values: Path, options: tuple[str, ...] = (), namespace: str = NAMESPACE) -> list[Object]:
        files = [f"--values={path}" for path in values]
        text = helm("template", "argosy", str(CHART), f"--namespace={namespace}", *files, *options)
        return [document for document in yaml.safe_load_all(text) if document]

    return run


@pytest.fixture(scope="session")
def release_namespace(local_cluster: LocalCluster) -> Iterator[str]:
    """A namespace in which Kubernetes warns of every pod that is not as restricted as pods can be."""
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    local_cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace))
    yield NAMESPACE
    local_cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def one(objects: list[Object], kind: str, suffix: str) -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    return found


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """Pod specs by component."""
    templates = [each["spec"]["template"] for each in objects if each["kind"] in ("Deployment", "Job")]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"] for each in templates}


def environment(spec: Object) -> dict[str, Object]:
    (container,) = spec["containers"]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert len(variables) == len(container["env"]), "a variable is set twice"
    return variables


def secret_keys(spec: Object) -> set[str]:
    return {v["valueFrom"]["secretKeyRef"]["key"] for v in environment(spec).values() if "valueFrom" in v}


def schema() -> Object:
    found: Object = json.loads((CHART / "values.schema.json").read_text())
    return found


def camel_case(name: str) -> str:
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


def test_it_does_not_render_without_the_secrets_name(render: Render) -> None:
    with pytest.raises(HelmFailed, match="existingSecret: name a Secret of the release's namespace with the keys"):
        render(DEFAULT, options=("--set=existingSecret=",))


@pytest.mark.parametrize("setting", ["host", "restUrl", "tusUrl"])
def test_it_does_not_render_with_localhost_as_the_platform(render: Render, setting: str) -> None:
    with pytest.raises(HelmFailed, match=f"settings.{setting}: give the platform's address"):
        render(DEFAULT, options=(f"--set=settings.{setting}=",))


def test_it_does_not_render_where_workflows_could_use_argosys_own_secret(render: Render) -> None:
    with pytest.raises(HelmFailed, match=r"inCluster\.namespace: argosy is the release's own namespace"):
        render(EVERYTHING, namespace="argosy")


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("colour=red", ""),
        ("settings.colour=red", "/settings"),
        ("worker.colour=red", "/worker"),
        ("worker.resources.colour=red", "/worker/resources"),
        ("image.pullSecrets[0].colour=red", "/image/pullSecrets/0"),
        ("api.ingress.tls.colour=red", "/api/ingress/tls"),
        ("api.service.type=ExternalName", "/api/service/type"),
        ("settings.trustedProxies[0]=proxy.example", "/settings/trustedProxies/0"),
        ("settings.uploadHosts[0]=a\\,b", "/settings/uploadHosts/0"),
        ("settings.databaseUrl=postgresql://user:password@host/argosy", "/settings"),
        ("settings.claimLease=1", "/settings/claimLease"),
        ("worker.replicas=two", "/worker/replicas"),
    ],
)
def test_the_schema_refuses_an_unknown_value_and_one_of_the_wrong_kind(render: Render, option: str, place: str) -> None:
    with pytest.raises(HelmFailed, match=f"don't meet the specifications of the schema(.|\n)*at '{place}'"):
        render(DEFAULT, options=(f"--set={option}",))


def test_the_schema_is_closed_and_describes_every_value() -> None:
    checked_by_kubernetes = {"nodeAffinity", "podAffinity", "podAntiAffinity", "global"}

    def walk(name: str, part: Object) -> None:
        if "$ref" in part:
            return
        assert part.get("description"), f"{name} has no description"
        if part["type"] == "object" and name not in checked_by_kubernetes:
            assert "additionalProperties" in part, f"{name} is open"
            assert part["additionalProperties"] is False or "properties" not in part, f"{name} is open"
        for inner, sub in part.get("properties", {}).items():
            walk(inner, sub)
        if "items" in part:
            walk(f"{name}[]", part["items"])

    walk("values", schema())
    for name, definition in schema()["definitions"].items():
        walk(name, definition)


def test_the_readme_has_every_value_with_its_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    definitions = schema()["definitions"]

    def leaves(path: str, part: Object, default: Any) -> Iterator[tuple[str, str]]:
        if "properties" in part:
            for name, sub in part["properties"].items():
                inner = default.get(name) if isinstance(default, dict) else None
                yield from leaves(f"{path}.{name}".strip("."), sub, inner)
        elif path != "global":
            yield path, "" if default is None else f"`{json.dumps(default)}`"

    # A definition is a Kubernetes object, which is one row.
    assert all(
        name in ("resources", "podAnnotations", "nodeSelector", "tolerations", "affinity") for name in definitions
    )
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| .+ \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert [(path, default.strip()) for path, default in rows] == list(leaves("", schema(), values))


def test_the_schema_knows_exactly_argosys_settings_and_their_bounds() -> None:
    bounds = {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "enum"}
    secrets = {key.replace("-", "_") for key in SECRET_KEYS | {TRACKERS_KEY, MAILS_KEY}}
    expected = {
        camel_case(name): {key: value for key, value in field.items() if key in bounds}
        for name, field in Settings.model_json_schema()["properties"].items()
        if name not in secrets | OF_THE_CHART
    }
    of_schema = schema()["properties"]["settings"]["properties"]
    found = {name: {key: value for key, value in field.items() if key in bounds} for name, field in of_schema.items()}
    assert found == expected


def test_the_variables_of_the_pods_are_exactly_the_settings(render: Render) -> None:
    specs = pod_specs(render(EVERYTHING))
    everything = {f"ARGOSY_{name.upper()}" for name in Settings.model_fields}
    trackers = {"ARGOSY_WEBHOOK_KEY", "ARGOSY_SMTP_URL"}
    assert set(environment(specs["worker"])) | trackers == everything
    assert trackers < set(environment(specs["tracker"]))
    for component in ("tracker", "api", "migration"):
        assert set(environment(specs[component])) < everything


def test_argosy_reads_what_the_values_say(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variable in environment(pod_specs(render(EVERYTHING))["worker"]).items():
        monkeypatch.setenv(name, variable.get("value", "secret"))
    settings = Settings()
    given = yaml.safe_load(EVERYTHING.read_text())
    read = {camel_case(name): value for name, value in settings.model_dump().items()}
    assert {name: read[name] for name in given["settings"]} == given["settings"]
    assert set(given["settings"]) == set(schema()["properties"]["settings"]["properties"])
    assert settings.metrics_port == given["metrics"]["port"]


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
    words = set(re.findall(r"[\w.-]+", json.dumps(job["spec"]["template"]["spec"])))
    assert not made & words


@VALUE_SETS
def test_the_metrics_directory_is_writable_and_the_root_is_not(render: Render, values: Path) -> None:
    for component, spec in pod_specs(render(values)).items():
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        empty = {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in empty}
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


@VALUE_SETS
def test_a_deployment_selects_its_own_pods(render: Render, values: Path) -> None:
    objects = render(values)
    labels = [
        each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] in ("Deployment", "Job")
    ]
    for deployment in [each for each in objects if each["kind"] == "Deployment"]:
        selector = deployment["spec"]["selector"]["matchLabels"].items()
        assert [each for each in labels if selector <= each.items()] == [
            deployment["spec"]["template"]["metadata"]["labels"]
        ]


@VALUE_SETS
def test_helm_finds_nothing_to_warn_of(helm: Callable[..., str], values: Path) -> None:
    helm("lint", "--strict", str(CHART), f"--values={values}", f"--namespace={NAMESPACE}")


@VALUE_SETS
def test_the_notes_name_the_next_step(helm: Callable[..., str], values: Path) -> None:
    arguments = ("--dry-run=client", f"--namespace={NAMESPACE}", f"--values={values}")
    notes = helm("install", "argosy", str(CHART), *arguments).partition("\nNOTES:\n")[2]
    name = "jobs" if values is EVERYTHING else "argosy"
    step = "algorithm register" if values is EVERYTHING else "cluster add"
    argosy = f"kubectl --namespace {NAMESPACE} exec --stdin --tty deployment/{name}-worker -- argosy"
    assert f"{argosy} {step}" in notes
    told = {
        DEFAULT: "",
        GATEWAY: f"The gateway is http://argosy-api.{NAMESPACE}:80 within the cluster and https://platform.example from outside, "
        "for /rest/Job /rest/Jobs ",
        EVERYTHING: f"The gateway is http://jobs-api.{NAMESPACE}:8080 within the cluster and https://argosy.example from outside, for /. "
        f"Make a token for each caller:\n  {argosy} token create --help\n",
    }[values]
    assert told in notes
    assert ("gateway" in notes) == ("deployment/" + name + "-api" in notes) == bool(told)


@VALUE_SETS
def test_the_apiserver_accepts_every_object_and_warns_of_none(
    render: Render, local_cluster: LocalCluster, release_namespace: str, values: Path
) -> None:
    objects = render(values)
    assert {each["kind"] for each in objects} >= {"Deployment", "Job", "ServiceAccount"}
    accepted = local_cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-o", "name", "-f", "-",
        stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert len(accepted.split()) == len(objects)


def test_every_process_says_itself_whether_it_has_begun_is_ready_and_lives(render: Render) -> None:
    specs = pod_specs(render(GATEWAY))
    asked = {
        name: tuple((probe["path"], probe["port"]) for probe in probes(specs[name]))
        for name in ("worker", "tracker", "api")
    }
    own = (("/livez", "metrics"), ("/readyz", "metrics"), ("/livez", "metrics"))
    assert asked == {"worker": own, "tracker": own, "api": own}


def probes(spec: Object) -> Iterator[Object]:
    """What is asked whether a pod has begun, is ready, and lives."""
    (container,) = spec["containers"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield container[name]["httpGet"]


def test_nobody_has_a_gateway_who_did_not_ask_for_one(render: Render) -> None:
    kinds = {each["kind"] for each in render(DEFAULT)}
    assert not kinds & {"Service", "Ingress"}
    assert "api" not in pod_specs(render(DEFAULT))
    assert "Ingress" not in {each["kind"] for each in render(DEFAULT, options=("--set=api.enabled=true",))}


@pytest.mark.parametrize("values", [GATEWAY, EVERYTHING], ids=lambda path: path.stem)
def test_a_request_gets_from_the_ingress_to_where_the_gateway_listens(render: Render, values: Path) -> None:
    objects = render(values)
    (ingress,), (service,) = ([each for each in objects if each["kind"] == kind] for kind in ("Ingress", "Service"))
    (rule,) = ingress["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    assert all(each == {"name": service["metadata"]["name"], "port": {"name": "http"}} for each in backends)
    assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [[rule["host"]]]
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["targetPort"]) == ("http", "http"), "/metrics is not served to callers"
    deployment = one(objects, "Deployment", "-api")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert container["args"][2:] == ["--host", container["args"][3], "--port", str(ports["http"])]
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


@VALUE_SETS
def test_all_that_serve_metrics_say_so_to_prometheus(render: Render, values: Path) -> None:
    specs = [each["spec"]["template"] for each in render(values, options=("--set=metrics.annotations=true",))
             if each["kind"] == "Deployment"]  # fmt: skip
    assert len(specs) == (2 if values is DEFAULT else 3)
    for template in specs:
        (port,) = [each for each in template["spec"]["containers"][0]["ports"] if each["name"] == "metrics"]
        annotations = template["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert annotations["prometheus.io/port"] == str(port["containerPort"])
        assert annotations["prometheus.io/path"] == "/metrics"


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
    given = {
        name: variable["value"] if "value" in variable else secrets[variable["valueFrom"]["secretKeyRef"]["key"]]
        for name, variable in environment(spec).items()
    }
    (container,) = spec["containers"]
    numbers = {each["name"]: each["containerPort"] for each in container["ports"]}
    with started(*container["args"][1:], environment=given | {"ARGOSY_METRICS_DIRECTORY": str(tmp_path)}) as process:

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
    (_, wait) = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] > int(wait) + gateway._STOPPING
