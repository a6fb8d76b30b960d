"""A cluster's answers that fail, come late, or are absurd: what is known stays as it is, and nobody else is hurt (P4, P7)."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import trustme
from sqlalchemy import Engine

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.labels import FINALIZER, workflow_name
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import Cluster
from tests.cluster.manifests import FOR_EVER, container, workflow
from tests.faults.actions import Action, Answer, Drop, Edit, Hold, HoldAnswer, Request
from tests.faults.conftest import Audited, become, expire, register, remove, rows, stepping, tracking
from tests.faults.proxy import Proxy
from tests.support.seen import becomes
from tests.support.stack import finished, running, until


@asynccontextmanager
async def cut_off(proxy: Proxy, fault: Action | trustme.LeafCert | None) -> AsyncIterator[None]:
    """Every request meets the fault until the end of the block; None means that no connection is made at all."""
    await proxy.down()
    if isinstance(fault, Action):
        proxy.on(fault, times=math.inf)
    if fault is not None:
        await proxy.up(fault if isinstance(fault, trustme.LeafCert) else None)
    yield
    await proxy.down()
    proxy.clear()
    await proxy.up()


async def goes_on(
    client: Client,
    settings: Settings,
    proxy: Proxy,
    fault: Action | trustme.LeafCert | None,
    health: str,
    words: str,
) -> None:
    """One job runs and another is launched while a fault lasts and is said. Neither is hurt, and both go on afterwards."""
    async with running(settings):
        before = client.launch("long", project=1, user=7, media_ids=[1])
        await until(lambda: client.list(gid=before.gid), lambda jobs: [job.status for job in jobs] == ["Running"])
        async with cut_off(proxy, fault):
            await becomes(client, health, words)
            during = client.launch("quick", project=1, user=7, media_ids=[2])
            (waiting,) = await until(
                lambda: client.list(gid=during.gid), lambda jobs: bool(jobs and jobs[0].message), 30
            )
            assert waiting.status in {"Queued", "Submitting"}
            assert [job.status for job in client.list(gid=before.gid)] == ["Running"]
            assert client.cluster("here").health == health
        (job,) = await finished(client, during.gid, 60)
        assert (job.status, job.attempt) == ("Succeeded", 1)
        assert [job.status for job in client.list(gid=before.gid)] == ["Running"]
        await becomes(client, "ok")


ACCOUNTS = "system:serviceaccount:argosy:"
SECOND = "second"


@contextmanager
def second_installation(settings: Settings, there: Connection, local: LocalCluster) -> Iterator[Client]:
    """A client of another database, registered on the same cluster with an account of its own."""
    namespace = there.access.namespace
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    binding = {
        "metadata": {"name": SECOND},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "argosy"},
        "subjects": [{"kind": "ServiceAccount", "name": SECOND, "namespace": namespace}],
    }
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    local.admin.post(accounts, json={"metadata": {"name": SECOND}}).raise_for_status()
    local.admin.post(roles, json=binding).raise_for_status()
    client = Client(settings)
    try:
        yield register(client, replace(there.access, token=local.token_of(SECOND)))
    finally:
        client.close()
        local.admin.delete(f"{roles}/{SECOND}").raise_for_status()
        local.admin.delete(f"{accounts}/{SECOND}").raise_for_status()


def bearer(token: str) -> Callable[[Request], Request]:
    """Ask with another token."""
    return lambda request: replace(request, headers=request.headers | {"authorization": f"Bearer {token}"})


async def test_a_cluster_that_cannot_be_reached_is_unreachable_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    await goes_on(proxied, impatient, proxy, None, "unreachable", "Connection refused")


async def test_a_cluster_whose_connections_break_is_unreachable_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    await goes_on(proxied, impatient, proxy, Drop(), "unreachable", "no answer")


async def test_a_cluster_that_does_not_know_the_token_is_unauthorized_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    await goes_on(proxied, impatient, proxy, Edit(bearer("nobody's")), "unauthorized", "token")


async def test_a_cluster_that_takes_a_permission_away_is_forbidden_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, real_cluster: Cluster
) -> None:
    await goes_on(proxied, impatient, proxy, Edit(bearer(real_cluster.powerless_token)), "forbidden", "Role")


async def test_a_cluster_without_the_crd_is_argo_missing_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, real_cluster: Cluster
) -> None:
    def nowhere(request: Request) -> Request:
        return bearer(real_cluster.admin_token)(replace(request, path=request.path.replace("workflows", "nothings")))

    await goes_on(proxied, impatient, proxy, Edit(nowhere), "argo_missing", "CRD")


async def test_a_cluster_whose_certificate_ran_out_is_certificate_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = proxy.issue(not_after=datetime.now(UTC) - timedelta(minutes=30))
    await goes_on(proxied, impatient, proxy, expired, "certificate", "expired")


async def test_a_missing_namespace_is_said_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, real_cluster: Cluster
) -> None:
    """Its list is empty and answered 200; only a create tells."""

    def elsewhere(request: Request) -> Request:
        path = request.path.replace(f"/namespaces/{real_cluster.at.namespace}/", "/namespaces/missing/")
        return bearer(real_cluster.admin_token)(replace(request, path=path))

    async with running(impatient):
        async with cut_off(proxy, Edit(elsewhere)):
            launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
            (waiting,) = await until(
                lambda: proxied.list(gid=launched.gid),
                lambda jobs: bool(jobs and "namespace_missing" in jobs[0].message),
            )
            said = proxied.cluster("here")
        (job,) = await finished(proxied, launched.gid, 60)
    assert waiting.status == "Queued"
    assert 'namespaces "missing" not found' in said.open_reason + said.health_message
    assert (job.status, job.attempt) == ("Succeeded", 1)


async def five_running(client: Client, settings: Settings) -> list[str]:
    """The names of five workflows that run, are recorded, and that nobody tracks any more."""
    async with running(settings):
        launched = client.launch("long", project=1, user=7, media_ids=range(1, 6))
        jobs = await until(
            lambda: client.list(gid=launched.gid),
            lambda jobs: [node.status for job in jobs for node in job.nodes] == ["Running"] * 5,
        )
    return [str(job.id) for job in jobs]


def small_pages(second: Callable[[], Action | None]) -> Callable[[Request], Action | None]:
    """Lists come in pages of two; `second` says what happens to the second one."""

    def decide(request: Request) -> Action | None:
        if (request.verb, request.resource) != ("list", "workflows"):
            return None
        action = second() if "continue" in request.query else None
        return action or Edit(lambda request: replace(request, query=request.query | {"limit": "2"}))

    return decide


@pytest.mark.parametrize("failure", [Answer(500), Drop()], ids=["500", "reset"])
async def test_a_list_whose_second_page_fails_changes_no_state(
    failure: Action, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, engine: Engine
) -> None:
    """Also the one workflow that is really gone is missed only by a list that is complete."""
    names = await five_running(proxied, impatient)
    await remove(there, names[0])
    before, failures, complete = rows(engine), iter([failure] * 2), asyncio.Event()
    proxy.decide = small_pages(lambda: next(failures, Hold(complete)))
    async with running(impatient):
        await until(lambda: proxy.faults, lambda faults: faults[failure.kind] == 2)
        assert rows(engine) == before
        complete.set()
        await until(lambda: proxied.list(), lambda jobs: [job.status for job in jobs] == ["Lost"] + ["Running"] * 4)


async def test_a_list_whose_continue_token_etcd_has_forgotten_is_begun_anew_and_loses_nothing(
    proxied: Client, proxy: Proxy, patient: Settings, there: Connection, engine: Engine, local_cluster: LocalCluster
) -> None:
    """410 as the HTTP status, from the real apiserver."""
    await five_running(proxied, patient)
    before, compacted = rows(engine), asyncio.Event()
    hold = Hold(compacted)
    actions = iter([hold])
    proxy.decide = small_pages(lambda: next(actions, None))
    async with running(patient):
        (second,) = await until(lambda: [each for each in proxy.exchanges if each.action is hold], bool)
        await expire(local_cluster, there, second.request)
        compacted.set()
        await until(lambda: second.status, lambda status: status == 410)
        await until(lambda: proxy.saw("watch"), bool)
        assert rows(engine) == before


async def test_a_workflow_that_is_recorded_while_a_list_without_it_is_under_way_is_not_lost(
    proxied: Client, proxy: Proxy, patient: Settings, there: Connection
) -> None:
    answer, watch = asyncio.Event(), asyncio.Event()
    proxy.on(HoldAnswer(answer), verb="list", resource="workflows")
    listed = proxy.on(Hold(watch), verb="watch", resource="workflows")
    async with stepping(patient) as steps, tracking(patient, steps):
        await until(lambda: [each.status for each in proxy.saw("list")], lambda statuses: statuses == [200])
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        answer.set()
        await asyncio.wait_for(listed.hit.wait(), 30)
        assert [job.status for job in proxied.list()] == ["Pending"]
        watch.set()
        await until(lambda: proxied.list(), lambda jobs: [job.status for job in jobs] == ["Running"])


async def test_two_installations_on_one_cluster_touch_nothing_of_each_other_or_of_others(
    proxied: Client,
    impatient: Settings,
    other: Settings,
    there: Connection,
    local_cluster: LocalCluster,
    audited: Audited,
) -> None:
    """Each has a token of its own, so that the audit log tells them apart. The one restarts while the other is away."""
    foreign = f"foreign-{uuid4()}"
    await Workflows(there).create(workflow(foreign, container(seconds=FOR_EVER), finalizers=[FINALIZER]))
    with second_installation(other, there, local_cluster) as second:
        async with running(impatient):
            runs = proxied.launch("long", project=1, user=7, media_ids=[1])
            await until(lambda: proxied.list(gid=runs.gid), lambda jobs: [job.status for job in jobs] == ["Running"])
        async with stepping(impatient) as steps:
            unseen = proxied.launch("quick", project=1, user=7, media_ids=[1])
            await steps.cut(unseen.gid)
            await steps.submitter.run(1)
        async with running(other):
            theirs = second.launch("quick", project=1, user=7, media_ids=[1])
            cancelled = second.launch("long", project=1, user=7, media_ids=[1])
            await until(
                lambda: second.list(gid=cancelled.gid), lambda jobs: [job.status for job in jobs] == ["Running"]
            )
            await asyncio.to_thread(second.cancel, cancelled.gid)
            ended = [*await finished(second, theirs.gid), *await finished(second, cancelled.gid)]
        async with running(impatient):
            (job,) = await finished(proxied, unseen.gid)
            await become(
                lambda found: not found["metadata"].get("finalizers"), Workflows(there).get, workflow_name(job.uid, 1)
            )
            assert {job.status for job in proxied.list()} == {"Running", "Succeeded"}
    assert [job.status for job in ended] == ["Succeeded", "Cancelled"]
    changed_by: dict[str, set[str]] = {}
    for key in (foreign, *(job.uid for job in proxied.list()), *(job.uid for job in ended)):
        users = {record["user"]["username"] for verb in ("patch", "update", "delete") for record in audited(verb, key)}
        changed_by[str(key)] = {user.removeprefix(ACCOUNTS) for user in users if user.startswith(ACCOUNTS)}
    first, last = str(proxied.list(gid=unseen.gid)[0].uid), str(proxied.list(gid=runs.gid)[0].uid)
    assert changed_by == {foreign: set(), first: {"argosy"}, last: set()} | {str(job.uid): {SECOND} for job in ended}
    for name in (foreign, *(str(job.id) for job in ended)):
        await remove(there, name)
