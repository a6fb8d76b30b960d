"""The document that the newest published client makes its methods from."""

import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from argosy.api.app import create_app
from argosy.api.document import document
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.integration.api.conftest import World
from tests.support.environments import environment
from tests.support.platform import FULL
from tests.support.stack import until

GOLDEN = Path(__file__).with_name("schema.json")

_OPERATIONS = {
    "GetJobList", "CreateJobList", "DeleteJobList", "GetJob", "DeleteJob", "GetAlgorithmList", "RegisterAlgorithm", "GetAlgorithm",
    "UpdateAlgorithm", "DeleteAlgorithm", "SaveAlgorithmManifest", "GetJobClusterList", "CreateJobCluster", "GetJobCluster",
    "UpdateJobCluster", "DeleteJobCluster", "SendEmail", "Whoami",
}  # fmt: skip


@pytest.fixture
def made(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(orjson.dumps(document(create_app(settings))))
    return found


def operations(made: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, each) for path, item in made["paths"].items() for method, each in item.items()]


def test_the_document_is_the_one_that_was_agreed(made: dict[str, Any]) -> None:
    """After a change that is meant: python -m argosy.cli api schema > tests/integration/api/schema.json."""
    assert made == orjson.loads(GOLDEN.read_bytes())


def test_under_a_path_there_is_nothing_but_methods(made: dict[str, Any]) -> None:
    for path, method, operation in operations(made):
        assert method in {"get", "post", "patch", "delete"}, path
        assert isinstance(operation, dict)


def test_operations_have_the_names_of_the_reference(made: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(made)]
    assert set(names) >= _OPERATIONS
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(?:[A-Z][a-z0-9]*)+", name) for name in names)


def test_bodies_are_plain_references_and_every_2xx_is_documented(made: dict[str, Any]) -> None:
    for path, _, operation in operations(made):
        if body := operation.get("requestBody"):
            (content,) = body["content"].items()
            assert content[0] == "application/json"
            assert list(content[1]["schema"]) == ["$ref"], path
        good = [code for code in operation["responses"] if code.startswith("2")]
        assert len(good) == 1, path
        assert {"400", "401", "403", "404", "409", "429"} <= operation["responses"].keys()
        names = [each["name"] for each in operation.get("parameters", [])]
        assert all(name.isidentifier() for name in names)
        assert len(set(names)) == len(names)


def test_every_schema_is_an_object_and_every_reference_resolves(made: dict[str, Any]) -> None:
    schemas = made["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', orjson.dumps(made).decode()):
        assert name in schemas
    for schema in schemas.values():
        assert all(isinstance(each, dict) for each in schema.get("properties", {}).values())


def test_it_is_small_and_the_same_for_a_slow_yaml_reader(world: World, made: dict[str, Any]) -> None:
    with world.as_(None) as http:
        answer = http.get("/schema")
        again = http.get("/schema", headers={"If-None-Match": answer.headers["etag"]})
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.content) < 70_000
    assert yaml.safe_load(answer.text) == made
    assert (again.status_code, again.content) == (304, b"")


async def test_probes_need_no_credentials(world: World) -> None:
    with world.as_(None) as http:
        await until(lambda: http.get("/readyz").status_code, (200).__eq__)
        assert [http.get(path).status_code for path in ("/livez", "/readyz", "/nothing")] == [200, 200, 404]


@pytest.mark.timeout(600)  # the first run installs it
def test_what_the_document_allows_and_what_it_does_not_is_no_fault_of_the_servers(registered: World) -> None:
    """Schemathesis makes requests of it, good and bad ones."""
    commands = environment(ROOT / "tests/clients/schemathesis.txt")
    options = {"checks": "not_a_server_error", "max-examples": "15", "phases": "examples,fuzzing", "seed": "1"}
    ended = subprocess.run(
        [
            commands / "schemathesis", "run", f"{registered.platform.gateway}/schema", "--header", f"Authorization: Token {FULL}",
            *(f"--{name}={value}" for name, value in options.items()), "--suppress-health-check=all",
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-3000:]
