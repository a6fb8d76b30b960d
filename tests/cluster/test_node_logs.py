"""Logs of real containers on a real node: read while they run, kept when they fail, and there when their pods are gone."""

import asyncio
import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect
from prometheus_client import REGISTRY

from argosy.api.app import create_app
from argosy.client import Client
from argosy.kube.check import check
from argosy.kube.connection import Connection
from argosy.settings import Settings
from argosy.shapes.shown import LogShape
from argosy.store import api_tokens
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import access
from tests.cluster.manifests import IMAGE
from tests.faults.conftest import become
from tests.support import pages
from tests.support.browser import ARGUMENTS, chromium
from tests.support.cli import command_output, executable, started
from tests.support.on_node import PATIENCE, at, begun, ended, launch, manifest, stack
from tests.support.platform import serving
from tests.support.readme import exported
from tests.support.stack import Direct, finished, until

SET = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: set-}}
spec:
  entrypoint: main
  templates:
    - name: main
      containerSet:
        containers:
          - {{name: good, image: {image}, command: [sh, -c], args: ["echo from the good one"]}}
          - {{name: bad, image: {image}, command: [sh, -c], args: ["echo from the bad one; exit 4"], dependencies: [good]}}
"""

STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: steps-}}
spec:
  entrypoint: main
  templates:
    - name: main
      steps:
        - - {{name: first, template: say}}
          - {{name: again, template: fails}}
        - - {{name: last, template: say}}
    - name: say
      container:
        image: {image}
        command: [sh, -c]
        args: ['for i in 1 2 3; do echo "line $i of $0"; sleep 1; done', "{{{{pod.name}}}}"]
    - name: fails
      retryStrategy: {{limit: 1}}
      container: {{image: {image}, command: [sh, -c], args: ["echo it fails; exit 1"]}}
"""

COUNTS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: counts-}}
spec:
  entrypoint: main
  templates:
    - name: main
      steps: [[{{name: counts, template: counts}}], [{{name: stays, template: stays}}]]
    - name: counts
      container: {{image: {image}, command: [sh, -c], args: ["for i in 1 2 3 4 5 6 7 8 9; do echo line $i; sleep 1; done"]}}
    - name: stays
      container: {{image: {image}, command: [sh, -c], args: ["sleep 600"]}}
"""

DETECT = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {{generateName: detect-}}
spec:
  entrypoint: main
  templates:
    - name: main
      steps: [[{{name: detect, template: detect}}]]
    - name: detect
      container:
        image: {image}
        command: [sh, -c]
        args: ['echo "medium {{{{workflow.parameters.media_ids}}}}"; test {{{{workflow.parameters.media_ids}}}} = 2 && sleep 600']
"""

__all__ = ["at", "stack"]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return exported(settings)


async def kept(client: Client, count: int = 1) -> LogShape:
    """What is kept of the one job, once it is so many logs."""
    (job,) = client.list()
    return await until(lambda: client.logs(job.uid, ask=False), lambda found: len(found.logs) == count, PATIENCE)


def asked() -> float:
    return (
        REGISTRY.get_sample_value(
            "argosy_kubernetes_requests_total",
            {"cluster": "node", "verb": "get", "resource": "pods/log", "code": "200"},
        )
        or 0.0
    )


async def test_the_reason_of_a_failure_outlives_its_pod(
    at: Client, stack: Direct, local_node: LocalCluster, environment: dict[str, str]
) -> None:
    launch(at, manifest('printf "\\\\033[31mred\\\\033[0m nul:\\\\000 bad:\\\\377\\\\n"; echo no space left; exit 3'))
    job = await ended(at)
    assert job.status == "Failed"
    found = await kept(at)
    text = "red nul:\ufffd bad:\ufffd\nno space left\nError: exit status 3\n"  # the last line is Argo's
    assert [(each.container, each.exit_code, each.cut, each.text) for each in found.logs] == [("main", 3, False, text)]

    now = await asyncio.to_thread(at.logs, job.uid)
    assert ([(each.source, each.text) for each in now.logs], now.note) == ([("cluster", text)], "")

    local_node.kubectl("delete", "pods", "-n", "argosy", "-l", f"workflows.argoproj.io/workflow={job.id}")
    later = await asyncio.to_thread(at.logs, job.uid)
    assert [(each.source, each.text) for each in later.logs] == [("kept", text)]
    assert later.note == f"pods that are gone: {job.nodes[0].task}"
    code, out, err = await command_output(f"logs {job.uid} --tail 1", environment)
    assert (code, out) == (0, "Error: exit status 3\n")
    assert "pods that are gone" in err
    code, out, err = await command_output(f"logs {job.gid} --failed", environment)
    assert (code, out) == (0, text)


