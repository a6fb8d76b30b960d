"""However much there is, and whatever it is made of, a page is small."""

from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest

from argosy.shapes.filters import JobFilter
from argosy.states import State
from tests.integration.page.conftest import World
from tests.integration.page.routes import routes

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


_CLUSTERS = """
INSERT INTO argosy.cluster (name, host, cert, namespace, health, health_message, labels, held_at, held_reason, paused_at, paused_reason)
SELECT rpad(i || '-', 200, '<&"'), repeat('h', 200), '-', repeat('n', 60), 'unreachable', repeat('<', 2000),
    jsonb_build_object(repeat('l', 200), repeat('<', 200)), now(), repeat('"', 2000), now(), repeat('&', 500) FROM generate_series(1, 40) i
"""
_HAPPENED = """
INSERT INTO argosy.event (kind, cluster_id, message, likeness)
SELECT 'unreachable', id, repeat('<', 2000), i FROM argosy.cluster, generate_series(1, 20) i WHERE health_message = repeat('<', 2000)
"""
_ALGORITHMS = """
INSERT INTO argosy.algorithm (name, project, user_id, manifest, files_per_job, description, parameters)
SELECT rpad(i || '-', 200, '<&"'), :project, 7, '', 1, repeat('<', 5000),
    (SELECT jsonb_agg(jsonb_build_object('name', repeat('<', 190) || j, 'value', repeat('&', 500))) FROM generate_series(1, 100) j)
FROM generate_series(1, 60) i
"""
_PROJECTS = """
INSERT INTO argosy.project (id, paused_at, paused_reason) SELECT 900000 + i, now(), repeat('<', 500) FROM generate_series(1, 60) i
"""
_GONE = (
    "DELETE FROM argosy.event WHERE cluster_id IN (SELECT id FROM argosy.cluster WHERE health_message = repeat('<', 2000))",
    "DELETE FROM argosy.cluster WHERE health_message = repeat('<', 2000)",
    "DELETE FROM argosy.algorithm WHERE description = repeat('<', 5000)",
    "DELETE FROM argosy.project WHERE id > 900000",
)


@pytest.fixture(scope="module")
def hostile(world: World) -> Iterator[dict[str, object]]:
    """A launch whose jobs failed each in its own way, in many words of markup, and one of them in all its 2,000 steps; 40 clusters,
    60 algorithms and 60 projects that say too much; a retry of which nothing could be done. What stands in the addresses of these."""
    project = world.project()
    gid = world.launched(project, 150)
    for number in range(150):
        kind = chr(97 + number % 26) + chr(97 + number // 26)
        world.end(gid, State.FAILED, number, number, message=kind * 3 + "<" * 1900, code=2)
    world.set(
        "UPDATE argosy.launch SET algorithm_name = rpad('x-', 200, '<&\"'), reason = repeat('<', 2000) WHERE gid = :gid",
        gid=gid,
    )
    (job,) = world.client.list(gid=gid, limit=1)
    world.set(_NODES, uid=job.uid)
    world.set(_LOGS, uid=job.uid)
    for statement in (_CLUSTERS, _HAPPENED, _PROJECTS):
        world.set(statement)
    world.set(_ALGORITHMS, project=project)
    bulk = world.client.prepare("retry", JobFilter(gid=gid), user=7).id
    world.set("UPDATE argosy.bulk SET begun = true WHERE id = :bulk", bulk=bulk)
    world.set("UPDATE argosy.bulk_item SET why = repeat('<', 2000) WHERE bulk_id = :bulk", bulk=bulk)
    yield {"gid": gid, "uid": job.uid, "id": bulk, "name": "page.js"}
    for statement in _GONE:
        world.set(statement)


@pytest.fixture
def http(world: World) -> httpx.Client:
    return httpx.Client(base_url=f"{world.url}/ui/", cookies={"argosy_token": world.token}, trust_env=False, timeout=60)


def test_no_page_is_large_whatever_it_shows(world: World, http: httpx.Client, hostile: dict[str, object]) -> None:
    """Each page of the application, so that a new one cannot be forgotten, bare and with whatever may stand in its address."""
    unfolded = urlencode([("unfold", "n" * 60 + str(number)) for number in range(90)])
    queries = ("", _LONG, "status=Failed&sort=oldest", f"q={hostile['gid']}/1&usage=900001&{unfolded}")
    found = {
        (route.path, query): size_of(http, f"{route.path.lstrip('/').format(**hostile)}?{query}")
        for name, route in routes(world)
        for query in queries
        if name.startswith("GET ") and name != "GET /stream"  # it does not end
    }
    assert {what: size for what, size in found.items() if size > MOST} == {}


_LONG = urlencode([("param", f"{number}=" + "&" * 30) for number in range(13)])
"""As long a filter as a page takes."""


def size_of(http: httpx.Client, path: str) -> int:
    answer = http.get(path, follow_redirects=True)
    refused = answer.status_code == 400 and not path.endswith("?")  # what this page does not take
    assert refused or answer.status_code == 200, (path, answer.text[:500])
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
