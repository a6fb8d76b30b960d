"""The main job, over both kinds of cluster: what a launch of each example comes to, with nothing but the token that a JobCluster grants."""

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import chain
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.history.tree import tree
from argosy.kube.answers import Missing
from argosy.kube.connection import Connection
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import ANNOTATION_DIGEST, LABEL_INSTALLATION, secret_name, workflow_name
from argosy.launch.expand import expand
from argosy.settings import Settings
from argosy.store import claims
from argosy.store.installation import identity
from argosy.submit.run import Submitter
from tests.cluster.clusters import Cluster, delete
from tests.conftest import ROOT
from tests.support.manifests import LONG
from tests.support.stack import Direct, finished, running, until

PATIENCE = 240.0
"""Seconds: a real node on a busy machine takes twenty for a pod."""


@pytest.fixture
def registered(client: Client, cluster: Cluster) -> Client:
    client.add_cluster(
        name="here",
        host=cluster.at.host,
        port=cluster.at.port,
        cert=cluster.at.ca,
        token=cluster.at.token,
        namespace=cluster.at.namespace,
        service_account="argosy-job",
        default=True,
    )
    for file in (ROOT / "manifests").glob("*.yaml"):
        client.register_algorithm(
            name=file.stem, project=1, user=7, manifest=file.read_text(), files_per_job=3, parameters=[]
        )
    client.register_algorithm(name="long", project=1, user=7, manifest=LONG, files_per_job=3)
    return client


@pytest.fixture
async def stack(registered: Client, settings: Settings) -> AsyncIterator[Direct]:
    async with running(settings) as direct:
        yield direct


@pytest.fixture
async def there(cluster: Cluster, engine: Engine) -> AsyncIterator[Connection]:
    """What the test leaves behind is taken away."""
    async with Connection(cluster.access("test", cluster.admin_token)) as connection:
        yield connection
        workflows = Workflows(connection)
        for item in await ours(engine, connection):
            metadata = item["metadata"]
            with suppress(Missing):
                await workflows.release(metadata["name"], metadata["uid"], metadata.get("finalizers", []))
                await delete(connection, metadata["name"], metadata["uid"])


async def ours(engine: Engine, there: Connection) -> list[dict[str, Any]]:
    page = await Workflows(there).page(f"{LABEL_INSTALLATION}={identity(engine)}")
    return page.items


@pytest.mark.on_node
@pytest.mark.parametrize(
    ("algorithm", "status", "tasks"),
    [
        ("hello", "Succeeded", {"Pod": 1}),
        ("count-media", "Succeeded", {"Pod": 1}),
        ("pipeline", "Succeeded", None),
        ("fan-out", "Succeeded", {"DAG": 1, "TaskGroup": 1, "Retry": 1, "Pod": 6}),
        ("flaky", "Succeeded", {"Retry": 1, "Pod": 3}),
        ("fails", "Failed", None),
    ],
)
async def test_a_launch_of_each_example_ends_with_every_node_recorded(
    registered: Client, stack: Direct, cluster: Cluster, algorithm: str, status: str, tasks: dict[str, int] | None
) -> None:
    batches = [[1, 2, 3]] if cluster.kind == "node" else [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
    media = list(chain.from_iterable(batches))
    launched = registered.launch(algorithm, project=1, user=7, media_ids=media, token="token-of-user")
    jobs = await finished(registered, launched.gid, PATIENCE)
    assert [job.uid for job in jobs] == launched.uids
    assert [job.media_ids for job in jobs] == batches
    assert {job.status for job in jobs} == {status}
    for job in jobs:
        assert job.start_time
        assert job.stop_time
        assert all(node.start_time and node.stop_time for node in job.nodes)
        if tasks is not None:
            assert {kind: sum(node.type == kind for node in job.nodes) for kind in tasks} == tasks
        known = {node.id for node in job.nodes}
        assert all(child in known for node in job.nodes for child in node.children)
    if status == "Failed":
        assert {3} == {node.exit_code for job in jobs for node in job.nodes if node.exit_code}


NESTED = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: nested-}
spec:
  entrypoint: outer
  templates:
    - name: outer
      steps:
        - - {name: prepare, template: works}
        - - {name: inner, template: inner}
          - {name: beside, template: works}
        - - {name: never, template: works}
    - name: inner
      steps:
        - - {name: first, template: works}
        - - {name: graph, template: graph}
    - name: graph
      dag:
        tasks:
          - {name: detect, template: works}
          - {name: crop, template: breaks, depends: detect, withItems: [1]}
          - {name: join, template: works, depends: crop}
    - name: works
      container: {image: alpine:3.22, command: [sh, -c], args: ["exit 0"]}
    - name: breaks
      container: {image: alpine:3.22, command: [sh, -c], args: ["exit 3"]}