async def test_the_commands_of_the_page_on_logs(
    at: Client, stack: Direct, local_node: LocalCluster, environment: dict[str, str]
) -> None:
    at.register_algorithm(name="detect", project=1, user=7, manifest=DETECT.format(image=IMAGE), files_per_job=1)
    gid = at.launch("detect", project=1, user=7, media_ids=[1, 2]).gid
    await begun(local_node, "medium 2")
    failed = await until(lambda: [job for job in at.list(gid=gid) if job.status == "Failed"], bool, PATIENCE)
    (block,) = [block for block in pages.SHELL if block.stage == "node"]
    words = {"GID": str(gid), "UID": str(failed[0].uid)}
    path = {"PATH": f"{Path(executable()).parent}:{os.environ['PATH']}"}
    printed = await asyncio.to_thread(pages.run, block, environment | path, words)
    assert printed.count("medium 1\n") == 4
    assert printed.count("medium 2\n") == 1
    at.cancel(gid)
    await finished(at, gid, PATIENCE)


async def test_a_job_that_succeeds_costs_no_request_for_logs(
    at: Client, stack: Direct, environment: dict[str, str]
) -> None:
    before = asked()
    launch(at, manifest("echo all is well"))
    job = await ended(at)
    assert (job.status, asked() - before) == ("Succeeded", 0)
    assert (await command_output(f"logs {job.uid}", environment))[:2] == (0, "all is well\n")
    code, out, err = await command_output(f"logs {job.gid}", environment)
    assert (code, out) == (1, "")
    assert "no job of it runs" in err


async def test_of_a_long_log_the_end_is_kept(at: Client, stack: Direct, environment: dict[str, str]) -> None:
    launch(at, manifest("yes 0123456789 | head -n 300000; echo the end; exit 1"))
    job = await ended(at)
    found = await kept(at)
    (log,) = found.logs
    assert log.cut
    assert len(log.text) <= 64 << 10
    assert log.text.endswith("0123456789\nthe end\nError: exit status 1\n")
    assert (await command_output(f"logs {job.uid} --tail 2", environment))[:2] == (0, "the end\nError: exit status 1\n")


async def test_of_a_set_of_containers_those_are_kept_that_failed(at: Client, stack: Direct) -> None:
    launch(at, SET.format(image=IMAGE))
    job = await ended(at)
    found = await kept(at)
    assert [(each.container, each.exit_code, each.text) for each in found.logs] == [
        ("bad", 4, "from the bad one\nError: exit status 4\n")
    ]
    (pod,) = [node.pod for node in job.nodes if node.type == "Pod"]
    (reason,) = at.explain(job.uid).reasons
    assert f"(pod {pod}, container bad, on " in reason.text
    assert reason.do.startswith(f"argosy logs {job.uid} --node bad; ")
    all_ = await asyncio.to_thread(at.logs, job.uid)
    assert {each.container: each.text for each in all_.logs} == {
        "good": "from the good one\n",
        "bad": "from the bad one\nError: exit status 4\n",
    }
    for key in ("bad", next(node.id for node in job.nodes if node.task == "bad")):
        one = await asyncio.to_thread(partial(at.logs, job.uid, node=key))
        assert [each.container for each in one.logs] == ["bad"], key


