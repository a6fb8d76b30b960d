"""However much there is, and whatever it is made of, a page is small."""

from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest

from argosy.states import State
from tests.integration.page.conftest import World

MOST = 200_000
"""Bytes of a page."""

_NODES = """
INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, children, pod, started_at, finished_at, exit_code, message)
SELECT :uid, 1, repeat('n', 60) || i, repeat('t', 60) || i, 'Pod', 'Failed',
    CASE WHEN i < 1999 THEN ARRAY[repeat('n', 60) || i + 1] ELSE '{}' END,
    'p-' || i, now() - interval '100 seconds', now(), 3, repeat('<', 2000) FROM generate_series(0, 1999) i
"""
_LOGS = """
INSERT INTO argosy.container_log (uid, attempt, node_id, container, exit_code, text, cut)
SELECT :uid, 1, repeat('n', 60) || i, 'main', 3, repeat('<', 65536), false FROM generate_series(0, 4) i
"""


@pytest.fixture(scope="module")
def hostile(world: World) -> tuple[UUID, UUID]:
    """A launch whose jobs failed each in its own way, in many words of markup, and one of them in all its 2,000 steps."""
    gid = world.launched(world.project(), 150)
    for number in range(150):
        kind = chr(97 + number % 26) + chr(97 + number // 26)
        world.end(gid, State.FAILED, number, number, message=kind * 3 + "<" * 1900, code=2)
    (job,) = world.client.list(gid=gid, limit=1)
    world.set(_NODES, uid=job.uid)
    world.set(_LOGS, uid=job.uid)
    return gid, job.uid


@pytest.fixture
def http(world: World) -> httpx.Client:
    return httpx.Client(base_url=f"{world.url}/ui/", cookies={"argosy_token": world.token}, trust_env=False, timeout=60)


def test_no_page_is_large_whatever_it_shows(http: httpx.Client, hostile: tuple[UUID, UUID]) -> None:
    gid, uid = hostile
    long = urlencode([("param", f"{number}=" + "&" * 30) for number in range(13)])
    unfolded = urlencode([("unfold", "n" * 60 + str(number)) for number in range(90)])
    found = {
        path: size_of(http, path)
        for path in (
            f"launch/{gid}", f"launch/{gid}?{long}", f"launch/{gid}?status=Failed", f"job/{uid}", f"job/{uid}/log", f"job/{uid}?{unfolded}",
            f"jobs?gid={gid}", f"jobs?{long}", "jobs?sort=oldest", f"launches?{long}", f"search?q={gid}/1",
        )
    }  # fmt: skip
    assert {path: size for path, size in found.items() if size > MOST} == {}


def size_of(http: httpx.Client, path: str) -> int:
    answer = http.get(path, follow_redirects=True)
    assert answer.status_code == 200, path
    return len(answer.content)


def test_a_link_with_999_projects_costs_nothing(http: httpx.Client) -> None:
    for page in ("jobs", "launches"):
        answer = http.get(f"{page}?{urlencode([('project', each) for each in range(1, 1000)])}")
        assert answer.status_code == 400
        assert "more than 1500 characters" in answer.text
        assert len(answer.content) < 20_000


def test_a_search_for_thousands_of_digits_finds_nothing(world: World, http: httpx.Client) -> None:
    answer = http.get("search", params={"q": "9" * 5000})
    assert answer.status_code == 200
    header = {"Authorization": f"Token {world.token}"}
    found = httpx.get(f"{world.url}/v1/Search", params={"text": "9" * 5000}, headers=header, trust_env=False)
    assert (found.status_code, found.json()) == (200, [])
