"""What only a real Argo Server knows, beside a real node: nodes that Argo keeps in its own database, its archive, its lint, stored logs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlmodel import Session

from argosy import access, manifest
from argosy.cli.findings import findings
from argosy.client import Client
from argosy.errors import ManifestError
from argosy.kube import answers
from argosy.kube.archived_log import archived_log
from argosy.kube.argo_server import ArgoServer
from argosy.kube.check import check_argo_server
from argosy.settings import Settings
from argosy.shapes.given import Policy
from argosy.shapes.shown import JobShape
from argosy.store import registry
from clusters.local.cluster import LocalCluster
from clusters.local.component import Component
from tests.cluster.clusters import POWERLESS
from tests.cluster.differential import CORPUS
from tests.support.log_store import LOGGED, store
from tests.support.stack import finished, running, until

__all__ = ["store"]

PATIENCE = 240.0
"""Seconds: on a busy machine the node takes twenty for a pod."""

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/argosy/workflows"

TWO_STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: two-}}
spec:
  entrypoint: main
  templates:
    - name: main
      steps: [[{{name: first, template: one}}], [{{name: second, template: two}}]]
    - name: one
      container: {{image: 'busybox:1.35', command: [sh, -c], args: ['exit 0']}}
    - name: two
      container: {{image: 'busybox:1.35', command: [sh, -c], args: ['{script}']}}
"""

pytestmark = pytest.mark.timeout(900)


def register(client: Client, local: LocalCluster, **fields: Any) -> Client:
    """Register the cluster with its Argo Server."""
    at = local.connection
    named: dict[str, Any] = {
        "name": "node",
        "host": at.host,
        "port": at.port,
        "cert": at.ca,
        "token": at.token,
        "namespace": at.namespace,
        "service_account": "argosy-job",
        "default": True,
        "argo_server": at.argo_server,
        "argo_server_ca": at.ca,
    }
    client.add_cluster(**named | fields)
    return client


def launch(client: Client, script: str) -> Callable[[], JobShape]:
    """Run one job of two steps; how it stands is what the result answers."""
    text = TWO_STEPS.format(script=script)
    client.register_algorithm(name="two", project=1, user=7, manifest=text, files_per_job=1)
    launched = client.launch("two", project=1, user=7, media_ids=[1])
    uid = launched.uids[0]
    return lambda: client.get(uid)


async def ended(client: Client) -> JobShape:
    (launched,) = client.launches()
    (job,) = await finished(client, launched.gid, PATIENCE)
    return job


def shown(job: JobShape) -> set[tuple[str, str, str]]:
    """Its nodes."""
    return {(node.task, node.type, node.status) for node in job.nodes}


def on_cluster(local: LocalCluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = local.admin.get(f"{WORKFLOWS}/{name}").json()
    return found


@contextmanager
def frozen(component: Component) -> Iterator[None]:
    """A process that accepts connections and answers nothing."""
    assert component.process is not None
    # What answers is a child of the process that entered the node.
    children = _below(component.process.pid)
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)


def _below(pid: int) -> list[int]:
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(each for child in children for each in _below(child))]


@pytest.fixture
async def named(client: Client, argo_node: LocalCluster, settings: Settings) -> AsyncIterator[Client]:
    """A cluster that names its Argo Server, with worker and tracker."""
    register(client, argo_node)
    async with running(settings):
        yield client


@pytest.fixture
async def server(client: Client, argo_node: LocalCluster, settings: Settings) -> AsyncIterator[ArgoServer]:
    register(client, argo_node)
    with Session(client.engine) as session:
        row = registry.cluster(session, "node")
    async with access.argo_server(access.access_of(row, settings), settings) as opened:
        assert opened is not None
        yield opened


def test_check_says_its_version_and_that_it_can_be_used(client: Client, argo_node: LocalCluster) -> None:
    report = register(client, argo_node).check_cluster("node")
    assert report.health == "ok"
    assert findings(report, client.cluster("node"))["argo server"].startswith("v3.")
    assert findings(report, client.cluster("node"))["argo server"].endswith("can be used, with its archive")


