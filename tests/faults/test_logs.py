"""Logs through a cluster that is slow, broken, hostile, or does not let us: jobs end as they end, and only the log is missing."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.errors import NotFound
from argosy.kube import answers
from argosy.kube.connection import Access, Connection
from argosy.kube.logs import Logs
from argosy.labels import FINALIZER
from argosy.network.guard import inside
from argosy.settings import Settings
from argosy.shapes.shown import JobShape, LogShape
from argosy.track import logs as keeping
from tests.faults.actions import Action, Answer, Cut, Endless, Hold, Request, status_body
from tests.faults.conftest import become, manifest, ours
from tests.faults.proxy import HOST, Proxy
from tests.support.hosts import HERE
from tests.support.stack import finished, running, until

DENIED = status_body(
    403,
    "Forbidden",
    'pods "x" is forbidden: User "argosy" cannot get resource "pods/log" in API group "" in the namespace',
)
TEXT = {"Content-Type": "text/plain"}
SAID = b"first line\r\n\x1b[31mred\x1b[0m nul:\x00 bad:\xff\xfe\nthe reason\n"
CUT = Answer(200, b"half", TEXT | {"Content-Length": "100"}, hang_up=True)
CLEAN = "first line\nred nul:\ufffd bad:\ufffd\ufffd\nthe reason\n"


@pytest.fixture
def failing(proxied: Client) -> Client:
    """With an algorithm whose one pod fails."""
    text_ = manifest(0.05) + '          - {name: ARGOSY_EXIT_CODE, value: "3"}\n'
    proxied.register_algorithm(name="failing", project=1, user=7, manifest=text_, files_per_job=1)
    return proxied


@pytest.fixture
def hasty(impatient: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Logs are given up soon."""
    monkeypatch.setattr(keeping, "_PATIENCE", 6.0)
    return impatient


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("argosy_logs_total", {"cluster": "here", "outcome": outcome}) or 0.0


def kept(engine: Engine) -> list[Any]:
    with engine.connect() as database:
        return list(database.execute(text("SELECT * FROM argosy.container_log ORDER BY node_id, container")))


async def ran(client: Client, algorithm: str = "failing") -> JobShape:
    gid = client.launch(algorithm, project=1, user=7, media_ids=[1]).gid
    (job,) = await finished(client, gid, 60)
    return job


async def released(engine: Engine, there: Connection) -> None:
    """Return when no workflow is held any more."""

    async def held() -> bool:
        found = [item["metadata"].get("finalizers", []) for item in await ours(engine, there)]
        return any(FINALIZER in each for each in found)

    await become(lambda is_held: not is_held, held)


async def test_what_a_failed_container_wrote_is_kept_clean_before_its_workflow_is_released(
    failing: Client, impatient: Settings, proxy: Proxy, engine: Engine, there: Connection
) -> None:
    gate = asyncio.Event()
    proxy.on(Answer(200, SAID, TEXT, after=gate), resource="pods/log", times=math.inf)
    async with running(impatient):
        job = await ran(failing)
        assert job.status == "Failed"  # the log did not delay it
        await until(lambda: len(proxy.saw("get", "pods/log")), bool)
        (item,) = await ours(engine, there)
        assert FINALIZER in item["metadata"]["finalizers"]
        gate.set()
        await released(engine, there)
    (row,) = kept(engine)
    assert (row.container, row.exit_code, row.cut, row.text) == ("main", 3, False, CLEAN)
    shown = failing.logs(job.uid, ask=False)
    assert [(each.source, each.text, each.task) for each in shown.logs] == [("kept", CLEAN, job.nodes[0].task)]
    assert shown.note == "the cluster was not asked"


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (Answer(404, status_body(404, "NotFound", 'pods "x" not found', name="x", kind="pods")), "gone"),
        (Answer(400, status_body(400, "BadRequest", "the container is waiting to start")), "gone"),
        (Answer(200, b"<html>log in</html>", {"Content-Type": "text/html"}), "missed"),
        (Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}), "missed"),
        (Answer(500, status_body(500, "InternalError", "dial tcp: no such host")), "missed"),
        (Answer(429, status_body(429, "TooManyRequests", "slow down", retryAfterSeconds=30)), "missed"),
        (Cut("in-the-headers"), "missed"),
        (CUT, "missed"),
        (Hold(asyncio.Event()), "missed"),
        (Endless(b"x" * 65536), "missed"),
    ],
    ids=["404", "400", "html", "gateway", "500", "429", "cut-head", "cut-body", "silent", "endless"],
)
async def test_a_cluster_that_does_not_give_the_log_costs_only_the_log(
    failing: Client, hasty: Settings, proxy: Proxy, engine: Engine, there: Connection, action: Action, outcome: str
) -> None:
    before = counted(outcome)
    proxy.on(action, resource="pods/log", times=math.inf)
    async with running(hasty):
        job = await ran(failing)
        await released(engine, there)
        assert failing.cluster("here").health == "ok"
        assert (await ran(failing, "quick")).status == "Succeeded"
    assert (job.status, kept(engine), counted(outcome) - before) == ("Failed", [], 1)


