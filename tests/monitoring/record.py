"""What the dashboard shows of real processes that work for some minutes: `python -m tests.monitoring.record 6 > record.json`.

picture.py draws it. Two simulated clusters get launches all the time, the gateway gets requests, and a tracker is frozen for a while.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from argosy import crypto
from argosy.client import Client
from argosy.demo import embedded
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.settings import Settings
from argosy.store import api_tokens, migrate
from clusters.local.guard import Guard
from tests.conftest import ROOT
from tests.faults.processes import Fleet
from tests.monitoring.conftest import ALERTS
from tests.monitoring.prometheus import Prometheus
from tests.support.readme import exported
from tests.support.stack import until

STEP = 3.0
"""Seconds between two points."""


def register(client: Client, name: str, there: SimulatedConnection) -> None:
    """Register a simulated cluster, and an algorithm of its name that runs there."""
    cluster = client.add_cluster(
        name=name, host=there.host, port=there.port, cert=there.ca, token=there.token, namespace=there.namespace
    )
    manifest = (ROOT / "manifests" / "fan-out.yaml").read_text()
    client.register_algorithm(
        name=name, project=1, user=7, manifest=manifest, files_per_job=2, cluster=cluster.id, parameters=[]
    )


def call(gateway: str, token: str) -> None:
    """A few requests, one of them by nobody."""
    for known in (token, token, "nobody"):
        httpx.get(f"{gateway}/rest/Jobs/1", headers={"Authorization": f"Token {known}"}, timeout=30, trust_env=False)


def asked(prometheus: Prometheus, seconds: float) -> list[dict[str, Any]]:
    """Each row and panel of the dashboard, with what Prometheus answers to its questions."""
    shown = []
    for panel in json.loads((ROOT / "helm/argosy/files/dashboard.json").read_text())["panels"]:
        series = []
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "20s")
            expression = re.sub(r"\$(cluster|namespace|release)\b", ".*", expression)
            for labels, points in prometheus.range(expression, seconds, STEP):
                series.append({"legend": _legend(target["legendFormat"], labels), "points": points})
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
        shown.append({"title": panel["title"], "type": panel["type"], "unit": unit, "series": series})
    return shown


def _legend(template: str, labels: dict[str, str]) -> str:
    """What a series is called."""
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), template)


async def record(minutes: float) -> list[dict[str, Any]]:
    """Have it work, and ask."""
    keys = crypto.new_keys()
    with (
        embedded.postgres() as database,
        embedded.valkey() as redis,
        SimulatedCluster(pod_seconds=1.5) as north,
        SimulatedCluster(pod_seconds=1.5) as south,
        tempfile.TemporaryDirectory() as made,
        Guard(Path(made) / "guard") as guard,
    ):
        directory = Path(made)
        settings = Settings(
            database_url=database,
            keys=keys["ARGOSY_KEYS"],
            token_private_key=keys["ARGOSY_TOKEN_PRIVATE_KEY"],
            token_public_key=keys["ARGOSY_TOKEN_PUBLIC_KEY"],
            release_after=0,
            trusted_hosts=["127.0.0.1"],
        )
        migrate.upgrade(settings)
        client = Client(settings)
        with client.engine.begin() as connection:
            _, token = api_tokens.create(
                connection,
                name="record",
                user=7,
                role="execute",
                projects=[1],
                organizations=[],
                days=None,
                sealed=None,
            )
        for name, cluster in (("north", north), ("south", south)):
            register(client, name, cluster.connection)
        environment = exported(settings, ARGOSY_REDIS_URL=redis, ARGOSY_AUTH="tokens")
        with Fleet(environment, directory, quiet=True) as fleet:
            trackers = [fleet.tracker(), fleet.tracker()]
            (port,) = embedded.free_ports(1)
            others = [fleet.worker(), fleet.command("api", "--port", str(port))]
            targets = [each.port for each in (*trackers, *others)]
            prometheus = Prometheus(directory, guard, ALERTS, targets)
            await asyncio.to_thread(prometheus.start)
            await until(prometheus.up, set(targets).__eq__, 120)
            begun, seconds = time.monotonic(), 60 * minutes
            while (passed := time.monotonic() - begun) < seconds:
                for name, count in (("north", 16), ("south", 8)):
                    client.launch(name, project=1, user=7, media_ids=range(1, count + 1))
                await asyncio.to_thread(call, f"http://127.0.0.1:{port}", token)
                if seconds * 0.35 < passed < seconds * 0.5:
                    trackers[0].freeze()
                else:
                    trackers[0].resume()
                await asyncio.sleep(4)
            return await asyncio.to_thread(asked, prometheus, seconds)


if __name__ == "__main__":
    json.dump(asyncio.run(record(float(sys.argv[1]))), sys.stdout)