def test_check_says_what_is_missing(client: Client, argo_node: LocalCluster) -> None:
    at = argo_node.connection
    register(client, argo_node)

    def told() -> str:
        report = client.check_cluster("node")
        assert report.health == "ok"  # argosy can work there
        return findings(report, client.cluster("node"))["argo server"]

    client.update_cluster("node", argo_server_ca="")
    assert told().startswith("cannot be used: TLS: ")
    client.update_cluster("node", argo_server=f"https://{at.host}:{at.port}", argo_server_ca=at.ca, token=at.token)
    assert "not from Argo Server" in told()
    client.update_cluster("node", argo_server="", argo_server_ca="")
    assert told() == "none named"


async def test_check_says_that_its_token_may_not_read_workflows(
    client: Client, argo_node: LocalCluster, server: ArgoServer
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": POWERLESS}}
    argo_node.admin.post("/api/v1/namespaces/argosy/serviceaccounts", json=account)
    powerless = replace(server.access, token=argo_node.token_of(POWERLESS))
    async with ArgoServer(powerless) as other:
        (missing,) = (await check_argo_server(other)).missing
    assert 'cannot get resource "workflows"' in missing
    assert "does not let the registered token" in missing


async def test_nodes_that_argo_keeps_in_its_own_database_are_shown_while_it_runs_and_at_the_end(
    named: Client, argo_node: LocalCluster
) -> None:
    stands = launch(named, "sleep 5; exit 3")
    job = await until(stands, lambda job: ("second", "Pod", "Running") in shown(job), PATIENCE)
    assert job.status == "Running"
    assert "not readable" not in job.message
    job = await ended(named)
    assert job.status == "Failed"
    assert {("first", "Pod", "Succeeded"), ("second", "Pod", "Failed")} <= shown(job)
    assert [node.exit_code for node in job.nodes if node.task == "second"] == [3]
    assert job.id is not None
    status = on_cluster(argo_node, job.id)["status"]
    assert status["offloadNodeStatusVersion"]
    assert "nodes" not in status


async def test_without_its_argo_server_a_job_ends_as_it_ended_and_its_nodes_are_not_readable(
    client: Client, argo_node: LocalCluster, settings: Settings
) -> None:
    register(client, argo_node, argo_server="", argo_server_ca="")
    async with running(settings):
        launch(client, "exit 0")
        job = await ended(client)
    assert (job.status, job.nodes) == ("Succeeded", [])
    assert "not readable here" in job.message


async def test_an_argo_server_that_hangs_delays_no_status_but_that_of_an_end_and_that_a_little(
    named: Client, argo_node: LocalCluster
) -> None:
    with frozen(argo_node.argo_server):
        stands = launch(named, "sleep 1")
        await until(stands, lambda job: job.status == "Running", PATIENCE)
        job = await ended(named)
    assert (job.status, job.nodes) == ("Succeeded", [])
    assert "nodes: not readable (Argo Server" in job.message


async def vanished(
    client: Client, argo_node: LocalCluster, settings: Settings, script: str
) -> tuple[Callable[[], JobShape], str]:
    """A job whose workflow has ended, was archived and deleted while nobody tracked it; and the workflow's k8s uid."""
    register(client, argo_node, finalizer=False)
    async with running(settings):
        stands = launch(client, script)
        job = await until(stands, lambda job: job.status == "Running", PATIENCE)
    assert job.id is not None

    def archived() -> bool:
        labels = on_cluster(argo_node, job.id or "")["metadata"]["labels"]
        return bool(labels.get("workflows.argoproj.io/workflow-archiving-status") == "Archived")

    await until(archived, bool, PATIENCE)
    k8s_uid = on_cluster(argo_node, job.id)["metadata"]["uid"]
    argo_node.admin.delete(f"{WORKFLOWS}/{job.id}").raise_for_status()
    assert stands().status == "Running"
    return stands, k8s_uid


@pytest.mark.parametrize(("script", "status"), [("sleep 3", "Succeeded"), ("sleep 3; exit 5", "Failed")])
async def test_a_job_whose_workflow_is_gone_ends_as_the_archive_says(
    client: Client, argo_node: LocalCluster, settings: Settings, script: str, status: str
) -> None:
    await vanished(client, argo_node, settings, script)
    async with running(settings):
        job = await ended(client)
    assert job.status == status
    assert {node.task for node in job.nodes} >= {"first", "second"}
    assert job.stop_time is not None


async def test_a_job_that_the_archive_does_not_know_is_lost(
    client: Client, argo_node: LocalCluster, settings: Settings, postgres: str
) -> None:
    _, k8s_uid = await vanished(client, argo_node, settings, "sleep 3")
    with psycopg.connect(postgres.replace("/postgres?", "/argo_archive?"), autocommit=True) as connection:
        connection.execute("DELETE FROM argo_archived_workflows WHERE uid = %s", (k8s_uid,))
    async with running(settings):
        assert (await ended(client)).status == "Lost"


async def test_a_job_of_which_argo_server_cannot_be_asked_is_lost_and_waits_for_nobody(
    client: Client, argo_node: LocalCluster, settings: Settings
) -> None:
    await vanished(client, argo_node, settings, "sleep 3")
    with frozen(argo_node.argo_server):
        async with running(settings):
            assert (await ended(client)).status == "Lost"


def test_lint_has_what_only_the_cluster_knows(client: Client, argo_node: LocalCluster) -> None:
    register(client, argo_node, policy={"templates": ["shared"]})
    text = TWO_STEPS.format(script="exit 0").replace(
        "[[{name: first, template: one}]", "[[{name: first, templateRef: {name: shared, template: x}}]"
    )
    (found,) = client.lint(text, cluster="node")
    assert not found.warning
    assert found.problem.startswith("Argo of cluster node: ")
    assert "shared" in found.problem
    client.register_algorithm(name="refers", project=1, user=7, manifest=text, files_per_job=1)
    assert [each.problem for each in client.lint_algorithm_by_argo("refers")] == [found.problem]
    assert found.problem in [each.problem for each in client.lint_algorithm("refers")]


def test_lint_finds_nothing_in_a_manifest_that_runs_whatever_parameters_a_launch_is_to_give(
    client: Client, argo_node: LocalCluster
) -> None:
    register(client, argo_node)
    text = TWO_STEPS.format(script="echo {{workflow.parameters.later}} {{workflow.parameters.media_ids}}")
    assert [each.problem for each in client.lint(text, cluster="node") if not each.warning] == []


async def test_its_lint_finds_nothing_in_the_good_manifests_as_jobs_of_them_would_be(server: ArgoServer) -> None:
    said = {}
    for path in sorted(CORPUS.glob("*.yaml")):
        with suppress(ManifestError):  # what no profile allows
            body = manifest.sample(path.read_text(), [], Policy(profile="trusted"), "argosy-job", False)
            said[path.stem] = await server.lint(body)
    assert len(said) > 60
    assert {name: words for name, words in said.items() if words} == {}


async def test_lint_says_where_argo_server_did_not_answer(client: Client, argo_node: LocalCluster) -> None:
    register(client, argo_node)
    with frozen(argo_node.argo_server):
        (found,) = client.lint(TWO_STEPS.format(script="exit 0"), cluster="node")
    assert found.warning
    assert "could not be asked" in found.problem


async def test_the_log_of_a_pod_that_is_gone_is_read_from_where_argo_has_stored_it(
    client: Client, argo_node: LocalCluster, settings: Settings, server: ArgoServer, store: None
) -> None:
    client.update_cluster("node", policy=Policy(secrets=["log-store"]))
    client.register_algorithm(name="logged", project=1, user=7, manifest=LOGGED, files_per_job=1)
    client.launch("logged", project=1, user=7, media_ids=[1])
    async with running(settings):
        job = await ended(client)
    assert job.status == "Succeeded", job.message
    assert job.id is not None
    (pod,) = [node for node in job.nodes if node.type == "Pod"]
    k8s_uid = on_cluster(argo_node, job.id)["metadata"]["uid"]

    async def read(uid: str, **fields: Any) -> bytes:
        return b"".join([piece async for piece in archived_log(server, job.id or "", uid, pod.id, **fields)])

    assert b"a word\nanother\n" in await read(k8s_uid)
    assert b"another" in await read("")
    with pytest.raises(answers.TooLong):
        await read(k8s_uid, limit=3)
    argo_node.kubectl(
        "delete", "pods", "--namespace", "argosy", "--selector", f"workflows.argoproj.io/workflow={job.id}"
    )
    shown = await asyncio.to_thread(client.logs, job.uid)
    assert [(each.source, each.container) for each in shown.logs] == [("archive", "main")], shown.note
    assert "a word\nanother\n" in shown.logs[0].text
    assert "gone" not in shown.note
    with pytest.raises(answers.Unclear, match="no stored log of container sidecar"):
        await read(k8s_uid, container="sidecar")
