"""What only the simulator owes: it refuses what it does not know, and leaves nothing behind."""

import asyncio
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import pytest

from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Access, Connection
from argosy.kube.workflows import Object, Workflows
from argosy.network.guard import inside
from tests.cluster.clusters import Cluster
from tests.cluster.manifests import ENTRY, LABEL, container, ended, workflow
from tests.support.hosts import HERE

STEPS = {"name": ENTRY, "steps": [[{"name": "a", "template": "pod"}]]}


@pytest.mark.parametrize(
    ("templates", "spec", "where"),
    [
        ([{"name": ENTRY, "suspend": {}}], {}, "templates.main.suspend"),
        ([{"name": ENTRY, "http": {"url": "https://example.com"}}], {}, "templates.main.http"),
        ([{"name": ENTRY, "resource": {"action": "get"}}], {}, "templates.main.resource"),
        ([container(podSpecPatch="{}")], {}, "templates.main.podSpecPatch"),
        ([container(afieldofthefuture=1)], {}, "templates.main.afieldofthefuture"),
        ([container(outputs={"artifacts": [{"name": "x", "path": "/x"}]})], {}, "templates.main.outputs.artifacts"),
        ([container(retryStrategy={"expression": "true"})], {}, "templates.main.retryStrategy.expression"),
        ([container(metadata={"annotations": {"a": "{{=1 + 1}}"}})], {}, "expression {{=1 + 1}}"),
        ([container(metadata={"annotations": {"a": "{{no.such.name}}"}})], {}, "{{no.such.name}}"),
        ([container()], {"synchronization": {"mutex": {"name": "m"}}}, "spec.synchronization"),
        ([container()], {"hooks": {"exit": {"template": ENTRY}}}, "spec.hooks"),
        ([container(seconds=600)], {"activeDeadlineSeconds": 1}, "activeDeadlineSeconds"),
        ([STEPS | {"steps": [[{"name": "a", "template": "pod", "inline": {}, "hooks": {"x": 1}}]]}, container("pod")], {},
         "templates.main.steps.a.hooks"),
        ([STEPS | {"steps": [[{"name": "a", "template": "pod", "when": "1 == 1 && 2 == 2"}]]}, container("pod")], {},
         "when '1 == 1 && 2 == 2'"),
    ],
)  # fmt: skip
async def test_what_is_not_known_ends_the_workflow_in_error_and_is_named(
    simulated_cluster: Cluster, mine: str, templates: list[Object], spec: Object, where: str
) -> None:
    async with Connection(simulated_cluster.access(mine)) as connection:
        workflows = Workflows(connection)
        await workflows.create(workflow(mine, *templates, **spec))

        found = await ended(workflows, mine)

    assert found["status"]["phase"] == "Error"
    assert found["status"]["message"].startswith("not simulated: ")
    assert where in found["status"]["message"]
    assert all(node["phase"] in ("Error", "Failed") for node in found["status"]["nodes"].values())


async def test_its_certificate_passes_the_strict_checks_of_newer_pythons(simulated_cluster: Cluster) -> None:
    access = simulated_cluster.at
    context = ssl.create_default_context(cadata=access.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    headers = {"Authorization": f"Bearer {access.token}"}

    async with aiohttp.ClientSession() as session:
        url = f"https://localhost:{access.port}/version"
        async with session.get(url, ssl=context, headers=headers) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_while_a_watch_is_open_and_the_watch_ends_too(
    number: signal.Signals, mine: str
) -> None:
    command = [sys.executable, "-m", "argosy.demo.simulator"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220 - the loop has nothing else to do
        try:
            assert process.stdout is not None
            said = orjson.loads(process.stdout.readline())
            access = Access(
                mine, said["namespace"], said["host"], said["port"], said["ca"], said["token"], guard=inside(HERE)
            )
            async with Connection(access) as connection, Workflows(connection).watch(LABEL, "1") as events:
                process.send_signal(number)
                async with asyncio.timeout(10):
                    assert [event async for event in events] == []
                    code = await asyncio.to_thread(process.wait, 10)
            assert code == 0
            assert process.stdout.read() == b""
        finally:
            process.kill()


def test_it_ends_with_the_process_that_started_it_however_that_ends(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from argosy.demo.simulator import SimulatedCluster\n"
        "cluster = SimulatedCluster()\n"
        "cluster.start()\n"
        "print(cluster.process_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    simulator = Path("/proc") / killed.stdout.decode().strip()

    deadline = time.monotonic() + 10
    while simulator.exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not simulator.exists()


def test_its_key_is_in_no_file_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with SimulatedCluster():
        assert list(tmp_path.rglob("*")) == []
