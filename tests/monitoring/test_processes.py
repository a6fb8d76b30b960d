"""Real processes, a real Prometheus, and the rules that we ship: what is shown is right, and whoever is stopped is missed."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.demo.simulator import SimulatedCluster
from argosy.metrics import FIGURES
from argosy.processes.exposition import PROCESS
from argosy.settings import Settings
from clusters.local.guard import Guard
from tests.conftest import ROOT
from tests.faults.processes import SHORT, Fleet, Process
from tests.monitoring.conftest import ALERTS
from tests.monitoring.prometheus import Prometheus
from tests.monitoring.test_dashboard import panels
from tests.support.cli import add
from tests.support.readme import exported
from tests.support.stack import finished, until

RARE = {"argosy_cluster_down", "argosy_cluster_token_expires_timestamp_seconds", "argosy_platform_request_seconds"}
"""Figures that are not there: no cluster is down, its token does not end, and the gateway asks no platform."""


def sooner(directory: Path) -> Path:
    """The rules that we ship, with every `for` shortened: a test does not wait for minutes."""
    file = directory / "alerts.yaml"
    file.write_text(re.sub(r"for: \d+m", "for: 2s", ALERTS.read_text()))
    return file


@dataclass
class Shown:
    """A small installation that is scraped."""

    client: Client
    trackers: list[Process]
    others: list[Process]
    gateway: str
    prometheus: Prometheus

    def text(self, process: Process) -> str:
        """What a process shows."""
        return httpx.get(f"http://127.0.0.1:{process.port}/metrics", timeout=10, trust_env=False).text

    def keeping(self) -> list[Process]:
        """Trackers that say that they keep house."""
        line = 'argosy_leases_held{lease="housekeeping"} 1.0'
        return [each for each in self.trackers if line in self.text(each)]

    def showing(self, figure: str) -> list[Process]:
        """Trackers that show a figure."""
        return [each for each in self.trackers if f"\n{figure}{{" in self.text(each)]


def lint(promtool: Path, text: str) -> str:
    """What promtool finds wrong with what a process shows."""
    done = subprocess.run(
        [str(promtool), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture
async def shown(client: Client, settings: Settings, valkey: str, tmp_path: Path, guard: Guard) -> AsyncIterator[Shown]:
    environment = exported(settings, ARGOSY_REDIS_URL=valkey, ARGOSY_AUTH="tokens", **SHORT)
    with SimulatedCluster(pod_seconds=0.05) as cluster, Fleet(environment, tmp_path) as fleet:
        add(client, cluster.connection)
        manifest = (ROOT / "manifests" / "hello.yaml").read_text()
        client.register_algorithm(name="hello", project=1, user=7, manifest=manifest, files_per_job=2)
        trackers = [fleet.tracker(), fleet.tracker()]
        (port,) = free_ports(1)
        others = [fleet.worker(), fleet.command("api", "--port", str(port))]
        ports = [each.port for each in (*trackers, *others)]
        made = Shown(
            client, trackers, others, f"http://127.0.0.1:{port}", Prometheus(tmp_path, guard, sooner(tmp_path), ports)
        )
        await asyncio.to_thread(made.prometheus.start)
        await until(made.prometheus.up, set(ports).__eq__, 60)
        yield made


async def test_what_processes_show_is_clean_complete_and_shown_once(shown: Shown, promtool: Path) -> None:
    await finished(shown.client, shown.client.launch("hello", project=1, user=7, media_ids=range(1, 11)).gid, 60)
    await until(lambda: shown.prometheus.ask("argosy_launch_to_create_seconds_count"), bool)
    refused = await asyncio.to_thread(httpx.get, f"{shown.gateway}/rest/Jobs/1", trust_env=False)
    assert refused.status_code == 401
    names = set()
    for process in (*shown.trackers, *shown.others):
        text = shown.text(process)
        assert await asyncio.to_thread(lint, promtool, text) == ""
        families = [family for family in text_string_to_metric_families(text) if family.samples]
        names |= {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {each.name for each in (*FIGURES, *PROCESS)} - names == RARE
    assert names <= {each.name for each in (*FIGURES, *PROCESS)}
    for figure in ("argosy_jobs", "argosy_cluster_capacity", "argosy_cluster_status_age_seconds", "argosy_cluster_up"):
        assert len(shown.showing(figure)) == 1, figure
    for panel in panels():
        for target in panel["targets"]:
            asked = target["expr"].replace("$__rate_interval", "15s").replace("$cluster", ".*")
            assert shown.prometheus.ask(asked) is not None
    assert shown.prometheus.firing() == set()


async def test_gauges_move_with_the_lease_and_go_with_the_cluster(shown: Shown) -> None:
    (first,) = await until(shown.keeping, lambda found: len(found) == 1)
    first.freeze()
    other = next(each for each in shown.trackers if each is not first)
    await until(lambda: shown.text(other), lambda text: "argosy_jobs{" in text and "argosy_cluster_up{" in text)
    assert 'argosy_lease_takeovers_total{lease="housekeeping"} 1.0' in shown.text(other)
    first.resume()
    await until(shown.keeping, lambda found: found == [other])
    assert shown.showing("argosy_jobs") == [other]
    await until(lambda: shown.showing("argosy_cluster_up"), lambda found: len(found) == 1)
    shown.client.remove_algorithm("hello")
    await asyncio.to_thread(shown.client.remove_cluster, "simulated")
    gauges = re.compile("|".join(f"\n{each.name}{{[^}}]*simulated" for each in FIGURES if each.kind == "gauge"))
    await until(lambda: [gauges.findall(shown.text(each)) for each in shown.trackers], lambda found: found == [[], []])


async def test_stopped_trackers_are_missed_and_the_alert_ends_when_they_are_back(shown: Shown) -> None:
    await until(shown.keeping, lambda found: len(found) == 1)
    await until(lambda: shown.prometheus.ask('argosy_leases_held{lease="housekeeping"} == 1'), bool)
    for tracker in shown.trackers:
        tracker.freeze()
    await until(shown.prometheus.firing, {"ArgosyTrackerStopped"}.__le__, 60)
    for tracker in shown.trackers:
        tracker.resume()
    await until(shown.prometheus.firing, lambda firing: "ArgosyTrackerStopped" not in firing, 60)
