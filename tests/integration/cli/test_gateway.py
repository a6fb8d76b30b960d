"""`argosy api`, `argosy token`."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import orjson

from argosy.client import Client
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.cli import Run, error

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


def test_it_serves_and_stops_when_it_is_told_to(settings: Settings, client: Client, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "PATH": "/usr/bin:/bin",
        "ARGOSY_DATABASE_URL": settings.database_url.get_secret_value(),
        "ARGOSY_AUTH": "tokens",
    }
    command = [sys.executable, "-m", "argosy.cli", "api", "--port", str(port)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                ends = time.monotonic() + 60
                while True:
                    try:
                        answer = http.get("/readyz")
                        break
                    except httpx.TransportError:
                        assert process.poll() is None, process.communicate()
                        assert time.monotonic() < ends
                        time.sleep(0.1)
                assert answer.status_code == 200
                assert http.get("/rest/Jobs/1").status_code == 401
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
