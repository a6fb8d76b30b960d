"""The audit itself, in short, and the faults that it found."""

import subprocess
import sys

import orjson
import pytest

from argosy.client import Client
from argosy.kube.connection import Connection
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.faults.actions import Answer, status_body
from tests.faults.audit import WRONG
from tests.faults.conftest import Creates
from tests.faults.plan import FAULTS
from tests.faults.proxy import Proxy
from tests.support.stack import finished, running


@pytest.mark.timeout(600)
def test_a_short_audit_loses_nothing_and_doubles_nothing() -> None:
    command = [sys.executable, "-m", "tests.faults", "audit", "--launches", "120", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    figures = orjson.loads(done.stdout)
    assert {name: figures[name] for name in WRONG} == dict.fromkeys(WRONG, 0)
    assert done.returncode == 0
    assert sum(figures["statuses"].values()) + figures["forgotten"] == figures["launches"] >= 120
    assert figures["faults"].keys() >= {fault.__name__ for fault in FAULTS}
    assert len(figures["request_faults"]) >= 5
    assert figures["witness_gaps"] == 0


async def test_an_apiserver_that_has_not_loaded_its_rules_yet_rejects_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates
) -> None:
    words = (
        'workflows.argoproj.io is forbidden: User "system:serviceaccount:argosy:argosy" cannot create resource "workflows" '
        'in API group "argoproj.io" in the namespace "argosy"'
    )
    proxy.on(Answer(403, status_body(403, "Forbidden", words)), verb="create", resource="workflows", times=2)
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        (job,) = await finished(proxied, launched.gid)
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1
