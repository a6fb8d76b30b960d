"""The platform's published clients, three versions, each unchanged and in an environment of its own, against gateway, worker, tracker and
cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.integration.api.conftest import World
from tests.support.environments import environment
from tests.support.manifests import LONG
from tests.support.platform import FULL
from tests.support.stack import running

pytestmark = pytest.mark.timeout(600)  # the first run installs the client

CLIENTS = ROOT / "tests/clients"
VERSIONS = sorted(path.stem.removeprefix("tator-") for path in CLIENTS.glob("tator-*.txt"))


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
    commands = await asyncio.to_thread(environment, CLIENTS / f"tator-{version}.txt")
    command = [
        str(commands / "python"),
        str(CLIENTS / "drive.py"),
        working.platform.url,
        FULL,
        str(ROOT / "manifests/hello.yaml"),
    ]
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
