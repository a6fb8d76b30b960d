"""What /metrics shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

from argosy import metrics
from argosy.cli.schemas import metrics_page
from tests.conftest import ROOT

SOURCES = sorted((ROOT / "worker" / "argosy").rglob("*.py"))


def shown(directory: Path, script: str) -> str:
    """What a process shows that runs a script on argosy's metrics."""
    head = "import os, signal, time\nfrom argosy import metrics\nfrom argosy.processes import exposition\n"
    tail = "\nfrom prometheus_client import generate_latest\nprint(generate_latest(exposition.registry()).decode())"
    return subprocess.run(
        [sys.executable, "-c", head + script + tail],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_gauges_of_a_cluster_that_is_followed_elsewhere_go_and_others_stay(tmp_path: Path) -> None:
    script = """
for name in ("gone", "here"):
    for gauge in (metrics.CLUSTER_UP, metrics.WATCH_LAST, metrics.MARK_AGE):
        gauge.labels(name).set(1)
    for gauge in (metrics.DEBTS, metrics.DEBT_AGE):
        gauge.labels(name, "release").set(1)
metrics.forget("gone")
"""
    told = shown(tmp_path, script)
    assert len(re.findall(r'\{cluster="here"', told)) == 5
    assert '"gone"' not in told


def test_a_gauge_shows_what_it_was_given_last_and_nothing_else(tmp_path: Path) -> None:
    script = """
metrics.show(metrics.CLUSTER_DOWN, {("a", "unreachable"): 1, ("b", "forbidden"): 1})
metrics.show(metrics.CLUSTER_DOWN, {("a", "certificate"): 1})
metrics.show(metrics.CLUSTER_DOWN, {("a", "certificate"): 1})
"""
    told = re.findall(r"^argosy_cluster_down.*$", shown(tmp_path, script), re.MULTILINE)
    assert told == ['argosy_cluster_down{cluster="a",reason="certificate"} 1.0']


def test_a_killed_process_leaves_its_counts_and_takes_its_gauges_along(tmp_path: Path) -> None:
    script = """
if (pid := os.fork()) == 0:
    metrics.CLUSTER_UP.labels("a").set(1)
    metrics.STRANGERS.labels("a").inc()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
"""
    told = shown(tmp_path, script)
    assert 'argosy_stranger_workflows_total{cluster="a"} 1.0' in told
    assert "argosy_cluster_up{" not in told


def test_the_processor_time_of_a_pool_does_not_go_back_when_one_of_its_processes_ends(tmp_path: Path) -> None:
    script = """
if (pid := os.fork()) == 0:
    metrics.CLAIMS.labels("a")
    while time.process_time() < 0.5:
        pass
    os._exit(0)
os.waitpid(pid, 0)
"""
    told = shown(tmp_path, script)
    (seconds,) = re.findall(r"^process_cpu_seconds_total (\S+)", told, re.MULTILINE)
    assert float(seconds) >= 0.5
    assert "argosy_processes 1.0" in told


def test_counters_are_there_at_0_before_anything_is_counted(tmp_path: Path) -> None:
    told = shown(tmp_path, 'metrics.follow("a")\nmetrics.submit("a", ["created", "ended"])\nmetrics.begin("worker")')
    for line in (
        'argosy_dead_letters_total{queue="launch"} 0.0',
        'argosy_loop_errors_total{loop="track"} 0.0',
        'argosy_stranger_workflows_total{cluster="a"} 0.0',
        'argosy_unreadable_workflows_total{cluster="a"} 0.0',
        'argosy_submits_total{cluster="a",outcome="created"} 0.0',
        'argosy_lease_takeovers_total{lease="cluster"} 0.0',
        'argosy_notifications_total{kind="webhook",outcome="given_up"} 0.0',
        "argosy_database_errors_total 0.0",
    ):
        assert line in told
    assert re.search(r'argosy_build_info\{process="worker",python="3\..*",version="\d.*"\} 1\.0', told)


def test_every_loop_is_known_in_advance() -> None:
    text = "".join(path.read_text() for path in SOURCES)
    named = re.findall(r'(?:surviving\(|LOOP_ERRORS\.labels\(|\bLane\()\s*"(\w+)"', text)
    assert {*named, "housekeeping"} == set(metrics.LOOPS)  # that one is a constant of the tracker


def test_the_page_of_metrics_is_made_of_them() -> None:
    assert (ROOT / "worker/docs/metrics.md").read_text() == metrics_page()


def test_metrics_are_made_in_one_place() -> None:
    made = [
        path.name for path in SOURCES if re.search(r"\b(?:Counter|Gauge|Histogram|Summary)\(\s*f?\"", path.read_text())
    ]
    assert made == []  # not in metrics.py either: its three functions make them
