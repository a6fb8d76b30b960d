"""A workflow that is gone from a cluster without the finalizer, and what its archive says: only the truth about the same object counts."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import httpx
import pytest

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.kube.argo_server import ArgoServer
from argosy.labels import LABEL_ATTEMPT, LABEL_UID
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from argosy.store import leases
from argosy.store.tracking import Expected
from argosy.track import absences
from argosy.track.absences import Absences
from argosy.track.standing import Standing, Tracked
from tests.faults.conftest import manifest
from tests.support.argo_server import GATEWAY, Answer, StandIn, given, said, stand_in, workflow
from tests.support.stack import finished, running, until

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/argosy/workflows"


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
def simulated() -> Iterator[SimulatedCluster]:
    with SimulatedCluster() as cluster:
        yield cluster


@pytest.fixture
def admin(simulated: SimulatedCluster) -> Iterator[httpx.Client]:
    at = simulated.connection
    with httpx.Client(
        base_url=f"https://{at.host}:{at.port}",
        headers={"Authorization": f"Bearer {at.admin_token}"},
        verify=ssl.create_default_context(cadata=at.ca),
    ) as opened:
        yield opened


async def vanished(
    client: Client,
    settings: Settings,
    simulated: SimulatedCluster,
    admin: httpx.Client,
    standin: StandIn,
    jobs: int = 1,
) -> list[tuple[JobShape, str]]:
    """Jobs whose workflows were deleted while nobody tracked them, each with its workflow's k8s uid."""
    at = simulated.connection
    client.add_cluster(
        name="c",
        host=at.host,
        port=at.port,
        cert=at.ca,
        token=at.token,
        namespace=at.namespace,
        finalizer=False,
        default=True,
        argo_server=standin.access.argo_server,
        argo_server_ca=standin.access.argo_server_ca,
    )
    client.register_algorithm(name="long", project=1, user=7, manifest=manifest(600), files_per_job=1)
    gid = client.launch("long", project=1, user=7, media_ids=range(1, jobs + 1)).gid
    async with running(settings):
        found = await until(
            lambda: client.list(gid=gid),
            lambda found: len(found) == jobs and all(job.status == "Running" for job in found),
        )
    return [(job, await asyncio.to_thread(_delete, admin, job.id)) for job in found]


def _delete(admin: httpx.Client, name: str | None) -> str:
    """Delete a workflow; its uid."""
    k8s_uid: str = admin.get(f"{WORKFLOWS}/{name}").json()["metadata"]["uid"]
    admin.delete(f"{WORKFLOWS}/{name}").raise_for_status()
    return k8s_uid


def archived(job: JobShape, k8s_uid: str, phase: str = "Succeeded", **labels: str) -> dict[str, Any]:
    """A job's workflow, as an archive has it."""
    found = workflow(job.id or "", k8s_uid, phase)
    found["metadata"]["labels"] = {LABEL_UID: str(job.uid), LABEL_ATTEMPT: "1"} | labels
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Settings:
    monkeypatch.setattr(absences, "_PAUSE", 0.1)
    return settings.model_copy(update={"request_timeout": 1.0})


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
async def test_a_job_ends_as_the_archive_says_with_its_nodes(
    client: Client, impatient: Settings, simulated: SimulatedCluster, admin: httpx.Client, standin: StandIn, phase: str
) -> None:
    ((job, k8s_uid),) = await vanished(client, impatient, simulated, admin, standin)
    standin.answer = lambda path: given(archived(job, k8s_uid, phase))
    async with running(impatient):
        (ended,) = await finished(client, job.gid)
    assert (ended.status, [node.task for node in ended.nodes][-1:]) == (phase, [job.id])
    assert f"/api/v1/archived-workflows/{k8s_uid}" in standin.asked


