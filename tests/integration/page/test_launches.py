"""Launches in the browser: how far they are, live; what failed; why the rest waits."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from argosy.shapes.filters import JobFilter
from argosy.states import State
from argosy.store import bulks
from tests.integration.page.conftest import Desk, World
from tests.support.stack import finished, running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_launch_comes_first_with_its_counts_and_its_jobs_are_folded_below(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 8)
    world.end(gid, State.SUCCEEDED, 0, 3)
    world.end(gid, State.FAILED, 4, 5)
    page = await desk.page(f"launches?project={project}")
    row = page.locator(f"#l-{gid}")
    await expect(row).to_contain_text("75 % done")
    await expect(row).to_contain_text("6 of 8 jobs")
    await expect(row).to_contain_text(re.compile(r"a (second|min)|[0-9] a s"))
    await expect(row).to_contain_text("left")
    await expect(row.get_by_role("img")).to_have_attribute("aria-label", re.compile("2 Failed.*4 Succeeded"))
    await row.get_by_role("link", name=f"hello-{project}").click()
    await expect(page.locator("#jobs li").first).to_be_hidden()
    await page.locator("#jobs summary").click()
    await expect(page.locator("#jobs .row")).to_have_count(8)


async def test_counts_follow_a_real_launch_without_a_reload(world: World, desk: Desk) -> None:
    project = world.project()
    name = world.algorithm(project, "hello")
    page = await desk.page(f"launches?project={project}")
    await expect(page.locator("#live-state")).to_have_text("Live")
    await page.evaluate("() => { window.same = true }")
    async with running(world.settings):
        launched = world.client.launch(name, project=project, user=7, media_ids=range(1, 6), token="t")
        row = page.locator(f"#l-{launched.gid}")
        await expect(row).to_contain_text("100 % done")
        await expect(row).to_contain_text("5 Succeeded")
        await finished(world.client, launched.gid)
    assert await page.evaluate("() => window.same"), "the page was not loaded again"


async def test_failures_are_in_groups_and_one_group_is_retried_alone(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 7)
    world.end(gid, State.FAILED, 0, 2, message="no such file /data/17.mp4", code=2)
    world.end(gid, State.FAILED, 3, 4, message="out of memory", code=137)
    page = await desk.page(f"launch/{gid}")
    groups = page.locator(".failures .row")
    await expect(groups).to_have_count(2)
    await expect(groups.first).to_contain_text("3 jobs")
    assert await page.evaluate(
        "() => document.querySelector('.failures').compareDocumentPosition(document.querySelector('#jobs')) & 4"
    ), "what failed comes first"
    await groups.nth(1).get_by_role("button", name="Retry this group").click()
    await expect(page.get_by_role("heading", name="Retry 2 jobs?")).to_be_visible()
    assert [job.attempt for job in world.client.list(gid=gid)] == [1] * 7, "a count changes nothing"
    await page.get_by_role("button", name="Retry 2 jobs").click()
    await expect(page.get_by_role("heading", name="Done")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("2 done")
    jobs = world.client.list(gid=gid)
    assert [(job.attempt, job.status) for job in jobs[:3]] == [(1, "Failed")] * 3
    assert [(job.attempt, job.status) for job in jobs[3:]] == [(2, "Queued")] * 2 + [(1, "Queued")] * 2
    await page.reload()
    await expect(page.locator("main")).to_contain_text("2 done")
    assert [job.attempt for job in world.client.list(gid=gid)] == [1, 1, 1, 2, 2, 1, 1], "a reload does nothing again"


async def test_a_row_says_why_its_job_waits_and_what_to_do(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 2)
    world.client.pause(project=project, reason="new labels")
    page = await desk.page(f"launch/{gid}?status=Queued")
    row = page.locator("#jobs .row").first
    await expect(row).to_contain_text(f"project {project} is paused: new labels")
    await expect(row).to_contain_text(f"argosy project resume {project}")


async def test_all_jobs_of_a_filter_are_cancelled_and_none_that_fits_it_later(world: World, desk: Desk) -> None:
    project = world.project()
    first = world.launched(project, 5)
    world.end(first, State.SUCCEEDED, 0, 0)
    page = await desk.page(f"jobs?project={project}&status=Queued")
    await page.get_by_role("button", name="Cancel all").click()
    await expect(page.get_by_role("heading", name="Cancel 4 jobs?")).to_be_visible()
    later = world.launched(project, 3)  # fits the filter now
    world.end(first, State.SUCCEEDED, 1, 1)  # does not fit it any more
    await page.get_by_role("button", name="Cancel 4 jobs").click()
    await expect(page.locator("main")).to_contain_text("3 done")
    await expect(page.locator("main")).to_contain_text("1 not done")
    assert [job.status for job in world.client.list(gid=later)] == ["Queued"] * 3
    assert [job.status for job in world.client.list(gid=first)] == ["Succeeded"] * 2 + ["Cancelled"] * 3


async def test_a_priority_is_given_to_the_jobs_of_a_filter(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 2)
    page = await desk.page(f"launch/{gid}?status=Queued")
    await page.get_by_label("Priority").fill("7")
    await page.get_by_role("button", name="Set").click()
    await page.get_by_role("button", name="Set priority 7 of 2 jobs").click()
    await expect(page.locator("main")).to_contain_text("2 done")


async def test_the_url_is_the_whole_state_and_filters_are_chips_that_counts_follow(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 6)
    world.end(gid, State.FAILED, 0, 1)
    page = await desk.page(f"jobs?project={project}")
    await expect(page.locator(".jobs .row")).to_have_count(6)
    await page.locator(".counts").get_by_role("link", name="Failed 2").click()
    await expect(page).to_have_url(re.compile(f"project={project}.*status=Failed|status=Failed.*project={project}"))
    await expect(page.locator(".jobs .row")).to_have_count(2)
    chips = page.get_by_role("list", name="Filters").get_by_role("listitem")
    await expect(chips).to_contain_text([f"Project {project}", "Status Failed", "Clear all"])
    await expect(page.locator(".counts")).to_contain_text("Queued")
    address = page.url
    await page.go_back()
    await expect(page.locator(".jobs .row")).to_have_count(6)
    await page.go_forward()
    await expect(page.locator(".jobs .row")).to_have_count(2)
    other = await desk.page()
    await other.goto(address)
    await expect(other.locator(".jobs .row")).to_have_count(2)
    await chips.filter(has_text="Status").get_by_role("link").click()
    await expect(page.locator(".jobs .row")).to_have_count(6)


async def test_a_wrong_filter_is_told_in_words(world: World, desk: Desk) -> None:
    page = await desk.page("jobs?colour=red")
    await expect(page.get_by_role("alert")).to_contain_text("colour")
    await desk.excuse()  # of the status 400


async def test_pages_follow_each_other_and_none_is_shown_twice(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 120)
    page = await desk.page(f"jobs?project={project}")
    seen: list[str] = []
    while True:
        seen += await page.locator(".jobs .row").evaluate_all("rows => rows.map(row => row.id)")
        following = page.get_by_role("link", name="Next page")
        if not await following.count():
            break
        await following.click()
        await page.wait_for_url(re.compile("cursor="))
        await expect(page.locator(f"#{seen[-1]}")).to_have_count(0)
    assert seen == [f"j-{job.uid}" for job in world.client.list(gid=gid, limit=1000)]


async def test_the_search_box_finds_by_each_of_what_people_have(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 2, extra_params=[{"name": "threshold", "value": f"0.{project}"}])
    world.end(gid, State.SUCCEEDED)
    job = world.client.list(gid=gid)[1]
    page = await desk.page("launches")
    for words, address in (
        (str(job.uid), f"/job/{job.uid}"),
        (str(gid), f"/launch/{gid}"),
        (str(job.id), f"/job/{job.uid}"),
        (f"threshold=0.{project}", f"/launch/{gid}"),
    ):
        await page.get_by_role("searchbox").fill(words)
        await page.get_by_role("button", name="Search").click()
        await expect(page).to_have_url(re.compile(re.escape(address)))
    await page.get_by_role("searchbox").fill("nothing-like-this")
    await page.get_by_role("searchbox").press("Enter")
    await expect(page.locator("main")).to_contain_text("Nothing found")


async def test_a_bulk_whose_process_was_killed_is_gone_on_with(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 3)
    prepared = world.client.prepare("cancel", JobFilter(gid=gid), user=7)
    with world.client.engine.begin() as connection:
        bulks.begin(connection, prepared.id)
    page = await desk.page(f"act/{prepared.id}")
    await expect(page.get_by_role("heading", name="Under way")).to_be_visible()
    await page.get_by_role("button", name="Go on with the rest").click()
    await expect(page.get_by_role("heading", name="Done")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("3 done")


async def test_the_form_keeps_the_whole_filter(world: World, desk: Desk) -> None:
    project = world.project()
    query = (
        f"project={project}&project=5&status=Error&status=Failed&index=1&error=deadbeef&param=a%3Db&param=threshold%3D0.5"
        "&since=2026-11-29T14:30:05Z&failed=true&sort=oldest"
    )
    for path in ("jobs", "launches"):
        page = await desk.page(f"{path}?{query}")
        await page.locator("#filters summary").click()
        await page.get_by_label("User").fill("7")
        await page.get_by_role("button", name="Apply").click()
        await expect(page.get_by_role("list", name="Filters")).to_contain_text("User 7")
        assert JobFilter.of_query(urlsplit(page.url).query) == JobFilter.of_query(f"{query}&user=7")


async def test_the_counts_of_a_launch_follow_the_filter(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 6)
    world.end(gid, State.FAILED, 0, 1, message="no such file")
    world.end(gid, State.FAILED, 2, 2, message="out of memory", code=137)
    page = await desk.page(f"launch/{gid}")
    await expect(page.locator(".counts")).to_have_text(re.compile(r"Failed 3\s*Queued 3"))
    await page.locator(".failures .row").nth(1).get_by_role("link", name="1 job").click()
    await expect(page.locator(".counts")).to_have_text(re.compile(r"^\s*Failed 1\s*$"))


async def test_a_job_has_the_id_that_the_terminal_takes_and_a_launch_says_how_it_is(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 2)
    page = await desk.page(f"launch/{gid}?index=1")
    await expect(page.locator("h1 + .state")).to_have_text("Running")
    await page.locator("#jobs .row").get_by_role("link", name=f"{str(gid)[:8]}/1").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(
        f"hello-{world.client.launches(gid=gid)[0].project} {str(gid)[:8]}/1"
    )
    world.end(gid, State.FAILED)
    await page.goto(f"{world.url}/ui/launch/{gid}")
    await expect(page.locator("h1 + .state")).to_have_text("Failed")
    assert world.client.resolve(f"{str(gid)[:8]}/1") == world.client.list(gid=gid)[1].uid
