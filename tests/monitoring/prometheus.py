"""A real Prometheus that scrapes real processes."""

import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from argosy.demo.embedded import free_ports
from clusters.local.build import ensure_prometheus
from clusters.local.component import Component
from clusters.local.guard import Guard

EVERY = "3s"
"""Between two scrapes, and between two evaluations of the rules. A busy machine needs as long for a scrape."""


class Prometheus:
    """Prometheus with argosy's rules.

    Args:
        directory: Where its data goes.
        guard: Ends it with its starter.
        rules: A file of rules.
        targets: Ports of processes to scrape.
    """

    def __init__(self, directory: Path, guard: Guard, rules: Path, targets: list[int]) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        configuration = directory / "prometheus.yaml"
        configuration.write_text(yaml.safe_dump(_configuration(rules, targets)))
        command = [
            str(ensure_prometheus(print)[0]),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        self._component = Component("prometheus", command, guard, directory / "prometheus.log", ready=self._ready)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._component.start()

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an expression is now: labels and value of each series."""
        found = self._data("/api/v1/query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def range(
        self, expression: str, seconds: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """What an expression was: labels, and times with values, of each series."""
        now = time.time()
        found = self._data("/api/v1/query_range", query=expression, start=now - seconds, end=now, step=step)["result"]
        return [(each["metric"], [(at, float(value)) for at, value in each["values"]]) for each in found]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        found = self._data("/api/v1/alerts")["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}

    def up(self) -> set[int]:
        """Ports of the processes that it reaches."""
        found = self._data("/api/v1/targets", state="active")["activeTargets"]
        return {int(each["labels"]["instance"].rpartition(":")[2]) for each in found if each["health"] == "up"}

    def _ready(self) -> bool:
        try:
            return self._get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def _data(self, path: str, **asked: Any) -> Any:
        answer = self._get(path, **asked)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def _get(self, path: str, **asked: Any) -> httpx.Response:
        return httpx.get(self.url + path, params=asked, timeout=10, trust_env=False)


def _configuration(rules: Path, targets: list[int]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "argosy", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}]}
        ],
    }
