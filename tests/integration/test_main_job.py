"""The main job on the simulator: a launch goes in, workflows run, every node is read back from the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.queues import sql
from tests.support.stack import finished, running, until


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedConnection]:
    with SimulatedCluster() as cluster:
        yield cluster.connection


@pytest.fixture
def registered(client: Client, simulated: SimulatedConnection) -> Client:
    client.add_cluster(
        name="here",
        host=simulated.host,
        port=simulated.port,
        cert=simulated.ca,
        token=simulated.token,
        namespace=simulated.namespace,
        default=True,
    )
    for file in Path(ROOT / "manifests").glob("*.yaml"):
        client.register_algorithm(
            name=file.stem, project=1, user=7, manifest=file.read_text(), files_per_job=3, parameters=[]
        )
    return client


@pytest.mark.parametrize(
    ("algorithm", "status"),
    [
        ("hello", "Succeeded"),
        ("count-media", "Succeeded"),
        ("pipeline", "Succeeded"),
        ("fan-out", "Succeeded"),
        ("flaky", "Succeeded"),
        ("fails", "Failed"),
    ],
)
async def test_every_example_ends_as_it_should(
    registered: Client, settings: Settings, algorithm: str, status: str
) -> None:
    async with running(settings):
        launched = registered.launch(algorithm, project=1, user=7, media_ids=range(1, 11), token="secret-of-user")
        jobs = await finished(registered, launched.gid)
    assert [job.uid for job in jobs] == launched.uids
    assert [job.media_ids for job in jobs] == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
    assert {job.status for job in jobs} == {status}
    for job in jobs:
        assert job.nodes
        assert all(node.start_time and node.stop_time for node in job.nodes)


@pytest.mark.parametrize("in_clear", [False, True])
async def test_a_launch_whose_token_no_key_opens_hurts_nobody_else(
    registered: Client, settings: Settings, engine: Engine, in_clear: bool
) -> None:
    registered.update_cluster("here", token_in_clear=in_clear)
    registered.pause(cluster="here")
    async with running(settings):
        broken, sound = (registered.launch("pipeline", project=1, user=7, media_ids=[1], token="t").gid for _ in "ab")
        await until(lambda: [each.state for each in registered.launches()], lambda states: states == ["expanded"] * 2)
        sql(engine, "UPDATE argosy.launch SET token_sealed = 'nonsense' WHERE gid = :gid", gid=broken)
        registered.resume(cluster="here")
        assert [job.status for job in await finished(registered, sound)] == ["Succeeded"]
        (rejected,) = await finished(registered, broken)
    assert rejected.status == "Rejected"
    assert "does not open this launch's token" in rejected.message
