"""Who may do what: every route, for everybody who may not."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid1

import httpx
import pytest
from fastapi.routing import APIRoute

from argosy.api.app import ROUTERS, create_app
from argosy.api.callers import PlatformDoor, Role, TokenCaller, _role
from argosy.api.platform import Platform
from argosy.client import Client
from argosy.settings import Settings
from argosy.store import api_tokens
from tests.integration.api.conftest import World
from tests.support.platform import EXECUTE, FULL, PLAIN, READ, serving

ROUTES = [
    (method, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]

BODIES: dict[str, object] = {
    "PrepareBulk": {"verb": "cancel", "where": {"project": [2]}},
    "CreateJobList": {"algorithm_name": "hello", "media_ids": [1]},
    "RegisterAlgorithm": {"name": "a", "manifest": "b", "files_per_job": 1},
    "UpdateAlgorithm": {"description": "a"},
    "SaveAlgorithmManifest": {"name": "a", "upload_url": "http://a/b"},
    "CreateJobCluster": {"name": "a", "host": "a", "port": 1, "cert": "", "token": "a"},
    "SendEmail": {"recipients": ["a@example.org"], "subject": "a", "text": "a"},
}

READS = {
    "GetJobList", "GetJob", "GetAlgorithmList", "GetAlgorithm", "GetAlgorithmManifest", "GetLaunchList", "GetLaunch", "GetJobAttempt",
    "GetProjectSettings", "GetProjectUsage", "ExplainJob", "GetJobEvents", "GetLaunchEvents", "GetLaunchFailures", "GetJobLog", "Whoami",
    "FindJobs", "CountJobs", "FindLaunches", "Search",
}  # fmt: skip
"""Everybody in the project may; clusters are for admins."""

SCOPED = {"FindJobs", "CountJobs", "FindLaunches", "Search"}
"""These answer everybody, with what is in their own projects."""

EXECUTES = {"CreateJobList", "DeleteJob", "DeleteJobList", "RetryJob", "RetryJobList", "SendEmail"}


@pytest.fixture
def places(registered: World) -> dict[str, str]:
    """What stands for the parameters of a path."""
    made = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [1]}).json()
    (algorithm,) = registered.client.algorithms()
    (cluster,) = registered.client.clusters()
    assert algorithm.id == cluster.id == 1
    found = registered.http.get("/rest/Algorithm/1").json()
    digest = found["manifest"].rpartition("/")[2]
    return {
        "bulk": str(uuid1()), "project": "1", "uid": made["id"][0], "gid": made["object"][0]["gid"], "id": "1",
        "organization": "3", "digest": digest,
    }  # fmt: skip


def ask(http: httpx.Client, method: str, route: APIRoute, places: dict[str, str]) -> httpx.Response:
    body = BODIES.get(str(route.operation_id), {})
    given = {"json": body} if method in ("POST", "PATCH") else {}
    return http.request(method, route.path.format(**places), **given)  # type: ignore[arg-type]


def test_nobody_unknown_may_do_anything(registered: World, places: dict[str, str], subtests: pytest.Subtests) -> None:
    for token in (None, "unknown"):
        with registered.as_(token) as http:
            for method, route in ROUTES:
                with subtests.test(f"{method} {route.path}", token=token):
                    answer = ask(http, method, route, places)
                    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Token")


def test_those_of_another_project_or_organization_may_not(
    registered: World, places: dict[str, str], subtests: pytest.Subtests
) -> None:
    elsewhere = places | {"project": "2", "organization": "4"}
    # What is named by its own id is in a project and an organization that nobody of the platform is in.
    registered.client.update_cluster("c", organization=4)
    registered.client.update_algorithm("hello", project=2)
    launched = registered.client.launch("hello", project=2, user=1, media_ids=[1])
    gid, uid = str(launched.gid), str(launched.uids[0])
    for method, route in ROUTES:
        if route.operation_id in SCOPED | {"Whoami"}:
            continue
        with subtests.test(f"{method} {route.path}"):
            answer = ask(registered.http, method, route, elsewhere | {"gid": gid, "uid": uid})
            assert answer.status_code in (403, 404), answer.text
            if "{uid}" in route.path or "{gid}" in route.path:
                missing = ask(registered.http, method, route, elsewhere | {"gid": str(uuid1()), "uid": str(uuid1())})
                assert answer.status_code == missing.status_code == 404, "nobody learns what is there"
    for method, route in ROUTES:
        if route.operation_id in SCOPED:
            with subtests.test(f"{method} {route.path}"):
                given = {"text": gid} if route.operation_id == "Search" else {}
                answer = registered.http.request(method, route.path, params=given)
                assert (answer.status_code, gid in answer.text) == (200, False)
                named = registered.http.request(method, route.path, params={"project": 2})
                assert named.status_code in (400, 403)


def test_who_may_only_read_or_launch_may_no_more(
    registered: World, places: dict[str, str], subtests: pytest.Subtests
) -> None:
    may = {READ: READS, EXECUTE: READS | EXECUTES}
    for token, operations in may.items():
        with registered.as_(token) as http:
            for method, route in ROUTES:
                if route.operation_id in operations:
                    continue
                with subtests.test(f"{method} {route.path}", token=token):
                    answer = ask(http, method, route, places)
                    assert answer.status_code in (403, 404), answer.text


@pytest.mark.parametrize("token", [READ, EXECUTE])
def test_who_may_read_reads_all_that_there_is(
    registered: World, places: dict[str, str], subtests: pytest.Subtests, token: str
) -> None:
    with registered.as_(token) as http:
        for method, route in ROUTES:
            if route.operation_id in READS:
                with subtests.test(f"{method} {route.path}"):
                    answer = ask(http, method, route, places)
                    assert answer.status_code < 400, answer.text


@pytest.mark.parametrize(("method", "route"), [(m, r) for m, r in ROUTES if r.operation_id in EXECUTES])
def test_who_may_launch_launches_and_ends(
    registered: World, places: dict[str, str], method: str, route: APIRoute
) -> None:
    with registered.as_(EXECUTE) as http:
        answer = ask(http, method, route, places)
    assert answer.status_code < 400 or answer.status_code == 409, answer.text


def test_which_projects_somebody_may_read_is_the_platforms_word_or_the_tokens(
    registered: World, client: Client
) -> None:
    door = registered.app.state.gateway.door
    header = {"Authorization": f"Token {READ}"}
    assert door.projects(header) == {1: 3}
    asked = list(registered.platform.asked)
    assert door.projects(header) == {1: 3}
    assert registered.platform.asked == asked, "believed for a minute"
    assert door.projects({"Authorization": "Token unknown"}) == {}
    scopes: list[list[int] | None] = [None, [1, 2], []]
    for scope in scopes:
        with client.engine.begin() as connection:
            _, secret = api_tokens.create(
                connection, name="t", user=1, role="read", projects=scope, organizations=[], days=1, sealed=None
            )
            found = api_tokens.find(connection, secret)
        assert found is not None
        assert TokenCaller(found).projects() == (None if scope is None else frozenset(scope))


def test_a_cookie_changes_nothing_for_another_sites_page(registered: World, places: dict[str, str]) -> None:
    with registered.as_(None) as http:
        cookie = {"Cookie": f"sessionid={FULL}"}
        assert http.get("/rest/Jobs/1", headers=cookie).status_code == 200
        url = "/rest/Jobs/1"
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            assert http.delete(url, headers={**cookie, **headers}).status_code == 403, headers
        for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": registered.platform.gateway}):
            assert http.delete(url, headers={**cookie, **headers}).status_code == 200, headers


def test_the_platform_is_asked_once_a_minute(registered: World) -> None:
    registered.platform.asked.clear()
    for _ in range(5):
        registered.http.get("/rest/Jobs/1")
    assert registered.platform.asked == ["User/GetCurrent", "Project/1"]


def test_a_platform_that_does_not_answer_lets_nobody_in(registered: World) -> None:
    registered.platform.status = 500
    answer = registered.http.get("/rest/Jobs/1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("project", "role"),
    [
        ({"permission": "View Only"}, Role.READ),
        ({"permission": "Can Edit"}, Role.READ),
        ({"permission": "Can Execute"}, Role.EXECUTE),
        ({"permission": "Full Control"}, Role.FULL),
        ({"permission": "No Access"}, Role.NONE),
        ({"permission": "Something New"}, Role.NONE),
        ({}, Role.NONE),
        ({"permission": "Full Control", "effective_permission": 0x3}, Role.READ),
        ({"effective_permission": 0x23}, Role.EXECUTE),
        ({"effective_permission": 0xFF}, Role.FULL),
        ({"effective_permission": 0}, Role.NONE),
        ({"effective_permission": True}, Role.NONE),
        ({"effective_permission": "Can Execute"}, Role.EXECUTE),
    ],
)
def test_what_the_platform_says_of_a_project_is_a_role(project: dict[str, object], role: Role) -> None:
    assert _role(project) == role


@pytest.fixture
def by_tokens(registered: World, client: Client) -> Iterator[httpx.Client]:
    settings: Settings = registered.settings.model_copy(update={"auth": "tokens"})
    with (
        serving(create_app(settings)) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False, verify=PLAIN) as http,
    ):
        yield http


def token(client: Client, **fields: object) -> dict[str, str]:
    given: dict[str, object] = {
        "name": "t",
        "user": 5,
        "role": "execute",
        "projects": [1],
        "organizations": [],
        "days": 1,
        "sealed": None,
    }
    with client.engine.begin() as connection:
        _, secret = api_tokens.create(connection, **given | fields)  # type: ignore[arg-type]
    return {"Authorization": f"Token {secret}"}


def test_a_token_of_our_own_does_what_it_says(by_tokens: httpx.Client, client: Client) -> None:
    headers = token(client)
    assert by_tokens.get("/rest/Jobs/1", headers=headers).status_code == 200
    assert by_tokens.get("/rest/Jobs/2", headers=headers).status_code == 403
    assert by_tokens.get("/rest/JobClusters/3", headers=headers).status_code == 403
    assert by_tokens.get("/rest/User/GetCurrent", headers=headers).json() == {"id": 5}
    answer = by_tokens.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [1]}, headers=headers)
    assert answer.status_code == 201
    assert by_tokens.get(f"/rest/Job/{answer.json()['id'][0]}", headers=headers).json()["user"] == 5
    assert by_tokens.get("/rest/Jobs/2", headers=token(client, projects=None)).status_code == 200
    assert by_tokens.get("/rest/JobClusters/3", headers=token(client, organizations=[3])).status_code == 200
    assert by_tokens.get("/rest/JobCluster/1", headers=token(client, organizations=None)).status_code == 200
    body = {"algorithm_name": "hello", "media_ids": [1]}
    assert by_tokens.post("/rest/Jobs/1", json=body, headers=token(client, role="read")).status_code == 403


def test_a_token_that_is_over_is_nobodys(by_tokens: httpx.Client, client: Client) -> None:
    headers = token(client)
    with client.engine.begin() as connection:
        api_tokens.revoke(connection, 1)
    assert by_tokens.get("/rest/Jobs/1", headers=headers).status_code == 401
    assert by_tokens.get("/rest/Jobs/1", headers=token(client, days=-1)).status_code == 401
    assert by_tokens.get("/rest/Jobs/1", headers={"Authorization": "Token argosy_x"}).status_code == 401
    assert by_tokens.get("/rest/Jobs/1", headers={"Authorization": f"Token {FULL}"}).status_code == 401


def test_who_asks_too_fast_waits(registered: World) -> None:
    settings = registered.settings.model_copy(update={"api_rate": 2.0})
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, trust_env=False, verify=PLAIN) as http:
        mine = {"Authorization": f"Token {FULL}"}
        assert http.get("/rest/Jobs/1", headers=mine).status_code == 200
        strange = [http.get("/rest/Jobs/1", headers={"Authorization": f"Token {at}"}).status_code for at in range(10)]
        assert strange == [401] * 3 + [429] * 7, "strangers are counted by their address, whatever they say"
        assert [http.get("/rest/Jobs/1", headers=mine).status_code for _ in range(5)] == [200] * 3 + [429] * 2
        assert http.get("/rest/Jobs/1").status_code == 401


def test_what_strangers_send_is_not_read(registered: World) -> None:
    """Found by a hostile reader: 14 MB were parsed before anybody asked who calls."""

    with registered.as_(None) as http:
        answer = http.post("/rest/Jobs/1", content=b"[" * 1_000_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


def test_a_slow_platform_keeps_nobody_waiting_who_is_known(registered: World) -> None:
    gate = registered.platform.gate
    assert registered.http.get("/rest/Jobs/1").status_code == 200
    gate.clear()
    try:
        with ThreadPoolExecutor(40) as pool, registered.as_("stranger") as http:
            waiting = [pool.submit(http.get, "/rest/Jobs/1", headers={"X": str(at)}) for at in range(40)]
            answer = registered.http.get("/rest/Jobs/1", timeout=5)
            assert answer.status_code == 200
            gate.set()
            assert {each.result().status_code for each in waiting} <= {401, 503}
    finally:
        gate.set()


def test_the_platform_is_shown_what_was_checked_and_nothing_else(registered: World) -> None:
    """Found by a hostile reader: a header was checked, and a cookie of another user's was handed on beside it."""
    with registered.as_(EXECUTE) as http:
        answer = http.get("/rest/User/GetCurrent", headers={"Cookie": f"sessionid={FULL}"})
    assert answer.json()["id"] == 8


