"""What the gateway tells Prometheus of its requests."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client import REGISTRY

import argosy.api.jobs
from argosy.api.app import create_app
from argosy.api.document import document
from argosy.demo.embedded import free_ports
from tests.integration.api.conftest import World
from tests.support.platform import FULL, PLAIN, READ, serving
from tests.support.stack import until

Grows = Callable[..., Awaitable[None]]


def shown(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def counts() -> Callable[..., Grows]:
    """Remembers a figure; what is returned waits until it has grown by so much. A request is counted after it is answered."""

    def of(name: str, **labels: str) -> Grows:
        before = shown(name, **labels)

        async def grows(by: float) -> None:
            await until(lambda: shown(name, **labels) - before, lambda grown: grown >= by)
            assert shown(name, **labels) - before == by

        return grows

    return of


@pytest.mark.parametrize(
    ("method", "path", "operation", "status"),
    [
        ("GET", "/rest/Jobs/1", "GetJobList", "2xx"),
        ("DELETE", "/rest/Jobs/1", "DeleteJobList", "2xx"),
        ("GET", "/rest/Jobs/none", "GetJobList", "4xx"),
        ("GET", "/rest/Jobs/2", "GetJobList", "4xx"),
        ("GET", "/v1/Launches/1", "GetLaunchList", "2xx"),
        ("GET", "/schema", "schema", "2xx"),
        ("GET", "/livez", "livez", "2xx"),
        ("PUT", "/rest/Jobs/1", "none", "4xx"),
        ("GET", "/rest/Nothing/1", "none", "4xx"),
    ],
)
async def test_a_request_is_counted_and_timed_by_its_operation(
    world: World, counts: Callable[..., Grows], method: str, path: str, operation: str, status: str
) -> None:
    counted = counts("argosy_api_requests_total", operation=operation, method=method, status=status)
    timed = counts("argosy_api_request_seconds_count", operation=operation)
    answer = world.http.request(method, path)
    assert f"{answer.status_code // 100}xx" == status
    await counted(1)
    await timed(1)


async def test_each_question_whether_it_is_ready_is_counted(world: World, counts: Callable[..., Grows]) -> None:
    timed, asked = counts("argosy_api_request_seconds_count", operation="readyz"), 0

    def ready() -> bool:
        nonlocal asked
        asked += 1
        return world.http.get("/readyz").is_success

    await until(ready, bool)
    await timed(asked)


async def test_no_label_is_what_a_caller_chose(world: World, counts: Callable[..., Grows]) -> None:
    counted = counts("argosy_api_requests_total", operation="none", method="other", status="4xx")
    for at in range(5):
        world.http.get(f"/rest/Invented{at}/1")
        world.http.get(f"/v1/JobAttempt/{at}")
        world.http.request(f"INVENTED{at}", "/rest/Jobs/1")
        with world.as_(f"invented{at}") as http:
            http.get("/rest/Jobs/1")
    await counted(5)
    ids = {each["operationId"] for item in document(world.app)["paths"].values() for each in item.values()}
    allowed = {
        "operation": "|".join(ids | {"none", "schema", "livez", "readyz", "ui", "Page[A-Za-z]+"}),
        "method": "GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|other",
        "status": "[2-5]xx",
        "reason": "unknown|forbidden|queue_full|too_fast|platform_away|busy",
        "outcome": "[2-5]xx|failed|busy",
        "le": ".+",
    }
    families = [each for each in REGISTRY.collect() if each.name.startswith(("argosy_api_", "argosy_platform_"))]
    assert len(families) == 5
    for sample in (sample for family in families for sample in family.samples):
        for name, value in sample.labels.items():
            assert re.fullmatch(allowed[name], value), sample


async def test_a_request_is_in_flight_until_it_is_answered_and_its_time_is_the_whole(
    world: World, counts: Callable[..., Grows]
) -> None:
    in_flight = "argosy_api_requests_in_flight"
    before = shown("argosy_api_request_seconds_sum", operation="GetJobList")
    timed = counts("argosy_api_request_seconds_count", operation="GetJobList")
    with held(world), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(world.http.get, "/rest/Jobs/1")
        await until(lambda: shown(in_flight, method="GET"), lambda waiting: waiting == 1)
        begun = time.monotonic()
        await until(lambda: world.platform.asked, bool)
        took = time.monotonic() - begun
        world.platform.gate.set()
        assert answer.result().status_code == 200
    await timed(1)
    assert shown(in_flight, method="GET") == 0
    assert shown("argosy_api_request_seconds_sum", operation="GetJobList") - before >= took


async def test_a_fault_of_ours_is_a_5xx_also_when_the_answer_has_begun(
    registered: World, counts: Callable[..., Grows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[bytes]:
        yield b"["
        raise RuntimeError("in the middle of an answer")

    registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [1]})
    counted = counts("argosy_api_requests_total", operation="GetJobList", method="GET", status="5xx")
    monkeypatch.setattr(argosy.api.jobs, "_parts", broken)
    with registered.as_(FULL) as http:
        assert http.get("/rest/Jobs/1").status_code == 500
    await counted(1)
    monkeypatch.setattr(argosy.api.jobs, "_CHUNK", 0)  # from then on an answer is sent in parts
    with registered.as_(FULL) as http, pytest.raises(httpx.TransportError):
        http.get("/rest/Jobs/1")
    await counted(2)


async def test_the_refused_are_counted_by_reason(registered: World, counts: Callable[..., Grows]) -> None:
    reasons = {
        reason: counts("argosy_api_refused_total", reason=reason)
        for reason in ("unknown", "forbidden", "queue_full", "too_fast", "platform_away", "busy")
    }
    launch = {"algorithm_name": "hello", "media_ids": [1, 2, 3, 4]}
    with registered.as_(None) as http:
        assert http.get("/rest/Jobs/1").status_code == 401
    with registered.as_(READ) as http:
        assert http.post("/rest/Jobs/1", json=launch).status_code == 403
    registered.client.set_project(1, max_queued=1)
    assert registered.http.post("/rest/Jobs/1", json=launch).status_code == 429
    slow = create_app(registered.settings.model_copy(update={"api_rate": 0.5}))
    with (
        serving(slow) as url,
        httpx.Client(base_url=url, headers=registered.http.headers, trust_env=False, verify=PLAIN) as http,
    ):
        assert [http.get("/rest/Jobs/1").status_code for _ in range(2)] == [200, 429]
    registered.platform.status = 500
    with registered.as_("not asked for yet") as http:
        assert http.get("/rest/Jobs/1").status_code == 503
    registered.platform.status = 200
    asking = registered.app.state.gateway.asking
    while asking.acquire(blocking=False):
        pass
    assert registered.http.delete("/rest/JobCluster/1").status_code == 503
    for grows in reasons.values():
        await grows(1)


async def test_the_platforms_answers_are_timed_by_how_they_end(world: World, counts: Callable[..., Grows]) -> None:
    ends = {
        outcome: counts("argosy_platform_request_seconds_count", outcome=outcome)
        for outcome in ("2xx", "4xx", "5xx", "failed", "busy")
    }
    assert world.http.get("/v1/Launches/1").status_code == 200
    await ends["2xx"](2)  # who it is, and what they may do there
    with world.as_("stranger") as http:
        assert http.get("/rest/Jobs/1").status_code == 401
    await ends["4xx"](1)
    world.platform.status = 502
    with world.as_("another") as http:
        assert http.get("/rest/Jobs/1").status_code == 503
    await ends["5xx"](1)
    away = world.settings.model_copy(update={"rest_url": f"http://127.0.0.1:{free_ports(1)[0]}/rest"})
    with serving(create_app(away)) as url, httpx.Client(base_url=url, trust_env=False, verify=PLAIN) as http:
        assert http.get("/rest/Jobs/1", headers={"Authorization": f"Token {FULL}"}).status_code == 503
    await ends["failed"](1)
    one = create_app(world.settings.model_copy(update={"api_threads": 2}))  # one of them may wait for the platform
    with held(world), serving(one) as url, world.as_("patient") as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.get, f"{url}/rest/Jobs/1")
        await until(lambda: world.platform.asked, bool)
        assert (await asyncio.to_thread(http.get, f"{url}/rest/Jobs/1", headers={"X": "y"})).status_code == 503
        await ends["busy"](1)
        world.platform.gate.set()
        waiting.result()


@contextmanager
def held(world: World) -> Iterator[None]:
    """The platform answers nobody until its gate is opened."""
    world.platform.asked.clear()
    world.platform.gate.clear()
    try:
        yield
    finally:
        world.platform.gate.set()
