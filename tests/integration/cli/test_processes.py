"""`argosy worker`, `argosy tracker`, `argosy keys`."""

import re
import socket
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text as sql

from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.settings import Settings
from tests.support.certificates import PEM
from tests.support.cli import Run, command_output, error, started
from tests.support.readme import exported
from tests.support.stack import until


def test_keys_are_shell_lines_that_make_a_working_installation(argosy: Run) -> None:
    lines = argosy("keys").stdout.splitlines()
    found = dict(re.fullmatch(r"export (\w+)='(.+)'", line).groups() for line in lines)  # type: ignore[union-attr,misc]
    assert argosy("cluster", "add", "here", "--in-cluster", env=found).exit_code == 0
    added = argosy(
        *["cluster", "add", "a", "--host", "h", "--ca-file", "-", "--namespace", "n"],
        input=PEM,
        env=found | {"ARGOSY_CLUSTER_TOKEN": "t"},
    )
    assert added.exit_code == 0


async def test_worker_and_tracker_do_the_job_and_leave_nothing_behind(
    ready: Client, settings: Settings, valkey: str, tmp_path: Path
) -> None:
    ports = {name: str(free_ports(1)[0]) for name in ("worker", "tracker")}
    environment = exported(settings, ARGOSY_REDIS_URL=settings.redis_url.get_secret_value()) | {
        "ARGOSY_REDIS_URL": valkey,
        "ARGOSY_METRICS_DIRECTORY": str(tmp_path / "metrics"),
    }

    lines: list[dict[str, Any]] = []

    def scrape(name: str) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{ports[name]}/metrics", timeout=5).text
        except httpx.ConnectError:  # it works before it answers
            return ""

    with (
        started(
            "worker",
            "--processes",
            "1",
            "--threads",
            "2",
            environment=environment | {"ARGOSY_METRICS_PORT": ports["worker"]},
        ) as worker,
        started("tracker", environment=environment | {"ARGOSY_METRICS_PORT": ports["tracker"]}) as tracker,
    ):
        code, out, err = await command_output("launch hello --project 1 --user 7 --media 1-10 --watch", environment)
        assert (code, err) == (0, ""), out
        for metric in (
            'argosy_launches_total{outcome="expanded"} 1.0',
            "argosy_submits_total",
            "argosy_redis_seconds_count",
            'argosy_build_info{process="worker"',
        ):
            assert await until(lambda: scrape("worker"), lambda text, metric=metric: metric in text)  # type: ignore[misc]
        assert 'argosy_cluster_up{cluster="simulated"} 1.0' in scrape("tracker")
        assert len([*(tmp_path / "metrics").iterdir()]) == 2
        for process in (worker, tracker):
            process.terminate()
        for process in (worker, tracker):
            _, said = process.communicate(timeout=20)
            assert process.returncode == 0, said.decode()
            lines += [orjson.loads(line) for line in said.splitlines()]  # and nothing that is not JSON
    assert all({"pid", "host", "version"} <= line.keys() for line in lines)
    begun = {line["event"].partition(":")[0]: line for line in lines if " begins: " in line["event"]}
    for name, port in ports.items():
        assert begun[f"{name} begins"]["metrics"] == f"http://127.0.0.1:{port}/metrics"
    about = [line for line in lines if "workflow" in line]
    assert {type(line["cluster"]) for line in lines if "cluster" in line} == {str}
    assert all({"uid", "gid", "attempt", "cluster"} <= line.keys() for line in about)
    submitted = [line for line in lines if line["event"] == "submitted"]
    assert {line["uid"] for line in submitted} == {str(job.uid) for job in ready.list(project=1)}
    assert {line["outcome"] for line in submitted} == {"created"}
    assert [*(tmp_path / "metrics").iterdir()] == []
    with ready.engine.connect() as connection:
        assert (
            connection.execute(sql("SELECT count(*) FROM argosy.lease WHERE until > clock_timestamp()")).scalar_one()
            == 0
        )


@pytest.mark.parametrize("name", ["worker", "tracker", "api"])
def test_a_taken_metrics_port_is_said_before_anything_runs(argosy: Run, name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taking = {"ARGOSY_METRICS_PORT": str(taken.getsockname()[1]), "ARGOSY_METRICS_DIRECTORY": str(tmp_path)}
        assert "Address already in use; set ARGOSY_METRICS_HOST or ARGOSY_METRICS_PORT" in error(
            argosy(name, env=taking), 1
        )
    assert [*tmp_path.iterdir()] == []
