"""Who may look at the page and do what there; what a browser may load; how it is behind a proxy, without JavaScript, on every screen."""

import re
from typing import Any

import httpx
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, expect

from argosy.states import State
from tests.integration.page.conftest import Desk, World, gateway
from tests.support.platform import READ, platform, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_somebody_signs_in_with_a_token_comes_back_to_where_they_were_and_signs_out(
    world: World, desk: Desk
) -> None:
    page = await desk.page("projects?x=1", token=None)
    await expect(page).to_have_url(re.compile("/ui/sign-in"))
    await page.get_by_label("Token").fill("argosy_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("unknown")
    desk.complaints.clear()  # of the status 401
    await page.get_by_label("Token").fill(world.token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url(re.compile(r"/ui/projects\?x=1"))
    (cookie,) = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/ui")
    assert world.token not in page.url
    await page.get_by_role("button", name=re.compile("Sign out")).click()
    await expect(page).to_have_url(re.compile("/ui/sign-in"))
    assert await page.context.cookies() == []


async def test_a_session_of_the_platform_is_enough(world: World, desk: Desk) -> None:
    with platform() as server:
        settings = world.settings.model_copy(update={"auth": "platform", "rest_url": server.rest, "host": server.url})
        with gateway(settings) as (_, url):
            context = await desk.window(None)
            await context.add_cookies([{"name": "sessionid", "value": READ, "url": url}])
            page = await desk.page(context=context)
            await page.goto(f"{url}/ui/launches")
            await expect(page.get_by_role("heading", name="Launches")).to_be_visible()
            await context.close()  # the server waits for its streams


@pytest.mark.parametrize(("role", "may"), [("read", False), ("execute", True)])
async def test_what_a_role_may_not_do_is_not_offered_and_refused(
    world: World, desk: Desk, role: str, may: bool
) -> None:
    project = world.project()
    gid = world.launched(project, 2)
    secret = world.secret(role, [project], [])
    page = await desk.page(f"launch/{gid}", token=secret)
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert await page.get_by_role("button", name="Cancel").count() == may
    await page.goto(f"{world.url}/ui/projects")
    await expect(page.get_by_role("heading", name=f"Project {project}")).to_be_visible()
    assert await page.get_by_role("button", name=re.compile("Pause project")).count() == 0
    async with httpx.AsyncClient(base_url=world.url, cookies={"argosy_token": secret}, trust_env=False) as http:
        same = {"Sec-Fetch-Site": "same-origin"}
        done = await http.post("/ui/act", data={"verb": "cancel", "where": f"gid={gid}"}, headers=same)
        assert done.status_code == (303 if may else 403)
        assert (await http.post(f"/ui/projects/{project}/pause", data={}, headers=same)).status_code == 403
    assert [job.status for job in world.client.list(gid=gid)] == ["Queued"] * 2


async def test_foreign_text_is_text(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    world.end(gid, State.FAILED, message="<img src=x onerror=alert(1)> \u202e\x1b[31m")
    page = await desk.page(f"launch/{gid}")
    await expect(page.locator(".failures .said")).to_contain_text("<img src=x onerror=alert(1)>")
    assert "\u202e" not in await page.content()


async def test_it_works_below_any_path_of_a_proxy(world: World, desk: Desk) -> None:
    prefix = "/tools/argosy"

    async def stripped(scope: Any, receive: Any, send: Any) -> None:
        """A proxy that hands on what is below its path, without that path."""
        if scope["type"] == "http":
            assert scope["path"].startswith(f"{prefix}/ui"), scope["path"]
            scope = {**scope, "path": scope["path"].removeprefix(prefix), "raw_path": None}
        await world.app(scope, receive, send)

    project = world.project()
    gid = world.launched(project, 3)
    with serving(_without_lifespan(stripped)) as address:
        page = await desk.page(token=None)
        await page.goto(f"{address}{prefix}/ui")
        await page.get_by_label("Token").fill(world.token)
        await page.get_by_role("button", name="Sign in").click()
        for name in ("Jobs", "Clusters", "Projects", "Algorithms", "Launches"):
            await page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
            await expect(page.get_by_role("heading", level=1)).to_have_text(name)
        await page.goto(f"{address}{prefix}/ui/launch/{gid}")
        await expect(page.locator("#live-state")).to_have_text("Live")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Cancel 3 jobs").click()
        await expect(page.locator("main")).to_contain_text("3 done")
        await page.context.close()  # the server waits for its streams


def _without_lifespan(app: Any) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await app(scope, receive, send)

    return wrapped


async def test_without_javascript_every_page_can_be_read(world: World, desk: Desk, paths: dict[str, str]) -> None:
    page = await desk.page(java_script_enabled=False)
    for name, path in paths.items():
        await page.goto(f"{world.url}/ui/{path}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.locator("#live")).to_be_hidden()
        if name == "launch":
            await expect(page.locator("#jobs .row")).to_have_count(2)
            await expect(page.locator(".facts time")).to_contain_text("UTC")
    await desk.excuse()  # of the status 404


async def _violations(page: Page) -> list[Any]:
    await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate("() => axe.run()")
    return [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(world: World, desk: Desk, paths: dict[str, str], scheme: Any) -> None:
    page = await desk.page(color_scheme=scheme)
    for name, path in paths.items():
        await page.goto(f"{world.url}/ui/{path}")
        await page.evaluate("() => document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert await _violations(page) == [], name
    await desk.excuse()  # of the status 404


@pytest.mark.parametrize("width", [320, 768, 2560])
async def test_nothing_is_wider_than_the_screen(world: World, desk: Desk, paths: dict[str, str], width: int) -> None:
    page = await desk.page(viewport={"width": width, "height": 800})
    for name, path in paths.items():
        await page.goto(f"{world.url}/ui/{path}")
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, name
    await desk.excuse()  # of the status 404


async def test_the_keyboard_is_enough(world: World, desk: Desk, paths: dict[str, str]) -> None:
    page = await desk.page(paths["launch"])
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.locator("#events > summary").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#events li").first).to_be_visible()


async def test_every_status_has_a_word_and_a_shape(world: World, desk: Desk) -> None:
    project = world.project()
    gid = world.launched(project, 7)
    for number, state in enumerate(("succeeded", "failed", "error", "cancelled", "lost", "deleted")):
        world.end(gid, State(state), number, number)
    page = await desk.page(f"jobs?project={project}")
    for status in ("Succeeded", "Failed", "Error", "Cancelled", "Lost", "Deleted", "Queued"):
        mark = page.locator(".jobs .state", has_text=status)
        await expect(mark).to_have_count(1)
        await expect(mark.locator("use")).to_have_attribute("href", re.compile("#m-"))
