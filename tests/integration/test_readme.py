"""The README is true: its commands run, its tables are the code's."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid1, uuid4

import orjson
import pytest
import redis

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.commands import ARGOSY
from tests.support.readme import exported
from tests.support.stack import finished, until

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@contextmanager
def process(environment: dict[str, str], *command: str) -> Iterator[None]:
    import os

    started = subprocess.Popen([*ARGOSY, *command], env=os.environ | environment)
    try:
        yield
    finally:
        started.terminate()
        assert started.wait(30) == 0


def test_the_settings_table_is_the_settings() -> None:
    table = dict(re.findall(r"^\| `(ARGOSY_\w+)` \| (?:.*?) \| (.*) \|$", README, re.MULTILINE))
    assert table == {f"ARGOSY_{name.upper()}": field.description for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)`?", README))))
def test_a_make_target_that_the_readme_names_exists(target: str) -> None:
    if target in {"is"}:  # “Python and make is all …”
        return
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "command", sorted({c for b in blocks("sh") for c in re.findall(r"^argosy (\w+(?: \w+)?)", b, re.M)})
)
def test_a_command_that_the_readme_names_exists(command: str) -> None:
    words = command.split()
    words = words if words[0] in {"cluster", "algorithm", "project", "db"} else words[:1]
    subprocess.run([*ARGOSY, *words, "--help"], check=True, capture_output=True)


async def test_both_ways_to_enqueue_run_to_the_end_with_real_processes(
    client: Client, settings: Settings, valkey: str
) -> None:
    with SimulatedCluster() as cluster:
        at = cluster.connection
        client.add_cluster(name="c", host=at.host, port=at.port, cert=at.ca, token=at.token, default=True)
        hello = (ROOT / "manifests" / "hello.yaml").read_text()
        client.register_algorithm(name="hello", project=1, user=7, manifest=hello, files_per_job=3)
        environment = exported(settings, ARGOSY_REDIS_URL=valkey, ARGOSY_METRICS_PORT="0")
        server = redis.Redis.from_url(valkey)
        server.flushall()
        with process(
            environment | {"ARGOSY_METRICS_PORT": str(_port())}, "worker", "--processes", "1", "--threads", "2"
        ):
            with process(environment, "tracker"):
                message_id, gid = str(uuid4()), str(uuid1())
                document = orjson.loads(blocks("json")[0].replace('"ID"', f'"{message_id}"'))
                document["kwargs"] |= {"gid": gid, "token_sealed": None}
                for command in re.search(r"```\n(HSET.*?)```", README, re.DOTALL)[1].splitlines():  # type: ignore[index]
                    words = command.replace("ID", message_id).split(" ", 3)
                    words = [orjson.dumps(document).decode() if word == "MESSAGE" else word for word in words]
                    server.execute_command(*words)  # type: ignore[no-untyped-call]
                script = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", blocks("python")[0]],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                own, uids = script.stdout.split(" ", 1)
                found = await until(
                    lambda: [str(launch.gid) for launch in client.launches()], lambda g: len(g) == 2, 30
                )
                assert set(found) == {gid, own}
                for launch in client.launches():
                    jobs = await finished(client, launch.gid, 60)
                    assert [(job.status, job.media_ids) for job in jobs] == [("Succeeded", [1, 5, 10])]
                assert all(str(job.uid) in uids for job in client.list() if str(job.gid) == own)


def _port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