def test_a_token_of_our_own_is_shown_to_nobody(by_tokens: httpx.Client, client: Client, registered: World) -> None:
    registered.platform.asked.clear()
    body = {"recipients": ["a@example.org"], "subject": "a", "text": "a"}
    answer = by_tokens.post("/rest/Email/1", json=body, headers=token(client))
    assert (answer.status_code, registered.platform.asked) == (503, [])


@pytest.mark.parametrize("headers", [{"Authorization": b"Token \xe9"}, {"Cookie": b"a=\xff; sessionid=x"}])
def test_credentials_of_strange_letters_are_nobodys(registered: World, headers: dict[str, bytes]) -> None:
    with registered.as_(None) as http:
        raw = [(name.encode(), value) for name, value in headers.items()]
        assert http.get("/rest/Jobs/1", headers=raw).status_code == 401


def test_nobody_learns_of_anothers_cluster_or_job(registered: World, places: dict[str, str]) -> None:
    registered.client.update_cluster("c", organization=4)
    registered.client.update_algorithm("hello", project=2)
    other = registered.client.launch("hello", project=2, user=1, media_ids=[1]).uids[0]
    for path, mine, none in (
        ("/v1/JobCluster/{}/Pause", "1", "99"),
        ("/v1/JobCluster/{}/Resume", "1", "99"),
        ("/v1/Job/{}/Retry", str(other), str(uuid1())),
    ):
        there, missing = (registered.http.post(path.format(key), json={}) for key in (mine, none))
        assert there.status_code == missing.status_code == 404
        assert there.json()["message"].replace(mine, "") == missing.json()["message"].replace(none, "")
    assert registered.http.get(f"/v1/Job/{other}?attempt=1").status_code == 404