TWO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: two-}
spec:
  entrypoint: both
  templates:
    - name: both
      steps: [[{name: one, template: main}, {name: two, template: main}]]
    - name: main
      container: {image: "alpine:3.22", command: [sh, -c], args: ["exit 3"]}
"""


async def test_a_pod_that_cannot_be_read_keeps_no_other_from_it(
    failing: Client, impatient: Settings, proxy: Proxy, engine: Engine, there: Connection
) -> None:
    """A node that is away answers so for its own pods."""
    failing.register_algorithm(name="two", project=1, user=7, manifest=TWO, files_per_job=1)
    proxy.on(Answer(500, status_body(500, "InternalError", "dial tcp: no route to host")), resource="pods/log")
    proxy.on(Answer(200, b"the reason\n", TEXT), resource="pods/log", times=math.inf)
    before = counted("missed"), counted("kept")
    async with running(impatient):
        assert (await ran(failing, "two")).status == "Failed"
        await released(engine, there)
    assert [row.text for row in kept(engine)] == ["the reason\n"]
    assert (counted("missed") - before[0], counted("kept") - before[1]) == (1, 1)


async def test_a_cluster_that_does_not_permit_logs_is_asked_once_and_works_on(
    failing: Client, hasty: Settings, proxy: Proxy, engine: Engine, there: Connection
) -> None:
    refuse(proxy)
    before = counted("denied")
    async with running(hasty):
        assert (await ran(failing)).status == "Failed"
        assert (await ran(failing)).status == "Failed"
        await released(engine, there)
        assert failing.cluster("here").health == "ok"
    assert counted("denied") - before == 2
    assert len(proxy.saw("get", "pods/log")) == 1


def refuse(proxy: Proxy) -> None:
    """The cluster's RBAC lacks the Role for logs."""
    proxy.on(Answer(403, DENIED), resource="pods/log", times=math.inf)
    review = {"kind": "SelfSubjectAccessReview", "status": {"allowed": False}}

    def decide(request: Request) -> Action | None:
        return Answer(201, review) if b'"subresource":"log"' in request.body else None

    proxy.decide = decide


async def test_the_check_says_whether_logs_are_permitted(proxied: Client, proxy: Proxy) -> None:
    report = await asyncio.to_thread(proxied.check_cluster, "here")
    assert (report.health, report.logs) == ("ok", True)
    refuse(proxy)
    report = await asyncio.to_thread(proxied.check_cluster, "here")
    assert (report.health, report.logs, report.missing_permissions) == ("ok", False, [])


@pytest.mark.parametrize("off", ["cluster", "setting", "cancelled", "succeeded", "enough"])
async def test_where_no_log_is_wanted_none_is_asked_for(
    failing: Client,
    impatient: Settings,
    proxy: Proxy,
    engine: Engine,
    there: Connection,
    off: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if off == "enough":
        monkeypatch.setattr("argosy.store.logs.MOST", 0)
    settings = impatient.model_copy(update={"log_tail": 0}) if off == "setting" else impatient
    if off == "cluster":
        failing.update_cluster("here", logs=False)
    async with running(settings):
        if off == "cancelled":
            gid = failing.launch("long", project=1, user=7, media_ids=[1]).gid
            await until(lambda: failing.list(gid=gid), lambda jobs: [job.status for job in jobs] == ["Running"], 60)
            failing.cancel(gid)
            (job,) = await finished(failing, gid, 60)
        else:
            job = await ran(failing, "quick" if off == "succeeded" else "failing")
        await released(engine, there)
    assert job.status == {"cancelled": "Cancelled", "succeeded": "Succeeded"}.get(off, "Failed")
    if off == "enough":
        assert failing.logs(job.uid, ask=False).note.endswith(
            "nothing was kept of it, because 0 logs of its launch are"
        )
    assert proxy.saw("get", "pods/log") == []
    if off != "cancelled":  # whose pods are watched until they have ended
        assert proxy.saw("list", "pods") == []


async def test_a_tracker_that_dies_before_the_log_is_kept_loses_none(
    failing: Client, patient: Settings, proxy: Proxy, engine: Engine, there: Connection
) -> None:
    held = proxy.on(Hold(asyncio.Event()), resource="pods/log")
    async with running(patient):
        job = await ran(failing)
        await held.hit.wait()
    assert kept(engine) == []
    proxy.on(Answer(200, b"the reason\n", TEXT), resource="pods/log", times=math.inf)
    async with running(patient):
        await until(lambda: [row.text for row in kept(engine)], lambda texts: texts == ["the reason\n"], 60)
        await released(engine, there)
    assert failing.logs(job.uid, ask=False).logs[0].text == "the reason\n"


async def test_a_deletion_of_the_job_takes_its_log_along(
    engine: Engine, failing: Client, impatient: Settings, proxy: Proxy
) -> None:
    proxy.on(Answer(200, b"a\n", TEXT), resource="pods/log", times=math.inf)
    async with running(impatient):
        await ran(failing)
        await until(lambda: kept(engine), bool)
    with engine.begin() as database:
        database.execute(text("DELETE FROM argosy.job"))
    assert kept(engine) == []


@pytest.fixture
async def through(proxy: Proxy, there: Connection) -> AsyncIterator[Connection]:
    """The cluster through the proxy."""
    at = there.access
    access = Access("through", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE))
    async with Connection(access, request_timeout=5) as connection:
        yield connection


