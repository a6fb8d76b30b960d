"""One job in the browser: its attempts, its steps, its logs."""

import re
from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from argosy.states import State
from tests.conftest import ROOT
from tests.integration.page.conftest import Desk, World

pytestmark = pytest.mark.asyncio(loop_scope="session")

_NODE = """
INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, children, started_at, finished_at, exit_code, message)
SELECT :uid, 1, 'n-' || i, 'task-' || i, CASE i WHEN 0 THEN 'DAG' ELSE 'Pod' END,
    CASE WHEN i IN (0, 1234) THEN 'Failed' ELSE 'Succeeded' END,
    CASE i WHEN 0 THEN (SELECT array_agg('n-' || c) FROM generate_series(1, 1997) c) WHEN 1998 THEN ARRAY['n-1999']
        WHEN 1999 THEN ARRAY['n-1998'] ELSE '{}' END,
    now() - interval '100 seconds' + i * interval '40 ms', now() - interval '90 seconds' + i * interval '40 ms',
    CASE WHEN i = 1234 THEN 3 END, CASE WHEN i = 1234 THEN 'exit code 3' ELSE '' END
FROM generate_series(0, 1999) i
"""
"""2,000 nodes: a root with 1,997 tasks, one of which failed, and two that are each other's child."""


async def test_two_thousand_steps_show_the_failed_one_and_fold_the_others(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    world.end(gid, State.FAILED)
    (job,) = world.client.list(gid=gid)
    world.set(_NODE, uid=job.uid)
    page = await desk.page()
    answer = await page.goto(f"{world.url}/ui/job/{job.uid}")
    assert answer is not None
    assert len(await answer.body()) < 200_000
    tree = page.locator(".tree")
    failed = tree.locator("li", has_text="task-1234")
    await expect(failed).to_be_visible()
    await expect(failed).to_contain_text("exit code 3")
    bar = failed.locator(".gantt rect")
    assert 40 < float(await bar.get_attribute("x") or 0) < 70
    assert float(await bar.get_attribute("width") or 0) > 5
    await expect(tree).to_contain_text(re.compile("1[,\u202f\u00a0]?99[0-9]"))
    assert await tree.locator("li").count() < 50
    await expect(tree).to_contain_text("task-1998")
    await tree.locator(".fold").first.click()
    await expect(page.locator(".tree li", has_text=re.compile(r"task-1\b"))).to_be_visible()
    assert len(await page.content()) < 300_000


async def test_a_job_is_retried_with_what_is_registered_now_and_each_attempt_says_what_it_ran(
    world: World, desk: Desk
) -> None:
    project = world.project()
    gid = world.launched(project, 2)
    world.end(gid, State.FAILED)
    (job, other) = world.client.list(gid=gid)
    page = await desk.page(f"job/{job.uid}/latest")
    await expect(page.locator("main")).to_contain_text("is what these jobs ran")
    await expect(page.get_by_role("button", name="Retry 1 job")).to_be_disabled()
    manifest = (ROOT / "manifests" / "count-media.yaml").read_text()
    world.client.update_algorithm(f"hello-{project}", manifest=manifest)
    await page.goto(f"{world.url}/ui/job/{job.uid}")
    await page.get_by_role("link", name="with what is registered now").click()
    await expect(page.locator("main")).to_contain_text(f"than these jobs ran: {job.manifest_digest[:12]}")
    await page.get_by_role("button", name="Retry 1 job").click()
    row = page.locator(".side tr", has_text="Manifest")
    new = world.client.get(job.uid).manifest_digest
    assert new != job.manifest_digest
    await expect(row).to_contain_text(re.compile(f"{job.manifest_digest[:12]}.*{new[:12]}", re.DOTALL))
    await page.goto(f"{world.url}/ui/launch/{gid}/latest")
    await page.get_by_role("button", name="Retry 1 job").click()
    await expect(page.locator(".counts")).to_contain_text("Queued 2")
    assert world.client.get(other.uid).manifest_digest == new


async def test_attempts_are_side_by_side_and_only_what_failed_is_retried_while_others_run(
    world: World, desk: Desk
) -> None:
    project = world.project()
    gid = world.launched(project, 3)
    world.end(gid, State.FAILED, 0, 0, message="first", code=1)
    page = await desk.page(f"launch/{gid}")
    await page.get_by_role("button", name="Retry what failed").click()
    await page.get_by_role("button", name="Retry 1 job").click()
    await expect(page.locator("main")).to_contain_text("1 done")
    jobs = world.client.list(gid=gid)
    assert [job.attempt for job in jobs] == [2, 1, 1]
    world.end(gid, State.FAILED, 0, 0, message="second", code=2)
    await page.goto(f"{world.url}/ui/job/{jobs[0].uid}")
    table = page.get_by_role("region", name="Attempts side by side")
    await expect(table.get_by_role("columnheader")).to_contain_text(["Attempt 1", "Attempt 2"])
    await expect(table.get_by_role("row", name=re.compile("^Message"))).to_contain_text(re.compile("first *second"))
    await table.get_by_role("link", name="Attempt 1").click()
    await expect(page).to_have_url(re.compile("attempt=1"))
    await expect(page.locator("h1 + .state")).to_have_text("Failed")


async def test_a_kept_log_is_shown_when_the_pod_is_gone_and_says_so(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    world.end(gid, State.FAILED)
    (job,) = world.client.list(gid=gid)
    world.set(
        "INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, children, pod, exit_code) "
        "VALUES (:uid, 1, 'n-1', 'detect', 'Pod', 'Failed', '{}', 'pod-1', 3)",
        uid=job.uid,
    )
    world.set(
        "INSERT INTO argosy.container_log (uid, attempt, node_id, container, exit_code, text, cut) "
        "VALUES (:uid, 1, 'n-1', 'main', 3, :text, false)",
        uid=job.uid,
        text="reading\n<b>boom</b>\n",
    )
    page = await desk.page(f"job/{job.uid}")
    log = page.locator(".log")
    await expect(log).to_contain_text("kept when it failed")
    await expect(log.locator("pre")).to_contain_text("<b>boom</b>")
    await page.get_by_role("link", name="Read from the cluster").click()
    await expect(page.locator(".log pre")).to_contain_text("boom")
    await expect(page.locator("#log-note")).to_contain_text(re.compile("gone|no pod|not there|does not"))


async def test_times_are_local_with_their_zone_and_utc_on_hover(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    page = await desk.page(f"launch/{gid}", timezone_id="America/New_York", locale="en-US")
    shown = page.locator(".facts time")
    made = world.client.launches(gid=gid)[0].created_at.astimezone(UTC)
    assert datetime.fromisoformat(await shown.get_attribute("datetime") or "") == made.replace(
        microsecond=made.microsecond // 1000 * 1000
    )
    await expect(shown).to_contain_text(re.compile("E[SD]T$"))
    await expect(shown).to_have_attribute("title", f"{made:%Y-%m-%d %H:%M:%S} UTC")
