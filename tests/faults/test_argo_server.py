"""An Argo Server that is slow, lies or is not one: nothing false is believed, no other workflow waits, nothing is read without end."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from argosy.kube import answers, connection, status
from argosy.kube.archived_log import archived_log
from argosy.kube.argo_server import ArgoServer
from argosy.kube.check import check_argo_server
from argosy.kube.status import Sighting
from argosy.track import offloaded
from argosy.track.offloaded import Offloaded
from tests.support.argo_server import GATEWAY, Answer, StandIn, given, said, stand_in, workflow
from tests.support.stack import until

HTML = Answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def server(standin: StandIn) -> AsyncIterator[ArgoServer]:
    async with ArgoServer(standin.access, connect_timeout=1.0, request_timeout=1.0) as opened:
        yield opened


LIES = {
    "a page to log in": HTML,
    "a bad gateway": Answer(502, b"<html>502 Bad Gateway</html>"),
    "another JSON": Answer(200, b'{"status": "ok"}', GATEWAY),
    "a list": Answer(200, b"[]", GATEWAY),
    "half a workflow": Answer(200, b'{"metadata": {"uid": "u", "na', GATEWAY),
    "a workflow without a uid": given({"metadata": {"name": "w", "namespace": "argosy"}, "status": {}}),
    "a workflow of another namespace": given(
        {"metadata": {"name": "w", "uid": "u", "namespace": "kube-system"}, "status": {}}
    ),
    "nothing": Answer(200, b"", GATEWAY),
    "a Status of Kubernetes": Answer(404, b'{"kind": "Status", "reason": "NotFound", "code": 404}'),
    "deep JSON": Answer(200, b'{"metadata":' + b"[" * 100_000, GATEWAY),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_what_is_no_answer_of_argo_server_proves_nothing(
    standin: StandIn, server: ArgoServer, lie: Answer
) -> None:
    standin.answer = lambda path: lie
    for ask in (
        server.workflow("w"),
        server.archived("u"),
        server.lint({"metadata": {}, "spec": {}}),
        server.version(),
    ):
        with pytest.raises(answers.Unclear):
            await ask
    assert (await check_argo_server(server)).version == ""


async def test_a_redirect_is_not_followed_and_takes_no_token_elsewhere(standin: StandIn, server: ArgoServer) -> None:
    with stand_in() as elsewhere:
        standin.answer = lambda path: Answer(302, headers={"Location": f"{elsewhere.access.argo_server}{path}"})
        with pytest.raises(answers.Unclear):
            await server.workflow("w")
        assert elsewhere.asked == []
    assert standin.tokens == {"Bearer the-token"}


async def test_the_token_of_a_pod_is_sent_as_argo_server_wants_it(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With "bearer" it would be refused, or, where Argo Server allows that, answered with its own rights."""
    for name, text in (("TOKEN", "of-the-pod"), ("CERT", standin.access.ca)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(incluster_config, f"SERVICE_{name}_FILENAME", str(tmp_path / name))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    standin.answer = lambda path: given(workflow("w", "u"))
    async with ArgoServer(replace(standin.access, host=None, token="")) as server:
        await server.workflow("w")
    assert standin.tokens == {"Bearer of-the-pod"}


async def test_an_endless_answer_is_not_read_to_its_end(
    standin: StandIn, server: ArgoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_LIMIT", 1 << 20)
    standin.answer = lambda path: Answer(headers=GATEWAY, pieces=repeat(b"[" * 65536))
    with pytest.raises(answers.TooLong):
        await server.workflow("w")


async def test_an_answer_that_comes_drop_by_drop_is_given_up(standin: StandIn, server: ArgoServer) -> None:
    standin.answer = lambda path: Answer(headers=GATEWAY, pieces=repeat(b"[", 100), pause=0.1)
    with pytest.raises(answers.Unclear):
        await server.archived("u")


async def test_an_archived_workflow_of_another_uid_is_not_taken(standin: StandIn, server: ArgoServer) -> None:
    standin.answer = lambda path: given(workflow("w", "another"))
    with pytest.raises(answers.Unclear, match="another workflow"):
        await server.archived("u")


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_elsewhere_is_not_asked_for(
    standin: StandIn, server: ArgoServer, name: str
) -> None:
    for ask in (server.workflow(name), server.archived(name)):
        with pytest.raises(answers.Missing):
            await ask
    with pytest.raises(answers.KubeError):
        [piece async for piece in archived_log(server, "w", "u", name)]
    assert standin.asked == []


async def test_a_name_with_a_slash_stays_one_part_of_the_path(standin: StandIn, server: ArgoServer) -> None:
    with pytest.raises(answers.KubeError):
        await server.workflow("../../x?y#z")
    assert standin.asked == ["/api/v1/workflows/argosy/..%2F..%2Fx%3Fy%23z"]


async def test_a_page_of_an_intermediary_is_no_log(standin: StandIn, server: ArgoServer) -> None:
    standin.answer = lambda path: HTML
    with pytest.raises(answers.Unclear, match="names no file"):
        [piece async for piece in archived_log(server, "w", "u", "n")]


async def test_an_endless_log_is_given_up_to_its_limit(standin: StandIn, server: ArgoServer) -> None:
    file = {"Content-Disposition": 'filename="main.log"'}
    standin.answer = lambda path: Answer(headers=file, pieces=repeat(b"line\n" * 1000))
    given_ = 0

    async def read() -> None:
        nonlocal given_
        async for piece in archived_log(server, "w", "u", "n", limit=12_345):
            given_ += len(piece)

    with pytest.raises(answers.TooLong):
        await read()
    assert given_ == 12_345


# The nodes that Argo keeps in its own database.


def seen(name: str = "w", phase: str = "Running", version: str = "v1") -> Sighting:
    document = workflow(name, f"uid-of-{name}", phase, nodes=None, offloadNodeStatusVersion=version)
    return status.read(document)


@asynccontextmanager
async def reading(server: ArgoServer, recorded: bool = False) -> AsyncIterator[tuple[Offloaded, list[Sighting]]]:
    put: list[Sighting] = []

    async def is_recorded(seen: Sighting) -> bool:
        return recorded

    made = Offloaded(server, "hostile", lambda seen, at: put.append(seen), is_recorded)
    task = asyncio.create_task(made.run())
    try:
        yield made, put
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def tasks(sighting: Sighting) -> list[str] | None:
    return None if sighting.nodes is None else [node.task for node in sighting.nodes]


async def test_a_change_is_read_once(standin: StandIn, server: ArgoServer) -> None:
    def answer(path: str) -> Answer:
        name = path.rpartition("/")[2]
        return given(workflow(name, f"uid-of-{name}", "Running"))

    standin.answer = answer
    async with reading(server) as (made, put):
        for version, other in (("v1", "first"), ("v1", "second"), ("v2", "third")):
            for _ in range(5):
                made.take(seen(version=version), time.monotonic())
            # One that is taken later: when its nodes are there, whatever is to be read of the first one is being read.
            made.take(seen(other, version=version), time.monotonic())
            wanted = {("w", version), (other, version)}
            await until(lambda: {(each.name, each.offloaded) for each in put if each.nodes}, wanted.issubset)
    assert sum(path.endswith("/w") for path in standin.asked) == 2
    assert all(sighting.note == "" for sighting in put)


async def test_an_end_waits_for_its_nodes_and_is_one_with_them(standin: StandIn, server: ArgoServer) -> None:
    phases = iter(["Running", "Succeeded"])
    standin.answer = lambda path: given(workflow("w", "uid-of-w", next(phases)))
    async with reading(server) as (made, put):
        made.take(seen(phase="Succeeded"), time.monotonic())
        assert put == []
        assert made.pending("uid-of-w")
        assert len(made.since()) == 1
        await until(lambda: put, bool)
        assert not made.pending("uid-of-w")
    assert [(sighting.phase, tasks(sighting)) for sighting in put] == [("Succeeded", ["w"])]
    assert len(standin.asked) == 2  # the older state counts for nothing


async def test_an_end_that_is_recorded_already_is_not_read_again(standin: StandIn, server: ArgoServer) -> None:
    async with reading(server, recorded=True) as (made, put):
        made.take(seen(phase="Succeeded"), time.monotonic())
        await until(lambda: put, bool)
    assert standin.asked == []


WRONG: dict[str, Answer] = {
    **LIES,
    "another workflow of that name": given(workflow("w", "another", "Succeeded")),
    "an older state": given(workflow("w", "uid-of-w", "Running")),
    "no nodes": given(workflow("w", "uid-of-w", "Succeeded", nodes=None, offloadNodeStatusVersion="v1")),
    "none": said(404, 5, "not found"),
    "no permission": said(403, 7, "no"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_an_end_whose_nodes_cannot_be_read_is_written_without_them(
    standin: StandIn, server: ArgoServer, wrong: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offloaded, "LONGEST", 1.0)
    standin.answer = lambda path: wrong
    async with reading(server) as (made, put):
        made.take(seen(phase="Succeeded"), time.monotonic())
        await until(lambda: put, bool)
    (end,) = put
    assert (end.phase, end.nodes) == ("Succeeded", None)
    assert end.note.startswith("nodes: not readable (Argo Server: ")


async def test_a_server_that_hangs_delays_nothing_that_runs_and_nothing_whose_nodes_are_there(
    standin: StandIn, server: ArgoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offloaded, "LONGEST", 1.0)
    standin.answer = lambda path: Answer(headers=GATEWAY, pieces=repeat(b" ", 100), pause=0.1)
    async with reading(server) as (made, put):
        now = time.monotonic()
        for number in range(50):
            made.take(seen(f"ended-{number}", "Succeeded"), now)
        assert put == []
        made.take(seen("running"), now)
        made.take(status.read(workflow("whole", "uid-of-whole")), now)
        assert [sighting.name for sighting in put] == ["running", "whole"]
        # Fifty that cannot be read take no longer than one.
        await until(lambda: len(put), lambda count: count == 53, 5)


async def test_a_poisoned_workflow_takes_nobodys_turn(
    standin: StandIn, server: ArgoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offloaded, "LONGEST", 3.0)

    def answer(path: str) -> Answer:
        name = path.rpartition("/")[2]
        return HTML if name == "bad" else given(workflow(name, f"uid-of-{name}", "Succeeded"))

    standin.answer = answer
    async with reading(server) as (made, put):
        for name in ("bad", "good"):
            made.take(seen(name, "Succeeded"), time.monotonic())
        await until(lambda: put, bool)
        assert [(sighting.name, tasks(sighting)) for sighting in put] == [("good", ["good"])]
        await until(lambda: put, lambda put: len(put) == 2)
