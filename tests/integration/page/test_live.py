"""How the page keeps itself up to date: the stream, what stays as it was, what is said when nothing is known any more."""

import asyncio
import re
from itertools import pairwise

import pytest
from playwright.async_api import Page, Route, expect

from argosy.demo.simulator import SimulatedCluster
from argosy.states import State
from tests.integration.page.conftest import Desk, World
from tests.support.stack import running, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_HIDE = """() => {
  let hidden = false;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  window.hide = (value) => { hidden = value; document.dispatchEvent(new Event("visibilitychange")); };
}"""
"""A headless browser's tabs are all visible, so a tab is told that it is hidden."""


async def _watched(page: Page) -> list[str]:
    """The addresses that a tab asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


async def test_a_refresh_keeps_open_parts_focus_scroll_and_what_is_typed(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 60)
    page = await desk.page(f"launch/{gid}")
    await expect(page.locator("#live-state")).to_have_text("Live")
    await page.locator("#jobs > summary").click()
    await page.locator("#events > summary").click()
    link = page.locator("#jobs .row a").nth(30)
    await link.focus()
    await page.evaluate("() => scrollTo(0, 900)")
    await page.get_by_role("searchbox").evaluate("box => { box.value = 'half a wo'; }")
    place = await page.evaluate("() => scrollY")
    world.end(gid, State.SUCCEEDED, 50, 59)
    await expect(page.locator(".progress")).to_contain_text("10 of 60 jobs")
    await expect(page.locator("#jobs")).to_have_attribute("open", "")
    await expect(page.locator("#events")).to_have_attribute("open", "")
    await expect(link).to_be_focused()
    assert await page.evaluate("() => scrollY") == place
    await expect(page.get_by_role("searchbox")).to_have_value("half a wo")


async def test_a_busy_launch_makes_one_refresh_a_second_at_most_and_a_pause_none(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 40)
    page = await desk.page(f"launch/{gid}")
    await expect(page.locator("#live-state")).to_have_text("Live")
    times: list[float] = []
    page.on(
        "request",
        lambda request: times.append(asyncio.get_running_loop().time()) if "hx-request" in request.headers else None,
    )
    for number in range(30):
        world.end(gid, State.SUCCEEDED, number, number)
        await asyncio.sleep(0.1)
    await expect(page.locator(".progress")).to_contain_text("30 of 40 jobs")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times
    assert all(gap > 0.9 for gap in gaps), gaps
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#live-state")).to_have_text("Paused")
    asked = await _watched(page)
    world.end(gid, State.SUCCEEDED, 30, 34)
    other = await desk.page(f"launch/{gid}")
    await expect(other.locator(".progress")).to_contain_text("35 of 40 jobs")
    assert asked == []
    await expect(page.locator(".progress")).to_contain_text("30 of 40 jobs")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator(".progress")).to_contain_text("35 of 40 jobs")


async def test_a_hidden_tab_has_no_stream_and_is_up_to_date_when_it_is_looked_at(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 3)
    page = await desk.page()
    await page.add_init_script(f"({_HIDE})()")
    await page.goto(f"{world.url}/ui/launch/{gid}")
    await expect(page.locator("#live-state")).to_have_text("Live")
    hub = world.app.state.hub
    listening = hub.readers
    await page.evaluate("() => window.hide(true)")
    await until(lambda: hub.readers, lambda readers: readers < listening)
    asked = await _watched(page)
    world.end(gid, State.SUCCEEDED)
    assert asked == []
    await page.evaluate("() => window.hide(false)")
    await expect(page.locator(".progress")).to_contain_text("100 % done")


async def test_two_tabs_show_the_same(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 3)
    window = await desk.window()
    tabs = [await desk.page(f"launch/{gid}", context=window) for _ in range(2)]
    for tab in tabs:
        await expect(tab.locator("#live-state")).to_have_text("Live")
    await tabs[0].get_by_role("button", name="Cancel").click()
    await tabs[0].get_by_role("button", name="Cancel 3 jobs").click()
    await expect(tabs[0].locator("main")).to_contain_text("3 done")
    await expect(tabs[1].locator(".counts")).to_contain_text("Cancelled 3")


async def test_a_stream_that_is_being_opened_is_not_called_lost(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 1)
    page, may = await desk.page(), asyncio.Event()

    async def late(route: Route) -> None:
        await may.wait()
        await route.continue_()

    await page.route("**/ui/stream*", late)
    await page.goto(f"{world.url}/ui/launch/{gid}")
    await expect(page.locator("#live-state")).to_have_text("Connecting")
    may.set()
    await expect(page.locator("#live-state")).to_have_text("Live")


async def test_without_the_stream_the_page_asks_by_itself_and_says_so(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 3)
    page = await desk.page()
    await page.route("**/ui/stream*", lambda route: route.abort())
    await page.clock.install()
    await page.goto(f"{world.url}/ui/launch/{gid}")
    await page.clock.run_for(3_000)
    await expect(page.locator("#live-state")).to_have_text("Stream lost, asking every 15 s")
    world.end(gid, State.SUCCEEDED)
    await page.clock.run_for(20_000)
    await expect(page.locator(".progress")).to_contain_text("100 % done")
    await desk.excuse()  # of the stream


async def test_a_server_that_is_gone_is_told_and_what_is_shown_grows_old(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    page = await desk.page()
    await page.clock.install()
    await page.goto(f"{world.url}/ui/job/{world.client.list(gid=gid)[0].uid}")

    async def cut(route: Route) -> None:
        await route.abort()

    await page.route("**/ui/**", cut)
    await page.clock.run_for(90_000)
    await expect(page.locator("#live-state")).to_have_text(re.compile("No answer|Stream lost"))
    await expect(page.locator(".facts .age")).to_contain_text(re.compile("[1-9]m ago"))
    await page.unroute("**/ui/**", cut)
    await page.clock.run_for(40_000)
    await expect(page.locator("#live-state")).to_have_text("Live")
    await desk.excuse()  # of the requests that failed


async def test_a_cluster_that_goes_away_is_told_on_every_page_and_leaves_again(world: World, desk: Desk) -> None:
    with SimulatedCluster() as second:
        at = second.connection
        world.client.add_cluster(
            name="second", host=at.host, port=at.port, cert=at.ca, token=at.token, namespace=at.namespace, organization=9
        )  # fmt: skip
        page = await desk.page("clusters")
        stranger = await desk.page("clusters", token=world.secret("read", [world.project()], []))
        card = page.locator(".card", has_text="second")
        await expect(card).to_contain_text("0 of 40 slots")
        world.set("UPDATE argosy.cluster SET pace_window = 65 WHERE name = 'second'")
        await page.reload()
        await expect(card).to_contain_text("0 of 65 slots as many as Argo handles at present; its own limit is 500")
        async with running(world.settings):
            await expect(card).to_contain_text("ok")
            second.stop()
            banner = page.get_by_role("complementary", name="Clusters that are away")
            await expect(banner).to_contain_text("Cluster second is away: unreachable", timeout=60_000)
            await expect(banner).to_contain_text("ago")
            elsewhere = await desk.page("launches")
            await expect(elsewhere.get_by_role("complementary")).to_contain_text("second")
        await stranger.reload()
        await expect(stranger.locator("main")).not_to_contain_text("second")
    world.client.remove_cluster("second", abandon=True)
    world.set("UPDATE argosy.cluster SET health = 'ok', as_of = now() + interval '1 day'")
    await page.reload()
    await expect(page.get_by_role("complementary")).to_have_count(0)


async def test_a_reload_in_the_middle_of_a_launch_shows_how_far_it_is(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 4)
    page = await desk.page(f"launch/{gid}?status=Queued")
    await expect(page.locator("#jobs .row")).to_have_count(4)
    world.end(gid, State.SUCCEEDED, 0, 1)
    await page.reload()
    await expect(page.locator("#jobs .row")).to_have_count(2)
    await expect(page.locator(".progress")).to_contain_text("50 % done")


async def test_what_a_proxy_answers_in_our_place_is_not_taken_over(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 5)
    page = await desk.page(f"launch/{gid}")
    await expect(page.locator("#live-state")).to_have_text("Live")

    async def login(route: Route) -> None:
        body = '<!doctype html><html><body><main id="main"><h1>Company login</h1></main></body></html>'
        await route.fulfill(status=200, content_type="text/html", body=body)

    await page.route("**/ui/launch/**", login)
    world.end(gid, State.SUCCEEDED, 0, 1)
    await expect(page.locator("#live-state")).to_contain_text("Something else answers")
    await expect(page.locator("main")).not_to_contain_text("Company login")
    await page.unroute("**/ui/launch/**", login)
    world.end(gid, State.SUCCEEDED, 2, 3)
    await expect(page.locator(".progress")).to_contain_text("4 of 5 jobs")
    await expect(page.locator("#live-state")).to_have_text("Live")


async def test_a_stream_that_is_refused_is_asked_for_less_and_less_often(world: World, desk: Desk) -> None:
    gid = world.launched(world.project(), 1)
    page = await desk.page()
    asked: list[str] = []

    async def busy(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=503, body="busy")

    await page.route("**/ui/stream*", busy)
    await page.clock.install()
    await page.goto(f"{world.url}/ui/launch/{gid}")
    for _ in range(120):  # seconds; an answer comes between two of them
        await page.clock.run_for(1_000)
    assert 3 <= len(asked) <= 12, len(asked)
    await desk.excuse()  # of the stream
