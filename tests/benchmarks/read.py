"""How fast a page of jobs is read out of 100,000, against asking the cluster for them.

Two ways in turn, on one machine:

- ours: `client.list` of 100 jobs with their nodes, and other reads; how many Kubernetes calls they made is read off the metric;
- cluster: what an API server does that keeps no record of jobs: the official synchronous client lists the project's workflows, 2,000 of
  them, and the same shapes are built from the answer.

A workflow has as many nodes here as a job has there. Its status is patched in, because Argo's controller is stopped meanwhile.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median, quantiles
from typing import Any

import orjson
from kubernetes import client as official
from sqlalchemy import text

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.metrics import KUBE_CALLS
from clusters.local.cluster import Connection, LocalCluster
from tests.benchmarks import parts
from tests.benchmarks.submit import FILES_PER_JOB, MANIFEST, Bench

NODES = 3
PROJECTS = 10
EACH = 1000
"""Jobs of a launch."""

PAGE = 100

_END = """
UPDATE argosy.attempt SET state = CASE WHEN random() < 0.9 THEN 'succeeded' ELSE 'failed' END, name = 'job-' || uid || '-1',
    k8s_uid = gen_random_uuid(), cluster_id = (SELECT id FROM argosy.cluster), started_at = now(), finished_at = now()
WHERE state = 'queued'
"""
_NODES = """
INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, children, started_at, finished_at)
SELECT uid, number, name || '-' || i, 'step-' || i, CASE i WHEN :nodes THEN 'Pod' ELSE 'Steps' END, 'Succeeded',
    CASE i WHEN :nodes THEN '{}' ELSE ARRAY[name || '-' || i + 1] END, now(), now()
FROM argosy.attempt, generate_series(1, :nodes) i
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the database (default 100000)")
    parser.add_argument("--workflows", type=int, default=2000, help="workflows on the cluster (default 2000)")
    parser.add_argument(
        "--repeats", type=int, default=10, help="interleaved rounds, 20 reads of ours each (default 10)"
    )


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with parts.cluster() as cluster, parts.database() as database_url:
        cluster.argo.stop()
        bench = Bench(cluster.connection, database_url, chosen.workflows)
        with closing(bench.client):
            bench.product()
            _finish(cluster)
            _fill(bench, chosen.jobs - chosen.workflows)
            reads = _reads(bench.client, chosen.jobs)
            before = _calls()
            theirs: list[float] = []
            ours: dict[str, list[float]] = {name: [] for name in reads}
            for _ in range(chosen.repeats):
                theirs.append(_seconds(lambda: _from_cluster(cluster.connection)))
                for name, read in reads.items():
                    ours[name] += [_seconds(read) for _ in range(20)]
            calls = _calls() - before
    figures = {f"{name}p95_ms": round(_p95(times) * 1000, 1) for name, times in ours.items()}
    return {
        "jobs": chosen.jobs,
        "workflows": chosen.workflows,
        "repeats": chosen.repeats,
        "p50_ms": round(median(ours[""]) * 1000, 1),
        **figures,
        "kubernetes_calls": calls,
        "cluster_ms": round(median(theirs) * 1000, 1),
        "speedup": round(median(theirs) / median(ours[""]), 1),
    }


def _reads(client: Client, jobs: int) -> dict[str, Callable[[], object]]:
    """Reads by the beginning of their figure's name; the one without a name is the first page of all."""
    (launch,) = client.launches(project=2, limit=1)
    job = client.list(project=2, limit=1)[0]
    return {
        "": lambda: client.list(limit=PAGE),
        "project_": lambda: client.list(project=2, limit=PAGE),
        "launch_": lambda: client.list(gid=launch.gid, limit=PAGE),
        "medium_": lambda: client.list(project=2, media_id=job.media_ids[0], limit=PAGE),
        "last_page_": lambda: client.list(limit=PAGE, offset=jobs - PAGE),
        "launches_": lambda: client.launches(limit=PAGE),
        "get_": lambda: client.get(job.uid),
    }


