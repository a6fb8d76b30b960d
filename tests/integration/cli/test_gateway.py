"""`argosy api`, `argosy token`."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import orjson
import pytest

from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.cli import Run, error, started
from tests.support.readme import exported

Gateway = tuple[subprocess.Popen[bytes], httpx.Client, str]
"""A process, a client of it, and where its metrics are."""

SCHEMA = ROOT / "tests/integration/api/schema.json"


def test_the_document_is_printed_without_a_database(argosy: Run) -> None:
    result = argosy("api", "schema", env={"ARGOSY_DATABASE_URL": "nothing"})
    assert (result.exit_code, orjson.loads(result.stdout)) == (0, orjson.loads(SCHEMA.read_bytes()))


def test_a_token_is_shown_once_listed_and_revoked(argosy: Run, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("platform-token\n")
    made = argosy("token", "create", "nightly", "--user", "7", "--project", "1", "--platform-token-file", str(file))
    assert made.exit_code == 0, made.stderr
    assert re.fullmatch(r"argosy_\S{43}\n", made.stdout)
    listed = argosy("token", "list")
    assert "nightly" in listed.stdout
    assert made.stdout.strip() not in listed.stdout
    (told,) = orjson.loads(argosy("token", "list", "-o", "json").stdout)
    assert (told["user"], told["projects"], "sealed" in told) == (7, [1], False)
    assert argosy("token", "revoke", "1").exit_code == 0
    assert "revoked" in argosy("token", "list").stdout
    assert "does not exist" in error(argosy("token", "revoke", "9"), 1)


def test_a_token_for_nothing_is_not_made(argosy: Run, client: Client) -> None:
    assert "say what it is for" in error(argosy("token", "create", "a", "--user", "7"), 2)
    assert "NAME" in error(argosy("token", "create", "", "--user", "7", "--all-projects"), 2)
    for wrong in (("--user", "-1"), ("--user", "9" * 30), ("--user", "1", "--project", "-1")):
        assert argosy("token", "create", "a", *wrong, "--all-organizations").exit_code == 2
    assert "--role" in error(argosy("token", "create", "a", "--user", "7", "--all-projects", "--role", "root"), 2)


@contextmanager
def gateway(settings: Settings, directory: Path, **variables: str) -> Iterator[Gateway]:
    """`argosy api` as a process of its own that is ready."""
    port, metrics_port = free_ports(2)
    env = {
        **exported(settings),
        "ARGOSY_AUTH": "tokens",
        "ARGOSY_METRICS_PORT": str(metrics_port),
        "ARGOSY_METRICS_DIRECTORY": str(directory),
    }
    with (
        started("api", "--port", str(port), environment=env | variables) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        ends = time.monotonic() + 60
        while True:
            with suppress(httpx.TransportError):
                if http.get("/readyz").is_success:
                    break
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < ends
            time.sleep(0.1)
        yield process, http, f"http://127.0.0.1:{metrics_port}/metrics"


def test_it_serves_and_stops_when_it_is_told_to(settings: Settings, client: Client, tmp_path: Path) -> None:
    with gateway(settings, tmp_path) as (process, http, metrics):
        assert http.get("/rest/Jobs/1").status_code == 401
        shown = httpx.get(metrics, trust_env=False).text
        assert 'argosy_api_requests_total{method="GET",operation="none",status="4xx"} 1.0' in shown
        assert 'argosy_api_refused_total{reason="unknown"} 1.0' in shown
        assert len([*tmp_path.iterdir()]) == 1
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert (process.returncode, b"Traceback" in said) == (0, False), said.decode()
        begun = orjson.loads(said.splitlines()[0])
        assert begun["event"].startswith("api begins: it serves /rest")
        assert (begun["address"], begun["metrics"]) == (str(http.base_url), metrics)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("proxies", "whom"), [("10.0.0.0/8,127.0.0.1", "the caller"), ("10.0.0.0/8", "the proxy")])
def test_behind_a_trusted_proxy_a_stranger_holds_up_no_other(
    settings: Settings, client: Client, tmp_path: Path, proxies: str, whom: str
) -> None:
    once = {"ARGOSY_API_RATE": "0.1", "ARGOSY_TRUSTED_PROXIES": proxies}  # one request in two seconds
    with gateway(settings, tmp_path, **once) as (_, http, _):
        token = {"Authorization": "Token argosy_x"}
        found = [http.get("/rest/Jobs/1", headers={**token, "X-Forwarded-For": f"192.0.2.{at}"}) for at in range(20)]
    assert (429 in {each.status_code for each in found}) == (whom == "the proxy")


def test_a_proxy_without_an_address_is_refused(argosy: Run) -> None:
    for wrong in ("*", "proxy.example", "10.0.0.1/8"):
        said = error(argosy("api", env={"ARGOSY_TRUSTED_PROXIES": wrong}), 1)
        assert said.startswith("ARGOSY_TRUSTED_PROXIES: ")
