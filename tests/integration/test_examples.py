"""The example API servers, run as their docstrings say, in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from argosy.client import Client
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.launching import registered

__all__ = ["registered"]

EXAMPLES = ROOT / "worker/docs/examples"


@pytest.fixture(params=["fastapi_server:app", "django_server:application"])
def server(request: pytest.FixtureRequest, settings: Settings, registered: Client) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    closing = {"Connection": "close"}  # a server closes it after a fault
    env = os.environ | {"ARGOSY_DATABASE_URL": settings.database_url.get_secret_value()}
    uvicorn = Path(sys.executable).parent / "uvicorn"
    command = [uvicorn, request.param, "--port", str(port), "--log-level", "warning"]
    with (
        subprocess.Popen(command, cwd=EXAMPLES, env=env) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=closing, timeout=30, trust_env=False) as http,
    ):
        try:
            _until_it_listens(process, port)
            yield http
        finally:
            process.terminate()


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_an_order_and_its_launch_are_both_there_or_neither(server: httpx.Client, registered: Client) -> None:
    answer = server.post("/orders", json={"media_ids": [1, 2, 3, 4], "note": "mine"})
    assert answer.status_code == 201, answer.text
    (launch,) = registered.launches()
    assert (str(launch.gid), len(answer.json()["uids"])) == (answer.json()["gid"], 2)
    assert server.post("/orders", json={"media_ids": [5], "note": ""}).status_code == 500, "the row is refused"
    assert server.post("/orders", json={"media_ids": [-1], "note": "bad"}).status_code == 400
    assert [each.gid for each in registered.launches()] == [launch.gid]