async def test_several_pods_are_followed_with_their_names_until_the_job_ends(
    at: Client, stack: Direct, environment: dict[str, str]
) -> None:
    stands = launch(at, STEPS.format(image=IMAGE))
    await until(at.list, lambda jobs: [job.status for job in jobs] == ["Running"], PATIENCE)
    code, out, err = await command_output(f"logs {stands().uid} --follow", environment, seconds=PATIENCE)
    assert (code, err) == (0, "")
    lines = [re.sub(r" of \S+$", "", line) for line in out.splitlines()]
    fails = [f"again({at}): {words}" for at in (0, 1) for words in ("it fails", "Error: exit status 1")]
    assert sorted(lines) == sorted([*(f"first: line {at}" for at in (1, 2, 3)), *fails])
    assert [line for line in lines if line.startswith("first")] == [f"first: line {at}" for at in (1, 2, 3)]
    job = await ended(at)
    again = await asyncio.to_thread(lambda: at.logs(job.uid, node="again"))
    assert [each.task for each in again.logs] == ["again(0)", "again(1)"]
    failed = await asyncio.to_thread(lambda: at.logs(job.uid, failed=True))
    assert {each.text for each in failed.logs} == {"it fails\nError: exit status 1\n"}


@pytest.mark.parametrize("how", ["interrupt", "closed pipe"])
async def test_a_follower_ends_quietly(
    at: Client, stack: Direct, local_node: LocalCluster, environment: dict[str, str], how: str
) -> None:
    stands = launch(at, manifest("while :; do echo again; sleep 0.2; done"))
    await begun(local_node, "again")

    def follow() -> tuple[int, bytes, bytes]:
        with started("logs", str(stands().uid), "--follow", environment=environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            if how == "interrupt":
                process.send_signal(signal.SIGINT)
            else:
                process.stdout.close()
            code = process.wait(30)
            return code, line, process.stderr.read()

    assert await asyncio.to_thread(follow) == (130 if how == "interrupt" else 1, b"again\n", b"")
    at.cancel(stands().uid)
    assert (await ended(at)).status == "Cancelled"


async def test_a_log_is_followed_on_the_page_and_stays_there_when_its_pod_is_gone(
    at: Client, stack: Direct, local_node: LocalCluster, settings: Settings
) -> None:
    stands = launch(at, COUNTS.format(image=IMAGE))
    pod = await begun(local_node, "line 1")
    with at.engine.begin() as connection:
        _, token = api_tokens.create(
            connection, name="t", user=7, role="read", projects=[1], organizations=None, days=1, sealed=None
        )
    app = create_app(settings.model_copy(update={"auth": "tokens"}))
    with serving(app) as url:
        async with (
            async_playwright() as driver,
            await driver.chromium.launch(executable_path=chromium(), args=ARGUMENTS) as browser,
        ):
            page = await browser.new_page()
            await page.context.add_cookies([{"name": "argosy_token", "value": token, "url": f"{url}/ui/"}])
            await page.goto(f"{url}/ui/job/{stands().uid}/log")
            text = page.locator(".log pre").first
            await expect(page.locator("#live-state")).to_have_text("Following")
            await expect(text).to_contain_text("line 1\n")
            await expect(text).to_contain_text("line 9\n", timeout=60_000)
            await until(
                stands, lambda job: ("counts", "Succeeded") in [(n.task, n.status) for n in job.nodes], PATIENCE
            )
            await asyncio.to_thread(local_node.kubectl, "delete", "pod", "-n", "argosy", pod)
            await expect(page.locator("#log-note")).to_have_text("pods that are gone: counts", timeout=60_000)
            await expect(text).to_contain_text("line 9\n")
            at.cancel(stands().uid)
            await ended(at)
            await expect(page.locator(".facts")).to_contain_text("Cancelled", timeout=60_000)
            await expect(text).to_contain_text("line 9\n")
            await expect(page.locator("#live-state")).to_have_text("Live")
        app.state.hub.stop()


async def test_where_the_role_for_logs_is_missing_the_check_says_so(local_node: LocalCluster, mine: str) -> None:
    there = await asyncio.to_thread(local_node.namespace, mine)
    async with Connection(access(there)) as connection:
        assert (await check(connection, "argosy.dev/installation=none")).logs is True
        local_node.kubectl("delete", "rolebinding", "-n", mine, "argosy-logs")

        async def permitted() -> bool | None:
            return (await check(connection, "argosy.dev/installation=none")).logs

        await become(lambda is_permitted: is_permitted is False, permitted)