"""


async def test_a_step_that_fails_deep_inside_is_the_message_of_its_job_and_the_tree_is_that_of_the_manifest(
    registered: Client, stack: Direct
) -> None:
    registered.register_algorithm(name="nested", project=1, user=7, manifest=NESTED, files_per_job=3)
    gid = registered.launch("nested", project=1, user=7, media_ids=[1]).gid
    (job,) = await finished(registered, gid, PATIENCE)
    assert re.fullmatch(r"crop\(0:1\): (main: )?Error \(exit code 3\)", job.message)
    (group,) = registered.failures(gid)
    assert (group.message, group.exit_code) == (job.message, 3)
    assert not [node.message for node in job.nodes if str(job.id) in node.message]
    (crop,) = [node for node in job.nodes if node.task == "crop(0:1)"]
    (reason,) = registered.explain(job.uid).reasons
    assert f"pod {crop.pod}, container main" in reason.text
    assert f"argosy logs {job.uid} --node 'crop(0:1)'" in reason.do
    rows = [(row.depth, row.node.task.replace(str(job.id), "")) for row in tree(job.nodes, job.as_of).rows]
    assert rows[:3] == [(0, ""), (1, "prepare"), (1, "[1]")]
    inner = [(2, "inner"), (3, "first"), (3, "graph"), (4, "detect"), (4, "crop(0:1)"), (4, "join")]
    at = rows.index((2, "inner"))
    assert rows[at : at + len(inner)] == inner
    assert rows[3:at] + rows[at + len(inner) :] == [(2, "beside")]


async def test_nothing_is_left_on_the_cluster_but_released_workflows_when_a_launch_has_ended(
    registered: Client, stack: Direct, there: Connection, engine: Engine
) -> None:
    launched = registered.launch("hello", project=1, user=7, media_ids=[1, 2], token="canary-of-the-user")
    await finished(registered, launched.gid, PATIENCE)

    async def settled() -> bool:
        held = any(item["metadata"].get("finalizers") for item in await ours(engine, there))
        return not held and not await Secrets(there).found({LABEL_INSTALLATION: identity(engine)})

    await until(settled, bool, 20)
    (item,) = await ours(engine, there)
    assert "canary" not in str(item)

    def sealed() -> object:
        with engine.connect() as connection:
            return connection.execute(text("SELECT token_sealed FROM argosy.launch")).scalar_one()

    await until(sealed, lambda token: token is None, 10)


@pytest.mark.on_node
async def test_the_pods_get_the_token_through_the_launchs_secret(
    registered: Client, stack: Direct, there: Connection, cluster: Cluster, engine: Engine
) -> None:
    manifest = LONG + '          - {name: TOKEN, value: "{{workflow.parameters.rest_token}}"}\n'
    registered.register_algorithm(name="with-token", project=1, user=7, manifest=manifest, files_per_job=3)
    launched = registered.launch("with-token", project=1, user=7, media_ids=[1], token="canary-of-the-user")
    await until(
        lambda: registered.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"], PATIENCE
    )
    (item,) = await ours(engine, there)
    assert "canary" not in str(item)
    env = item["spec"]["templates"][0]["container"]["env"]
    reference = next(entry for entry in env if entry["name"] == "TOKEN")["valueFrom"]["secretKeyRef"]
    with engine.connect() as connection:
        ours_alone = connection.execute(text("SELECT secret_id FROM argosy.launch")).scalar_one()
    assert reference["name"] == secret_name(ours_alone) != secret_name(launched.gid)
    url = f"https://{cluster.at.host}:{cluster.at.port}/api/v1/namespaces/{cluster.at.namespace}/secrets/{reference['name']}"
    async with httpx.AsyncClient(verify=ssl.create_default_context(cadata=cluster.at.ca)) as http:
        answer = await http.get(url, headers={"Authorization": f"Bearer {cluster.admin_token}"})
    assert b64decode(answer.json()["data"][reference["key"]]) == b"canary-of-the-user"


async def test_a_node_is_in_the_database_two_seconds_after_it_is_on_the_cluster(
    registered: Client, stack: Direct, there: Connection, engine: Engine
) -> None:
    launched = registered.launch("long", project=1, user=7, media_ids=[1])

    async def on_cluster() -> bool:
        return any(item.get("status", {}).get("nodes") for item in await ours(engine, there))

    await until(on_cluster, bool, 30)
    await until(lambda: registered.list(gid=launched.gid), lambda jobs: bool(jobs and jobs[0].nodes), 2)


async def test_a_workflow_that_somebody_deletes_while_it_runs_ends_deleted(
    registered: Client, stack: Direct, there: Connection
) -> None:
    launched = registered.launch("long", project=1, user=7, media_ids=[1])
    (job,) = await until(
        lambda: registered.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"], 30
    )
    workflows = Workflows(there)
    assert job.id is not None
    await delete(there, job.id, (await workflows.get(job.id))["metadata"]["uid"])
    (job,) = await finished(registered, launched.gid, 30)
    assert job.status == "Deleted"
    assert "deleted on the cluster" in job.message


async def test_a_workflow_that_somebody_terminates_ends_failed_with_argos_words(
    registered: Client, stack: Direct, there: Connection
) -> None:
    launched = registered.launch("long", project=1, user=7, media_ids=[1])
    (job,) = await until(
        lambda: registered.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"], 30
    )
    workflows = Workflows(there)
    assert job.id is not None
    await workflows.terminate(job.id, (await workflows.get(job.id))["metadata"]["uid"])
    (job,) = await finished(registered, launched.gid, 30)
    assert job.status == "Failed"
    assert "Terminate" in job.message


async def test_a_create_whose_answer_was_lost_is_adopted_and_not_doubled(
    registered: Client, settings: Settings, there: Connection, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died between the create and its record; nobody tracks; the next claim finds the name taken by its own."""
    impatient = settings.model_copy(update={"claim_lease": 4.0})
    direct = Direct(impatient)
    launched = registered.launch("long", project=1, user=7, media_ids=[1])
    await asyncio.to_thread(expand, direct.launching, launched.gid)
    with monkeypatch.context() as dying:
        dying.setattr("argosy.submit.run._record", lambda *_: None)
        await Submitter(engine, impatient, direct.clusters, identity(engine), "dies").run(1)
    (before,) = await ours(engine, there)
    assert registered.list(gid=launched.gid)[0].status == "Submitting"

    def expired() -> list[int]:
        with engine.begin() as connection:
            return claims.clusters_with_work(connection)

    await until(expired, bool, 10)
    await direct.submitter.run(1)
    (after,) = await ours(engine, there)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    job = registered.list(gid=launched.gid)[0]
    assert (job.status, job.id) == ("Pending", before["metadata"]["name"])
    await direct.clusters.close()


async def test_a_name_taken_by_a_stranger_is_not_adopted(
    registered: Client, settings: Settings, there: Connection, engine: Engine
) -> None:
    direct = Direct(settings)
    launched = registered.launch("long", project=1, user=7, media_ids=[1])
    name = workflow_name(launched.uids[0], 1)
    labels = {LABEL_INSTALLATION: identity(engine), "uid": str(launched.uids[0]), "argosy.dev/attempt": "2"}
    stranger = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "labels": labels, "annotations": {ANNOTATION_DIGEST: "another"}},
        "spec": {"entrypoint": "x", "shutdown": "Terminate", "templates": [{"name": "x", "container": {"image": "x"}}]},
    }
    await Workflows(there).create(orjson.dumps(stranger))
    await asyncio.to_thread(expand, direct.launching, launched.gid)
    await direct.submitter.run(1)
    (job,) = registered.list(gid=launched.gid)
    assert job.status == "Rejected"
    assert "not this attempt's" in job.message
    await direct.clusters.close()
