"""The page in a real browser: one browser, one database, one simulated cluster and one gateway for all tests of this folder.

Each test has a project of its own. What a browser complains about, a refused script or style above all, fails the test.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from fastapi import FastAPI
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from sqlalchemy import text

from argosy.api.app import create_app
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.filters import JobFilter
from argosy.states import State
from argosy.store import api_tokens
from tests.conftest import ROOT
from tests.support import databases
from tests.support.browser import ARGUMENTS, chromium
from tests.support.platform import serving
from tests.support.queues import manned

WAIT = 20_000
"""Milliseconds for what must happen."""

expect.set_options(timeout=WAIT)


@dataclass
class World:
    """The page, and what stands behind it. `token` may do everything."""

    url: str
    app: FastAPI
    client: Client
    settings: Settings
    cluster: SimulatedConnection
    token: str
    _projects: Any = field(default_factory=lambda: count(100))

    def project(self) -> int:
        """A project of one's own."""
        number: int = next(self._projects)
        return number

    def secret(
        self, role: str, projects: list[int] | None, organizations: list[int] | None = None, user: int = 7
    ) -> str:
        """A token of argosy's."""
        with self.client.engine.begin() as connection:
            _, secret = api_tokens.create(
                connection, name="t", user=user, role=role, projects=projects, organizations=organizations, days=1, sealed=None
            )  # fmt: skip
        return secret

    def algorithm(self, project: int, manifest: str = "hello", files_per_job: int = 1) -> str:
        """Register an example; its name in this project."""
        name = f"{manifest}-{project}"
        source = (ROOT / "manifests" / f"{manifest}.yaml").read_text()
        self.client.register_algorithm(name=name, project=project, user=7, manifest=source, files_per_job=files_per_job)
        return name

    def launched(self, project: int, jobs: int = 3, **fields: Any) -> UUID:
        """A launch of one medium a job, cut into jobs, which nobody submits."""
        names = {each.name for each in self.client.algorithms(project=project)}
        name = f"hello-{project}" if f"hello-{project}" in names else self.algorithm(project)
        gid = self.client.launch(name, project=project, user=7, media_ids=range(1, jobs + 1), **fields).gid
        expand(Launching(self.client.engine, self.settings, RestMediaSource(self.settings)), gid)
        return gid

    def end(
        self, gid: UUID, state: State, first: int = 0, last: int = 1000, message: str = "why", code: int = 0
    ) -> None:
        """Bring queued jobs of a launch to an end."""
        with self.client.engine.begin() as connection:
            connection.execute(
                _END, {"gid": gid, "state": str(state), "first": first, "last": last, "message": message, "code": code}
            )

    def set(self, statement: str, **values: Any) -> None:
        """Bring the database into a state."""
        with self.client.engine.begin() as connection:
            connection.execute(text(statement), values)


_END = text(
    "UPDATE argosy.attempt a SET state = :state, name = 'job-' || a.uid || '-' || a.number, k8s_uid = gen_random_uuid(), "
    "cluster_id = (SELECT id FROM argosy.cluster WHERE is_default), started_at = now() - interval '5 seconds', finished_at = now(), "
    "as_of = now(), message = :message, exit_code = :code "
    "FROM argosy.job j WHERE j.uid = a.uid AND j.attempt = a.number AND j.gid = :gid AND a.state = 'queued' "
    "AND j.ordinal BETWEEN :first AND :last"
)


@contextmanager
def gateway(settings: Settings) -> Iterator[tuple[FastAPI, str]]:
    """A gateway of its own, on a real socket."""
    app = create_app(settings)
    with serving(app) as url:
        yield app, url
        app.state.hub.stop()  # the server waits for its streams


@pytest.fixture(scope="session")
def world(postgres: str) -> Iterator[World]:
    with databases.fresh(postgres) as url, SimulatedCluster() as cluster:
        settings = databases.configured(url).model_copy(update={"auth": "tokens", "api_rate": 10_000.0})
        at = cluster.connection
        with Client(settings) as client, gateway(settings) as (app, address):
            client.add_cluster(
                name="here", host=at.host, port=at.port, cert=at.ca, token=at.token, namespace=at.namespace, default=True
            )  # fmt: skip
            client.set_project(1)
            made = World(address, app, client, settings, at, "")
            made.token = made.secret("full", None)
            manned(client.engine)
            made.set("UPDATE argosy.cluster SET health = 'ok', as_of = now() + interval '1 day'")  # nobody follows it
            yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        await started.close()


class Desk:
    """Somebody at a browser. `complaints` is what the browser said; a test excuses what it means to provoke."""

    def __init__(self, browser: Browser, world: World, stack: AsyncExitStack) -> None:
        self._browser, self._world, self._stack = browser, world, stack
        self.complaints: list[str] = []

    async def window(self, token: str | None = "", url: str | None = None, **options: Any) -> BrowserContext:
        """A browser window, signed in; with None not signed in."""
        context = await self._browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self._stack.push_async_callback(context.close)
        context.set_default_timeout(WAIT)
        if token is not None:
            cookie = {
                "name": "argosy_token",
                "value": token or self._world.token,
                "url": f"{url or self._world.url}/ui/",
            }
            await context.add_cookies([cookie])  # type: ignore[list-item]
        return context

    async def page(self, path: str = "", context: BrowserContext | None = None, **options: Any) -> Page:
        """A tab, at a path of the page if one is given."""
        opened = await (context or await self.window(**options)).new_page()
        opened.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        opened.on("pageerror", lambda error: self.complaints.append(str(error)))
        if path:
            await opened.goto(f"{self._world.url}/ui/{path}")
        return opened

    async def excuse(self) -> None:
        """Close all windows, so that nothing is said any more, and forget what was."""
        await self._stack.aclose()
        self.complaints.clear()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser, world: World) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        made = Desk(browser, world, stack)
        yield made
    assert made.complaints == []


@pytest.fixture(scope="session")
def paths(world: World) -> dict[str, str]:
    """One of each page."""
    project = world.project()
    gid = world.launched(project, 6, extra_params=[{"name": "threshold", "value": 0.5}])
    world.end(gid, State.FAILED, 0, 1, message="no such file", code=2)
    world.end(gid, State.SUCCEEDED, 2, 3)
    failed = world.client.list(gid=gid)[0]
    return {
        "launches": f"launches?project={project}",
        "launch": f"launch/{gid}?status=Failed",
        "job": f"job/{failed.uid}",
        "jobs": f"jobs?project={project}",
        "log": f"job/{failed.uid}/log",
        "act": f"act/{world.client.prepare('priority', JobFilter(gid=gid), user=7, priority=3).id}",
        "clusters": "clusters",
        "projects": "projects",
        "algorithms": "algorithms",
        "search": "search?q=7",
        "missing": "nothing",
        "sign-in": "sign-in",
    }
