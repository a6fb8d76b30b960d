"""Logs over HTTP, of a cluster that has none and of one that does not answer."""

from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from argosy.demo.embedded import free_ports
from argosy.launch.expand import Launching
from argosy.states import State
from argosy.store import logs
from argosy.store.logs import KeptLog
from tests.integration.api.conftest import World
from tests.support.certificates import PEM
from tests.support.jobs import launched, run, stage
from tests.support.launching import HELLO

__all__ = ["stage"]


@pytest.fixture
def failed(world: World, stage: Launching) -> UUID:
    """A job that failed, with one node and its log kept; its cluster does not answer."""
    world.client.add_cluster(name="c", host="127.0.0.1", port=free_ports(1)[0], cert=PEM, token="t", default=True)
    world.client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=1)
    gid = launched(world.client, stage, 1)
    run(world.client.engine, State.FAILED, 1)
    (job,) = world.client.list(gid=gid)
    with world.client.engine.begin() as database:
        for node, task in (("n1", "detect"), ("n2", "count")):
            database.execute(
                text(
                    "INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase) VALUES (:uid, 1, :node, :task, 'Pod', 'Failed')"
                ),
                {"uid": job.uid, "node": node, "task": task},
            )
        logs.keep(
            database,
            [
                KeptLog(job.uid, 1, "n1", "main", 3, True, "one\ntwo\nthree\n"),
                KeptLog(job.uid, 1, "n2", "main", 1, False, ""),
                KeptLog(UUID(int=1), 1, "n1", "main", 3, True, "of a job that is forgotten"),
            ],
        )
        logs.keep(database, [KeptLog(job.uid, 1, "n1", "main", 9, True, "a later look finds less")])
    return job.uid


def ask(world: World, uid: UUID, **query: Any) -> dict[str, Any]:
    answer = world.http.get(f"/v1/Job/{uid}/Log", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_was_kept_is_answered_where_the_cluster_does_not_answer(world: World, failed: UUID) -> None:
    found = ask(world, failed)
    assert (found["uid"], found["attempt"], found["status"]) == (str(failed), 1, "Failed")
    assert found["logs"] == [
        {"node": "n1", "task": "detect", "container": "main", "exit_code": 3, "source": "kept", "cut": True, "text": "one\ntwo\nthree\n"},
        {"node": "n2", "task": "count", "container": "main", "exit_code": 1, "source": "kept", "cut": False, "text": ""},
    ]  # fmt: skip
    assert "no connection" in found["note"]
    assert [each["text"] for each in ask(world, failed, node="detect", tail=2)["logs"]] == ["two\nthree\n"]
    assert world.http.get(f"/v1/Job/{failed}/Log", params={"node": "nothing"}).status_code == 404
    assert world.http.get(f"/v1/Job/{failed}/Log", params={"attempt": 2}).status_code == 404
    assert world.http.get(f"/v1/Job/{failed}/Log", params={"tail": -1}).status_code == 400


def test_where_too_many_wait_for_clusters_what_was_kept_is_answered_at_once(world: World, failed: UUID) -> None:
    asking = world.app.state.gateway.asking
    with ExitStack() as held:
        while asking.acquire(blocking=False):
            held.callback(asking.release)
        found = ask(world, failed)
    assert len(found["logs"]) == 2
    assert "the cluster was not asked" in found["note"]


def test_a_job_without_a_workflow_and_a_cluster_that_is_gone_have_no_logs_and_say_so(
    world: World, failed: UUID, stage: Launching
) -> None:
    (waiting,) = world.client.list(gid=launched(world.client, stage, 1))
    assert (ask(world, waiting.uid)["logs"], ask(world, waiting.uid)["note"]) == ([], "it has no workflow")
    world.client.cancel(waiting.uid)
    world.client.remove_algorithm("hello")
    world.client.remove_cluster("c", abandon=True)
    world.client.add_cluster(name="c", host="127.0.0.1", port=1, cert=PEM, token="t")
    assert "not registered any more" in ask(world, failed)["note"], "and not another's of that name"
