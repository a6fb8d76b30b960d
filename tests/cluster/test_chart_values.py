"""What an operator may set: the schema, the defaults, the table in the README, and what argosy reads of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.settings import SECRETS, Settings, load
from helm import table
from tests.support.chart import (
    CHART,
    DEFAULT,
    EVERYTHING,
    MAILS_KEY,
    OF_THE_CHART,
    SECRET_KEYS,
    TRACKERS_KEY,
    HelmFailed,
    Object,
    Render,
    camel_case,
    container,
    environment,
    helm,
    pod_specs,
    render,
    schema,
    secret_files,
)

__all__ = ["helm", "render"]


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
    ("options", "said"),
    [
        (
            ("worker.keda.enabled=true", "worker.keda.minReplicas=11"),
            r"worker\.keda: minReplicas 11 is more than maxReplicas 10",
        ),
        (
            ("worker.autoscaling.enabled=true", "worker.autoscaling.minReplicas=99"),
            r"worker\.autoscaling: minReplicas 99 is more",
        ),
        (("api.ingress.enabled=true",), r"which does not run: set api\.enabled"),
        (("api.httpRoute.enabled=true",), r"which does not run: set api\.enabled"),
    ],
)
def test_values_that_contradict_each_other_are_refused_in_words(
    render: Render, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(HelmFailed, match=said):
        render(DEFAULT, options=tuple(f"--set={option}" for option in options))


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
        ("worker.podDisruptionBudget.maxUnavailable=0", "/worker/podDisruptionBudget/maxUnavailable"),
        ("worker.podDisruptionBudget.maxUnavailable=0%", "/worker/podDisruptionBudget/maxUnavailable"),
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


def test_the_variables_and_files_of_the_pods_are_exactly_the_settings(render: Render) -> None:
    specs = pod_specs(render(EVERYTHING))
    everything = {f"ARGOSY_{name.upper()}" for name in Settings.model_fields}

    def given(component: str) -> set[str]:
        variables = {name for name in environment(specs[component]) if name.startswith("ARGOSY_")}
        files = {path.upper() for path in secret_files(specs[component]).values()}
        assert not variables & files
        return variables | files

    trackers = {"ARGOSY_WEBHOOK_KEY", "ARGOSY_SMTP_URL"}
    assert given("worker") | trackers == everything
    assert trackers < given("tracker")
    for component in ("tracker", "api", "migration"):
        assert given(component) < everything


def test_argosy_reads_what_the_values_say(render: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = pod_specs(render(EVERYTHING))["worker"]
    for name, variable in environment(spec).items():
        if name.startswith("ARGOSY_"):
            monkeypatch.setenv(name, variable["value"])
    secrets = {key: f"a {key}" for key in SECRET_KEYS}
    for key, path in secret_files(spec).items():
        (tmp_path / path).write_text(secrets[key])
    monkeypatch.setattr("argosy.settings.SECRETS", tmp_path)
    settings = load.__wrapped__()
    given = yaml.safe_load(EVERYTHING.read_text())
    read = {camel_case(name): value for name, value in settings.model_dump().items()}
    assert {name: read[name] for name in given["settings"]} == given["settings"]
    assert set(given["settings"]) == set(schema()["properties"]["settings"]["properties"])
    assert settings.metrics_port == given["metrics"]["port"]
    found = [settings.database_url, settings.redis_url, *settings.keys, settings.token_private_key]
    assert {each.get_secret_value() for each in found if each} | {settings.token_public_key} == set(secrets.values())
    (mount,) = [each for each in container(spec)["volumeMounts"] if each["name"] == "secrets"]
    assert mount["mountPath"] == str(SECRETS)


def test_the_readme_has_every_value_as_the_schema_and_the_defaults_have_it() -> None:
    assert table.written() == (CHART / "README.md").read_text(), "make readme"
    assert len(table.rows()) > 150


def test_the_defaults_keep_the_schema_and_every_value_has_one() -> None:
    def names(part: Object, default: Any, path: str) -> Iterator[str]:
        for name, inner in part.get("properties", {}).items():
            if not isinstance(default, dict) or name not in default:
                yield f"{path}{name}"
            else:
                yield from names(inner, default[name], f"{path}{name}.")

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    without = {each for each in names(schema(), values, "") if not each.startswith("settings.")}
    assert without == {"global"}


def test_every_value_is_set_to_something_else_in_the_values_for_everything() -> None:
    """So that the real apiserver judges what comes of each of them."""

    def leaves(part: Object, given: Any, path: str) -> Iterator[str]:
        for name, inner in part.get("properties", {}).items():
            if not isinstance(given, dict) or name not in given:
                yield f"{path}{name}"
            else:
                yield from leaves(inner, given[name], f"{path}{name}.")

    given = yaml.safe_load(EVERYTHING.read_text())
    assert set(leaves(schema(), given, "")) == {"global"}