async def test_of_a_log_of_long_lines_the_last_ones_are_read(proxy: Proxy, through: Connection) -> None:
    """The API leaves out lines, and not bytes: what is too long is asked for again in fewer lines."""
    asked: list[str] = []

    def decide(request: Request) -> Action | None:
        if request.resource != "pods/log":
            return None
        asked.append(request.query["tailLines"])
        return Answer(200, (b"x" * 1_000_000 + b"\n") * min(int(asked[-1]), 60) + b"end\n", TEXT)

    proxy.decide = decide
    tail = await Logs(through).tail("pod", "main", 100)
    assert (asked, len(tail.data), tail.data, tail.cut) == (["5000", "50", "1"], 4, b"end\n", True)


async def test_an_endless_log_is_not_read_to_its_end(proxy: Proxy, through: Connection) -> None:
    proxy.on(Endless(b"no line end "), resource="pods/log", times=math.inf)
    with pytest.raises(answers.Unclear):
        await Logs(through).tail("pod", "main", 100)
    async with Logs(through).follow("pod", "main") as lines:
        pieces = [len(line.data) async for some in _first(lines, 3) for line in some]
    assert max(pieces) < 1 << 20


async def _first(lines: AsyncIterator[Any], count: int) -> AsyncIterator[Any]:
    async for some in lines:
        yield some
        count -= 1
        if not count:
            return


async def test_a_name_of_a_pod_that_leads_elsewhere_is_left_out(proxy: Proxy, through: Connection) -> None:
    state = {"terminated": {"exitCode": 1}}
    pods = [
        {"metadata": {"name": name}, "status": {"containerStatuses": [{"name": container, "state": state}]}}
        for name, container in (("../secrets", "main"), ("good", "main"), ("fine", "ma\x00in"))
    ]
    proxy.on(Answer(200, {"metadata": {}, "items": pods}), resource="pods")
    found = await Logs(through).pods("w")
    assert [(pod.name, [each.name for each in pod.containers]) for pod in found] == [("good", ["main"]), ("fine", [])]


async def test_a_person_who_asks_gets_what_was_kept_and_why_there_is_no_more(
    failing: Client, impatient: Settings, proxy: Proxy, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.logs.read._PATIENCE", 2.0)
    proxy.on(Answer(200, b"kept\n", TEXT), resource="pods/log", times=1)
    async with running(impatient):
        job = await ran(failing)
        await until(lambda: kept(engine), bool)

    async def asked() -> LogShape:
        return await asyncio.to_thread(failing.logs, job.uid)

    for action, words in (
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), "not plain text"),
        (Answer(403, DENIED), "pods/log"),
        (Answer(404, status_body(404, "NotFound", "gone", name="x")), "gone"),
        (CUT, "no answer"),
        (Hold(asyncio.Event()), "in time"),
    ):
        proxy.clear()
        proxy.on(action, resource="pods/log", times=math.inf)
        shown = await asked()
        assert [(each.source, each.text) for each in shown.logs] == [("kept", "kept\n")]
        assert words in shown.note
    proxy.clear()
    proxy.on(Answer(200, b"kept\nand more\n", TEXT), resource="pods/log", times=math.inf)
    assert [(each.source, each.text) for each in (await asked()).logs] == [("cluster", "kept\nand more\n")]
    failing.update_cluster("here", logs=False)
    assert "argosy cluster update here --logs" in (await asked()).note
    with pytest.raises(NotFound, match="its nodes are"):
        failing.logs(job.uid, node="other")


async def test_a_followed_log_whose_connection_breaks_goes_on_without_a_line_lost_or_doubled(
    failing: Client, impatient: Settings, proxy: Proxy, engine: Engine
) -> None:
    """The API begins again at a whole second: lines of that second come twice."""
    stamped = [b"2026-01-01T00:00:0%d.5%08dZ line %d\n" % (at // 3, at, at) for at in range(9)]
    asked: list[str] = []

    def decide(request: Request) -> Action | None:
        if request.resource != "pods/log":
            return None
        asked.append(request.query.get("sinceTime", ""))
        if len(asked) == 1:
            return Answer(200, b"".join(stamped[:5]), TEXT | {"Content-Length": "100000"}, hang_up=True)
        return Answer(200, b"".join(stamped[3:]), TEXT)

    proxy.decide = decide
    quiet = impatient.model_copy(update={"log_tail": 0})
    async with running(quiet):
        job = await ran(failing)

    said = await asyncio.to_thread(lambda: [line.text for line in failing.follow_logs([job.uid]) if line.task])
    assert said == [f"line {at}" for at in range(9)]
    assert asked[0] == ""
    assert asked[1].startswith("2026-01-01T00:00:01.5")
