"""What clusters/jobcluster.yaml grants is what argosy needs, verb by verb: the apiserver's audit log of one life of launches says so."""

import os
import re
import subprocess
import sys
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


_WORLDS = """
from pathlib import Path
from types import SimpleNamespace
import orjson
import pytest
from tests.support import rights

HERE = Path(__file__).parent
ALLOWED = {("argoproj.io", "workflows", "create"), ("", "pods", "list")}


def pytest_configure(config):
    config.pluginmanager.register(rights.Tally(config, ALLOWED, set(HERE.glob("test_*.py"))))


@pytest.fixture(scope="session")
def local(pytestconfig, tmp_path_factory):
    found = SimpleNamespace(
        audit_log=tmp_path_factory.mktemp("audit") / "audit.log", connection=SimpleNamespace(namespace="argosy")
    )
    found.audit_log.touch()
    yield found
    rights.settle(pytestconfig, found)


@pytest.fixture
def ask(local):
    def ask(**what):
        record = {"user": {"username": "system:serviceaccount:argosy:argosy"}, "userAgent": "argosy/1", **what}
        with local.audit_log.open("ab") as log:
            log.write(orjson.dumps(record) + b"\\n")
    return ask
"""

_CREATES = "def test_it(ask): ask(verb='create', objectRef={'resource': 'workflows', 'apiGroup': 'argoproj.io', 'namespace': 'argosy'})\n"
_LISTS = "def test_it(ask): ask(verb='list', objectRef={'resource': 'pods', 'namespace': 'argosy'})\n"
_NOTHING = "def test_nothing(): pass\n"


@pytest.mark.parametrize(
    ("second", "options", "code", "said"),
    [
        (_LISTS, ["-n2"], 0, "2 of 2 rights were used"),
        (_NOTHING, ["-n2"], 1, "1 of 2 rights were used; granted .*: ('', 'pods', 'list')"),
        (_NOTHING, ["-k", "test_it"], 0, None),
    ],
)
def test_what_is_granted_and_used_in_no_world_fails_a_whole_run(
    tmp_path: Path, second: str, options: list[str], code: int, said: str | None
) -> None:
    (tmp_path / "conftest.py").write_text(_WORLDS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_a.py").write_text(_CREATES)
    (tmp_path / "test_b.py").write_text(second)
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    found = re.search("(\\d of \\d rights were used.*)", ran.stdout)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert re.fullmatch(re.escape(said).replace(r"\.\*", ".*"), found[1])