LIES: dict[str, Callable[[JobShape, str], Answer]] = {
    "not known": lambda job, k8s_uid: said(404, 5, "not found"),
    "no archive": lambda job, k8s_uid: said(500, 13, "getting archived workflows not supported"),
    "no permission": lambda job, k8s_uid: said(403, 7, "permission denied"),
    "of another job": lambda job, k8s_uid: given(archived(job, k8s_uid, **{LABEL_UID: str(job.gid)})),
    "of another attempt": lambda job, k8s_uid: given(archived(job, k8s_uid, **{LABEL_ATTEMPT: "2"})),
    "of another object": lambda job, k8s_uid: given(archived(job, "another")),
    "not ended": lambda job, k8s_uid: given(archived(job, k8s_uid, "Running")),
    "no phase": lambda job, k8s_uid: given(archived(job, k8s_uid, "")),
    "a page": lambda job, k8s_uid: Answer(200, b"<html>Succeeded</html>"),
    "a bad gateway": lambda job, k8s_uid: Answer(502, b"bad gateway"),
    "silence": lambda job, k8s_uid: Answer(headers=GATEWAY, pieces=repeat(b" ", 100), pause=0.1),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_job_is_lost_where_the_archive_does_not_surely_know_how_it_ended(
    client: Client,
    impatient: Settings,
    simulated: SimulatedCluster,
    admin: httpx.Client,
    standin: StandIn,
    lie: Callable[[JobShape, str], Answer],
) -> None:
    ((job, k8s_uid),) = await vanished(client, impatient, simulated, admin, standin)
    standin.answer = lambda path: lie(job, k8s_uid)
    async with running(impatient):
        (ended,) = await finished(client, job.gid)
    assert ended.status == "Lost"
    assert standin.asked


async def test_many_jobs_are_lost_in_a_bounded_time_where_argo_server_hangs(
    client: Client,
    impatient: Settings,
    simulated: SimulatedCluster,
    admin: httpx.Client,
    standin: StandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(absences, "SILENT", 2.0)
    gone = await vanished(client, impatient, simulated, admin, standin, 40)
    standin.answer = lambda path: Answer(headers=GATEWAY, pieces=repeat(b" ", 100), pause=0.1)
    async with running(impatient):
        ended = await finished(client, gone[0][0].gid, 20)
    assert {job.status for job in ended} == {"Lost"}
    # Asked one after the other until each had its tries, 8 at a time, they would be 120 requests.
    assert len(standin.asked) < 40


async def test_a_workflow_that_is_there_again_while_the_archive_is_asked_is_not_lost(
    client: Client, impatient: Settings, simulated: SimulatedCluster, admin: httpx.Client, standin: StandIn
) -> None:
    """An etcd that was restored has it again, as a list that was begun later shows."""
    ((job, k8s_uid),) = await vanished(client, impatient, simulated, admin, standin)
    lost: list[Expected] = []
    engine = client.engine
    with engine.begin() as database:
        epoch = leases.acquire(database, "lease", "test", 60.0)
    assert epoch is not None
    at = Standing(engine, Tracked(1, "c", "lease", epoch))
    async with ArgoServer(standin.access) as server:
        waiting = Absences(at, server, lambda seen: None, lost.extend, lambda cluster_id: None)
        await waiting.settle([Expected(job.uid, 1, k8s_uid, job.gid)])

        def answer(path: str) -> Answer:
            waiting.forget({k8s_uid})
            return said(404, 5, "not found")

        standin.answer = answer
        task = asyncio.create_task(waiting.run())
        await until(lambda: standin.asked, bool)
        await waiting.settle([Expected(job.gid, 1, "another", job.gid)])
        await until(lambda: len(standin.asked), lambda asked: asked == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert client.get(job.uid).status == "Running"
    assert lost == []


async def test_one_of_which_nothing_is_to_be_had_keeps_no_other_from_its_true_end(
    client: Client, impatient: Settings, simulated: SimulatedCluster, admin: httpx.Client, standin: StandIn
) -> None:
    gone = await vanished(client, impatient, simulated, admin, standin, 6)
    (bad, bad_uid), *_ = gone
    by_uid = {k8s_uid: job for job, k8s_uid in gone}

    def answer(path: str) -> Answer:
        k8s_uid = path.rpartition("/")[2]
        return Answer(502) if k8s_uid == bad_uid else given(archived(by_uid[k8s_uid], k8s_uid))

    standin.answer = answer
    async with running(impatient):
        ended = await finished(client, bad.gid)
    assert {job.uid: job.status for job in ended} == {
        job.uid: "Lost" if job.uid == bad.uid else "Succeeded" for job, _ in gone
    }
