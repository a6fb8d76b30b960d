"""Who is let in and what they may do there (T10): every route of the page, so that a new one cannot be forgotten."""

from typing import Any

import httpx
from fastapi.routing import APIRoute

from argosy.shapes.filters import JobFilter
from argosy.states import State
from tests.integration.page.conftest import World
from tests.integration.page.routes import routes

NOTHING_OF_A_PROJECT = {
    "GET /": "leads elsewhere", "GET /sign-in": "a form", "POST /sign-in": "no visit", "POST /sign-out": "no visit",
    "GET /static/{name}": "files of ours", "GET /clusters": "this one is everybody's",
    "GET /stream": "does not end; tests/integration/api/test_stream.py says who is told what",
}  # fmt: skip
"""Routes that need not be asked, and why."""

WITH_A_QUERY = {"GET /search": "q={gid}", "GET /launches": "project={project}", "GET /jobs": "project={project}"}
"""What is asked for, where without it only the newest of all is shown."""


class Things:
    """What there is of one project: a launch, one of whose two jobs failed, and a plan to retry that."""

    def __init__(self, world: World) -> None:
        self.world, self.project = world, world.project()
        self.gid = world.launched(self.project, 2)
        world.end(self.gid, State.FAILED, 0, 0)
        self.uid = world.client.list(gid=self.gid)[0].uid
        self.bulk = world.client.prepare("retry", JobFilter(gid=self.gid), user=7).id

    def ask(
        self, token: str | None, name: str, route: APIRoute, what: str, site: str = "same-origin"
    ) -> httpx.Response:
        """One route with what is of this project; one whose path has a word that is not known here fails. `site` is that of the form."""
        method = name.partition(" ")[0]
        words = {
            "gid": self.gid, "uid": self.uid, "project": self.project, "what": what,
            "id": {"/clusters/{id}/{what}": 1, "/act/{id}": self.bulk}.get(route.path),
        }  # fmt: skip
        url = f"{self.world.url}/ui{route.path.format(**words)}?{WITH_A_QUERY.get(name, '').format(**words)}"
        form = {"verb": "cancel", "where": f"gid={self.gid}", "reason": "why"}
        given: dict[str, Any] = {"data": form, "headers": {"Sec-Fetch-Site": site}} if method == "POST" else {}
        cookies = {} if token is None else {"argosy_token": token}
        with httpx.Client(cookies=cookies, trust_env=False, timeout=30) as http:
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


OPEN = ("GET /sign-in", "POST /sign-in", "GET /static/{name}")
"""Routes for whoever comes."""


OF_WHO_ACTS = ("GET /act/{id}", "GET /launch/{gid}/latest", "GET /job/{uid}/latest")
"""Routes that say what would be done, to those who may do it."""


def test_who_is_not_known_is_sent_to_sign_in_by_every_route(world: World) -> None:
    things = Things(world)
    before = things.state()
    for token in (None, "argosy_unknown"):
        for name, route in routes(world):
            if name not in OPEN:
                answer = things.ask(token, name, route, "pause")
                assert (answer.status_code, "/sign-in" in f"/{answer.headers['location']}") == (303, True), name
    assert things.state() == before


def test_no_route_takes_a_form_of_another_site(world: World) -> None:
    things = Things(world)
    before = things.state()
    forms = [(name, route) for name, route in routes(world) if name.startswith("POST ")]
    for name, route in forms:
        for site in ("cross-site", "same-site"):
            assert things.ask(world.token, name, route, "pause", site).status_code == 403, (name, site)
    assert forms
    assert things.state() == before


def test_who_may_read_only_sees_all_and_changes_nothing_by_any_route(world: World) -> None:
    things = Things(world)
    reader = world.secret("read", [things.project], [])
    before = things.state()
    for name, route in routes(world):
        if name in NOTHING_OF_A_PROJECT:
            continue
        answer = things.ask(reader, name, route, "pause")
        if name.startswith("POST ") or name in OF_WHO_ACTS:
            # A cluster of others, and a plan of somebody else, are as what is not there.
            assert answer.status_code in (403, 404), name
        else:
            assert answer.status_code in (200, 303), name  # a search that finds one thing leads there
    assert things.state() == before


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
