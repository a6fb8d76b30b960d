"""A retry is a new attempt; the old one, wherever it turns up again, changes nothing and does not run on (P4, P6)."""

import asyncio
import math
from base64 import b64decode
from dataclasses import replace

from sqlalchemy import text

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_GID
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults.actions import Drop, Edit, Request
from tests.faults.conftest import Creates, ours
from tests.faults.proxy import Proxy
from tests.support.seen import shown, strangers, terminated
from tests.support.stack import running, until


def blind(request: Request) -> Request:
    """A list that finds nothing."""
    return replace(request, query=request.query | {"labelSelector": "argosy.dev/installation=none"})


async def test_a_first_attempt_that_was_believed_lost_and_reappears_is_ended_and_the_second_goes_on(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    proxied.update_algorithm("long", max_attempts=2, retry_backoff=0)
    launched = proxied.launch("long", project=1, user=7, media_ids=[1])
    async with running(impatient):
        first = await shown(proxied, launched.gid, "Running")
    # As after a restore of etcd from before the create.
    proxy.on(Edit(blind), verb="list", resource="workflows", times=math.inf)
    proxy.on(Drop(), verb="watch", resource="workflows", times=math.inf)
    async with running(impatient):
        await until(lambda: proxied.get(first.uid).attempt, lambda attempt: attempt == 2)
        assert proxied.get(first.uid, attempt=1).status == "Lost"
        alarms = strangers()
        proxy.clear()
        # A watch that goes on from a list that was blind would never say what the list kept back.
        proxy.on(Drop(), verb="watch", resource="workflows", times=math.inf)
        lists = len(proxy.saw("list"))
        await until(lambda: len(proxy.saw("list")), lambda now: now > lists + 1, 60)
        proxy.clear()
        await until(lambda: proxied.get(first.uid).status, lambda status: status == "Running")
        assert first.id is not None
        k8s_uid = (await Workflows(there).get(first.id))["metadata"]["uid"]
        await terminated(Workflows(there), first.id, k8s_uid)
    second = proxied.get(first.uid)
    assert (second.attempt, second.status) == (2, "Running")
    assert proxied.get(first.uid, attempt=1).status == "Lost"
    assert strangers() > alarms
    assert creates(first.uid) == 2


async def test_the_old_attempt_and_its_nodes_stay_readable_beside_the_new_one(
    proxied: Client, impatient: Settings, there: Connection, creates: Creates
) -> None:
    launched = proxied.launch("long", project=1, user=7, media_ids=[1])
    async with running(impatient) as direct:
        job = await shown(proxied, launched.gid, "Running")
        proxied.cancel(job.uid)
        await shown(proxied, launched.gid, "Cancelled")
        assert proxied.retry(launched.gid) == 1
        await shown(proxied, launched.gid, "Running")
        old, new = proxied.get(job.uid, attempt=1), proxied.get(job.uid)
        phases = {item["metadata"]["name"]: item["status"]["phase"] for item in await ours(direct.engine, there)}
    assert (old.status, new.status) == ("Cancelled", "Running")
    assert old.nodes
    assert new.nodes
    assert phases == {old.id: "Failed", new.id: "Running"}
    assert creates(job.uid) == 2


async def test_a_retry_with_a_new_token_hands_the_new_one_to_its_pods(
    proxied: Client, impatient: Settings, there: Connection, local_cluster: LocalCluster
) -> None:
    launched = proxied.launch("long-with-token", project=1, user=7, media_ids=[1], token="first")
    async with running(impatient) as direct:
        await shown(proxied, launched.gid, "Running")
        proxied.cancel(launched.gid)
        await shown(proxied, launched.gid, "Cancelled")

        def wiped() -> bool:
            with direct.engine.connect() as connection:
                return bool(connection.execute(text("SELECT token_wiped FROM argosy.launch")).scalar_one())

        await until(wiped, bool)
        assert proxied.retry(launched.gid, token="second") == 1
        await shown(proxied, launched.gid, "Running")
        path = f"/api/v1/namespaces/{there.access.namespace}/secrets?labelSelector={LABEL_GID}%3D{launched.gid}"
        (secret,) = (await asyncio.to_thread(local_cluster.admin.get, path)).json()["items"]
        assert b64decode(secret["data"]["rest_token"]) == b"second"
        proxied.cancel(launched.gid)
        await shown(proxied, launched.gid, "Cancelled")
