"""What clusters/jobcluster.yaml grants is what argosy needs, verb by verb: the apiserver's audit log of one life of launches says so."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import Cluster
from tests.conftest import ROOT
from tests.support import rights
from tests.support.manifests import LONG
from tests.support.queues import sql
from tests.support.stack import Direct, finished, running, until


@pytest.fixture
def begin(local_cluster: LocalCluster) -> int:
    """Where the audit log is when this test begins."""
    assert local_cluster.audit_log is not None
    return local_cluster.audit_log.stat().st_size if local_cluster.audit_log.exists() else 0


@pytest.fixture
def registered(begin: int, client: Client, real_cluster: Cluster) -> Client:
    at = real_cluster.at
    client.add_cluster(
        name="here", host=at.host, port=at.port, cert=at.ca, token=at.token, namespace=at.namespace, default=True
    )
    hello = (ROOT / "manifests" / "pipeline.yaml").read_text()
    client.register_algorithm(name="token", project=1, user=7, manifest=hello, files_per_job=1)
    client.register_algorithm(name="long", project=1, user=7, manifest=LONG, files_per_job=1)
    return client


@pytest.fixture
async def stack(registered: Client, settings: Settings) -> AsyncIterator[Direct]:
    async with running(settings) as direct:
        yield direct


async def test_each_granted_verb_is_used_in_one_life_of_launches(
    begin: int, registered: Client, stack: Direct, engine: Engine, local_cluster: LocalCluster
) -> None:
    assert registered.check_cluster("here").missing_permissions == []
    ended = registered.launch("token", project=1, user=7, media_ids=[1], token="token-of-user")
    await finished(registered, ended.gid, 120)
    long = registered.launch("long", project=1, user=7, media_ids=[1])
    uid = long.uids[0]
    await until(lambda: registered.get(uid).status, lambda status: status == "Running", 60)
    registered.logs(uid)
    sql(engine, f"UPDATE argosy.attempt SET unread = true WHERE uid = '{uid}'")  # as after a create without an answer
    await until(lambda: ("argoproj.io", "workflows", "get") in rights.used(local_cluster, begin), bool, 60)
    registered.cancel(uid)
    await finished(registered, long.gid, 120)
    await until(lambda: rights.granted() - rights.used(local_cluster, begin), lambda unused: not unused, 60)
    assert rights.used(local_cluster, begin) - rights.granted() == set()


def test_what_argosy_asks_for_without_a_right_is_found(tmp_path: Path) -> None:
    """Or no fixture that looks for that at the end of all tests could fail (T9)."""
    asked = [
        ("argosy/1", {"resource": "workflows", "apiGroup": "argoproj.io", "namespace": "argosy"}, "list"),
        ("argosy/1", {"resource": "selfsubjectaccessreviews", "apiGroup": "authorization.k8s.io"}, "create"),
        ("httpx", {"resource": "secrets", "namespace": "argosy"}, "get"),
        ("argosy/1", {"resource": "secrets", "namespace": "argosy"}, "get"),
        ("argosy/1", {"resource": "pods"}, "list"),
    ]
    user = {"username": "system:serviceaccount:argosy:argosy"}
    for name, part in (("audit.log", asked[:4]), ("audit-2026-01-01.log", asked[4:])):
        lines = [
            orjson.dumps({"user": user, "userAgent": agent, "objectRef": what, "verb": verb})
            for agent, what, verb in part
        ]
        (tmp_path / name).write_bytes(b"\n".join(lines) + b"\n")
    local = SimpleNamespace(audit_log=tmp_path / "audit.log", connection=SimpleNamespace(namespace="argosy"))
    found = rights.not_granted(cast(LocalCluster, local))
    assert found == {(("", "secrets", "get"), "argosy"), (("", "pods", "list"), "")}