def _fill(bench: Bench, jobs: int) -> None:
    """Launches of EACH jobs that have ended, in turn of PROJECTS projects, and nodes for all jobs that there are."""
    client = bench.client
    for project in range(2, PROJECTS + 1):
        client.register_algorithm(
            name=f"hello-{project}", project=project, user=1, manifest=MANIFEST, files_per_job=FILES_PER_JOB
        )
    stage = Launching(client.engine, bench.settings, RestMediaSource(bench.settings))
    for number, first in enumerate(range(0, jobs, EACH)):
        project = 1 + number % PROJECTS
        media = range(first * FILES_PER_JOB, min(first + EACH, jobs) * FILES_PER_JOB)
        name = "hello" if project == 1 else f"hello-{project}"
        expand(stage, client.launch(name, project=project, user=1, media_ids=media).gid)
    with client.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(_END))
        connection.execute(text(_NODES), {"nodes": NODES})
        connection.execute(text("VACUUM ANALYZE"))
    (last,) = client.list(limit=1, offset=jobs + bench.count - 1)
    assert len(last.nodes) == NODES, last


def _finish(cluster: LocalCluster) -> None:
    """Give every workflow the status that Argo would."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{cluster.connection.namespace}/workflows"
    items = cluster.admin.get(path, timeout=60).raise_for_status().json()["items"]

    def finish(name: str) -> None:
        patch = orjson.dumps({"status": _status(name)})
        headers = {"Content-Type": "application/merge-patch+json"}
        cluster.admin.patch(f"{path}/{name}", content=patch, headers=headers).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, [item["metadata"]["name"] for item in items]))


def _status(name: str) -> dict[str, Any]:
    """As Argo 3.7 writes it."""
    begun, ended = "2026-11-24T10:00:00Z", "2026-11-24T10:00:09Z"

    def node(number: int) -> dict[str, Any]:
        pod = number == NODES
        return {
            "id": f"{name}-{number}",
            "name": name + ".step" * (number - 1),
            "displayName": f"step-{number}",
            "type": "Pod" if pod else "Steps",
            "templateName": "main",
            "templateScope": f"local/{name}",
            "phase": "Succeeded",
            "startedAt": begun,
            "finishedAt": ended,
            "progress": "1/1",
            "resourcesDuration": {"cpu": 4, "memory": 9},
            "inputs": {"parameters": [{"name": "media_ids", "value": "1,2,3"}]},
            "outputs": {"exitCode": "0"},
            **({"hostNodeName": "node-1"} if pod else {"children": [f"{name}-{number + 1}"]}),
        }

    return {
        "phase": "Succeeded",
        "progress": "1/1",
        "startedAt": begun,
        "finishedAt": ended,
        "resourcesDuration": {"cpu": 4, "memory": 9},
        "conditions": [{"type": "PodRunning", "status": "False"}, {"type": "Completed", "status": "True"}],
        "nodes": {f"{name}-{number}": node(number) for number in range(1, NODES + 1)},
    }


def _from_cluster(at: Connection) -> list[dict[str, Any]]:
    """Jobs of the project, newest first."""
    configuration = official.Configuration(host=f"https://{at.host}:{at.port}")
    configuration.ca_cert_data = at.ca
    configuration.api_key = {"authorization": f"Bearer {at.token}"}
    with official.ApiClient(configuration) as api:
        answer: Any = official.CustomObjectsApi(api).list_namespaced_custom_object(
            "argoproj.io", "v1alpha1", at.namespace, "workflows", label_selector="project=1", _request_timeout=60
        )
    items = sorted(answer["items"], key=lambda item: item["metadata"]["creationTimestamp"], reverse=True)
    return [_job(item) for item in items]


def _job(workflow: dict[str, Any]) -> dict[str, Any]:
    metadata, status = workflow["metadata"], workflow["status"]
    return {
        "id": metadata["name"],
        "uid": metadata["labels"]["uid"],
        "gid": metadata["labels"]["gid"],
        "user": int(metadata["labels"]["user"]),
        "project": int(metadata["labels"]["project"]),
        "start_time": status["startedAt"],
        "stop_time": status["finishedAt"],
        "status": status["phase"],
        "nodes": [
            {
                "id": node["id"],
                "task": node["displayName"],
                "status": node["phase"],
                "start_time": node["startedAt"],
                "stop_time": node["finishedAt"],
                "children": node.get("children", []),
            }
            for node in status["nodes"].values()
        ],
    }


def _calls() -> int:
    """Kubernetes API calls of this process so far."""

    def counted() -> Iterator[float]:
        for metric in KUBE_CALLS.collect():
            yield from (sample.value for sample in metric.samples if sample.name.endswith("_total"))

    return int(sum(counted()))


def _seconds(read: Callable[[], object]) -> float:
    begun = time.perf_counter()
    assert read()
    return time.perf_counter() - begun


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]
