"""Somebody of one project is neither shown nor lets be changed what is another's: every route of the page, so that a new one cannot be
forgotten (T10)."""

from collections.abc import Iterator
from typing import Any

import httpx
from fastapi.routing import APIRoute
from starlette.routing import Mount

from argosy.shapes.filters import JobFilter
from argosy.states import State
from tests.integration.page.conftest import World

NOTHING_OF_A_PROJECT = {
    "GET /": "leads elsewhere", "GET /sign-in": "a form", "POST /sign-in": "no visit", "POST /sign-out": "no visit",
    "GET /static/{name}": "files of ours", "GET /clusters": "this one is everybody's",
    "GET /stream": "does not end; tests/integration/api/test_stream.py says who is told what",
}  # fmt: skip
"""Routes that need not be asked, and why."""

WITH_A_QUERY = {"GET /search": "q={gid}", "GET /launches": "project={project}", "GET /jobs": "project={project}"}
"""What is asked for, where without it only the newest of all is shown."""


def routes(world: World) -> Iterator[tuple[str, APIRoute]]:
    (page,) = (route.app for route in world.app.routes if isinstance(route, Mount))
    for router in page.routes:  # type: ignore[attr-defined]
        for route in router.original_router.routes:
            for method in route.methods - {"HEAD"}:
                yield f"{method} {route.path}", route


class Things:
    """What there is of one project: a launch, one of whose two jobs failed, and a plan to retry that."""

    def __init__(self, world: World) -> None:
        self.world, self.project = world, world.project()
        self.gid = world.launched(self.project, 2)
        world.end(self.gid, State.FAILED, 0, 0)
        self.uid = world.client.list(gid=self.gid)[0].uid
        self.bulk = world.client.prepare("retry", JobFilter(gid=self.gid), user=7).id

    def ask(self, token: str, name: str, route: APIRoute, what: str) -> httpx.Response:
        """One route with what is of this project; one whose path has a word that is not known here fails."""
        method = name.partition(" ")[0]
        words = {
            "gid": self.gid, "uid": self.uid, "project": self.project, "what": what,
            "id": {"/clusters/{id}/{what}": 1, "/act/{id}": self.bulk}.get(route.path),
        }  # fmt: skip
        url = f"{self.world.url}/ui{route.path.format(**words)}?{WITH_A_QUERY.get(name, '').format(**words)}"
        form = {"verb": "cancel", "where": f"gid={self.gid}", "reason": "why"}
        given: dict[str, Any] = {"data": form, "headers": {"Sec-Fetch-Site": "same-origin"}} if method == "POST" else {}
        with httpx.Client(cookies={"argosy_token": token}, trust_env=False, timeout=30) as http:
            return http.request(method, url, **given)

    def state(self) -> Any:
        """What a request could change."""
        client = self.world.client
        return (
            [(job.status, job.attempt) for job in client.list(gid=self.gid)],
            client.project(self.project).paused_at,
            client.cluster(1).paused_at,
            client.bulk(self.bulk).state,
        )

    def shown(self, answer: httpx.Response) -> bool:
        """Whether it says something that only those of the project know."""
        return any(
            word in answer.text
            for word in (
                f"hello-{self.project}",
                f"/{self.uid}/log",
                f"{self.project}/pause",
                "1 job",
                "what these jobs ran",
            )
        )


def test_no_route_shows_or_changes_what_is_anothers(world: World) -> None:
    things = Things(world)
    stranger = world.secret("full", [world.project()], [], user=8)
    before = things.state()
    for name, route in routes(world):
        if name not in NOTHING_OF_A_PROJECT:
            answer = things.ask(stranger, name, route, "pause")
            assert not things.shown(answer), (name, answer.text)
            assert things.state() == before, name


def test_every_route_shows_or_changes_what_is_ones_own(world: World) -> None:
    """Or the test above could not fail."""
    things = Things(world)
    for name, route in routes(world):
        if name not in NOTHING_OF_A_PROJECT:
            answer = things.ask(world.token, name, route, "resume")
            assert answer.status_code == 303 or things.shown(answer), (name, answer.text)
