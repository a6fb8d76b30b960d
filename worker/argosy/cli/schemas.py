"""`argosy schema`: the contracts with other programs, as JSON Schema, and what Prometheus is told."""

from __future__ import annotations

import sys
from typing import Any

from argosy.cli.commands import App

app = App(help="Print the contracts with other programs.")


@app.callback()
def schema() -> None:
    """Print the contracts with other programs."""


@app.command()
def launch() -> None:
    """The launch message on queue `launch`: its keyword arguments."""
    import orjson

    sys.stdout.write(orjson.dumps(launch_schema(), option=orjson.OPT_INDENT_2).decode() + "\n")


@app.command()
def metrics() -> None:
    """All metrics, as the page worker/docs/metrics.md."""
    sys.stdout.write(metrics_page())


_METRICS = """# Metrics

This page is made by `argosy schema metrics`.

Each worker pool, tracker and gateway serves `/metrics` on its port (`ARGOSY_METRICS_PORT`), beside its [probes](probes.md). A pool is one
target: what is shown is the sum of its processes. Figures about the database come from the tracker that has the housekeeping lease, figures
about a cluster's watch from the tracker that follows it; they go when another one does so, or the cluster is removed. Counters are there at
0 from the start.

What to do about them: [runbooks](runbooks/README.md). Rules and dashboard: [helm/argosy/files](../../helm/argosy/files).

| metric | kind | meaning |
|---|---|---|
"""


def metrics_page() -> str:
    """Every metric in a table."""
    from argosy.metrics import FIGURES
    from argosy.processes.exposition import PROCESS

    rows = []
    for figure in [*FIGURES, *PROCESS]:
        labels = f"{{{','.join(figure.labels)}}}" if figure.labels else ""
        rows.append(f"| `{figure.name}{labels}` | {figure.kind} | {figure.meaning} |\n")
    return _METRICS + "".join(rows)


def launch_schema() -> dict[str, Any]:
    """The schema of a launch message."""
    from argosy.shapes.given import LaunchRequest

    found = LaunchRequest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "argosy:launch:1", **found}
