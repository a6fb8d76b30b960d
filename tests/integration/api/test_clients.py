"""The platform's published clients, three versions, each unchanged and in an environment of its own, against gateway, worker, tracker and
cluster."""

import asyncio
import fcntl
import os
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.integration.api.conftest import World
from tests.support.manifests import LONG
from tests.support.platform import FULL
from tests.support.stack import running

pytestmark = pytest.mark.timeout(600)  # the first run installs the client

CLIENTS = ROOT / "tests/clients"
VERSIONS = sorted(path.stem.removeprefix("tator-") for path in CLIENTS.glob("tator-*.txt"))


def python_with(version: str) -> Path:
    """The interpreter of an environment with that client, made once for each lock."""
    lock = CLIENTS / f"tator-{version}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "argosy"
    place = cache / f"tator-{version}-{sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"tator-{version}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            venv.create(place, with_pip=True, clear=True)
            options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(lock)]
            subprocess.run([place / "bin/python", "-m", "pip", "install", *options], check=True, timeout=500)
            (place / "ready").touch()
    return place / "bin/python"


@pytest.fixture
def gateway_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"media_page": 4})


@pytest.fixture
def simulated(client: Client) -> Iterator[None]:
    with SimulatedCluster() as started:
        cluster = started.connection
        client.add_cluster(
            name="c", host=cluster.host, port=cluster.port, cert=cluster.ca, token=cluster.token,
            namespace=cluster.namespace, default=True, organization=3,
        )  # fmt: skip
        client.register_algorithm(name="long", project=1, user=7, manifest=LONG, files_per_job=1)
        yield


@pytest.fixture
async def working(world: World, simulated: None) -> AsyncIterator[World]:
    async with running(world.settings):
        yield world


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_published_client_works_unchanged(working: World, version: str) -> None:
    assert len(VERSIONS) == 3
    python = await asyncio.to_thread(python_with, version)
    command = [str(python), str(CLIENTS / "drive.py"), working.platform.url, FULL, str(ROOT / "manifests/hello.yaml")]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0, err.decode()[-3000:]
    seen = orjson.loads(out.splitlines()[-1])
    assert seen["version"] == version
    assert seen["by_ids"] == ["Succeeded"] * 2
    assert seen["by_query"] == seen["all_media"] == ["Succeeded"] * 5
    assert seen["refused"].startswith("ApiException")
    jobs = working.client.list(gid=seen["cancelled"], hidden=True)
    assert {job.status for job in jobs} <= {"Cancelled", "Cancelling"}
    assert len(working.platform.emails) == 1