def test_no_address_is_answered_with_another(registered: World) -> None:
    answer = registered.http.get("/rest/Jobs/1/", headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert registered.http.get("/v1/Manifest/1/%00").status_code == 400


def test_a_refusal_is_believed_for_a_moment_and_an_answer_for_a_minute(settings: Settings) -> None:
    now, answers = [0.0], [None, {"id": 7}, {"id": 8}]

    class Answering(Platform):
        def get(self, what: str, credentials: Mapping[str, str]) -> dict[str, Any] | None:
            return answers.pop(0)

    door = PlatformDoor(settings, Answering(settings), lambda: now[0])

    def at(seconds: float) -> dict[str, Any] | None:
        now[0] = seconds
        return door.ask({"Authorization": "Token a"}, "User/GetCurrent")

    assert [at(seconds) for seconds in (0.0, 4.0, 6.0, 65.0, 67.0)] == [None, None, {"id": 7}, {"id": 7}, {"id": 8}]


def test_every_route_is_one_of_those_that_are_tried_here_or_open_to_all(registered: World) -> None:
    """The page's are tried in tests/integration/page/test_scoping.py."""
    inside = {id(router) for router in ROUTERS}
    others = {
        getattr(route, "path", str(route))
        for route in registered.app.routes
        if id(getattr(route, "original_router", None)) not in inside
    }
    assert others == {"/schema", "/livez", "/readyz", "/ui"}
