"""What a watch tells, and from where it can be taken up again."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.kube.workflows import WatchEvent, Workflows
from argosy.labels import FINALIZER
from tests.cluster.clusters import Cluster, delete
from tests.cluster.manifests import FOR_EVER, LABEL, container, ended, running, workflow

PATIENCE = 30.0


async def until(events: AsyncIterator[WatchEvent], kind: str, name: str) -> list[WatchEvent]:
    """The events up to the first of a kind about a name, it included."""
    collected: list[WatchEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            collected.append(event)
            if event.type == kind and event.object["metadata"].get("name") == name:
                return collected
    raise AssertionError(f"the watch ended without {kind} {name}: {collected}")


async def first_event(workflows: Workflows, mine: str, version: str, silence: float = PATIENCE) -> WatchEvent:
    """What a watch from a version tells first, of something that happens after it began."""
    async with workflows.watch(f"{LABEL}={mine}", version, silence) as events, asyncio.timeout(PATIENCE):
        await workflows.create(workflow(f"{mine}-during", container()))
        return await anext(events)


async def relabel(connection: Connection, name: str, label: str | None) -> None:
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{connection.access.namespace}/workflows/{name}"
    patch = orjson.dumps({"metadata": {"labels": {"shown": label}}})
    await connection.call("patch", "workflows", path, body=patch, content_type="application/merge-patch+json")


async def test_a_watch_from_a_lists_version_tells_everything_after_it_in_order(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    await workflows.create(workflow(f"{mine}-before", container(seconds=FOR_EVER)))
    await running(workflows, f"{mine}-before")
    page = await workflows.page(f"{LABEL}={mine}")
    metadata = await workflows.create(workflow(f"{mine}-after", container()))
    await ended(workflows, f"{mine}-after")
    await delete(admin, f"{mine}-after", metadata["uid"])

    async with workflows.watch(f"{LABEL}={mine}", page.resource_version) as events:
        told = await until(events, "DELETED", f"{mine}-after")

    assert {event.object["metadata"]["name"] for event in told} == {f"{mine}-after"}
    types = [event.type for event in told]
    assert types[0] == "ADDED"
    assert types[-1] == "DELETED"
    assert set(types[1:-1]) == {"MODIFIED"}
    phases = [event.object.get("status", {}).get("phase") for event in told]
    assert phases[0] is None
    assert phases[-1] == "Succeeded"
    assert [event.object["metadata"]["uid"] for event in told] == [metadata["uid"]] * len(told)


async def test_a_watch_taken_up_at_the_last_version_seen_misses_and_repeats_nothing(
    workflows: Workflows, mine: str
) -> None:
    start = (await workflows.page(f"{LABEL}={mine}")).resource_version
    for number in range(4):
        await workflows.create(workflow(f"{mine}-{number}", container(seconds=FOR_EVER)))

    async with workflows.watch(f"{LABEL}={mine}", start) as events:
        first = await until(events, "ADDED", f"{mine}-1")
    async with workflows.watch(f"{LABEL}={mine}", first[-1].object["metadata"]["resourceVersion"]) as events:
        rest = await until(events, "ADDED", f"{mine}-3")

    added = [event.object["metadata"]["name"] for event in [*first, *rest] if event.type == "ADDED"]
    assert added == [f"{mine}-{number}" for number in range(4)]


async def test_a_bookmark_is_a_version_to_go_on_from(workflows: Workflows, connection: Connection, mine: str) -> None:
    start = (await workflows.page(f"{LABEL}={mine}")).resource_version
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{connection.access.namespace}/workflows"
    # The server sends one a minute, and one shortly before the end of the watch, which is near here.
    query = {"watch": "1", "labelSelector": f"{LABEL}={mine}", "resourceVersion": start, "timeoutSeconds": "5"}
    async with connection.stream("workflows", path, query | {"allowWatchBookmarks": "true"}, PATIENCE) as lines:
        await workflows.create(workflow(f"{mine}-during", container(seconds=FOR_EVER)))
        told = [orjson.loads(line) async for line in lines]

    marks = [event["object"] for event in told if event["type"] == "BOOKMARK"]
    assert marks, told
    assert marks[-1]["kind"] == "Workflow"
    await workflows.create(workflow(f"{mine}-next", container()))
    async with workflows.watch(f"{LABEL}={mine}", marks[-1]["metadata"]["resourceVersion"]) as events:
        assert [event.object["metadata"]["name"] for event in await until(events, "ADDED", f"{mine}-next")] == [
            f"{mine}-next"
        ]


async def test_an_object_that_leaves_the_selector_is_deleted_to_the_watch_and_added_when_it_comes_back(
    workflows: Workflows, connection: Connection, mine: str
) -> None:
    await workflows.create(workflow(mine, container(seconds=FOR_EVER)))
    await running(workflows, mine)
    start = (await workflows.page(f"{LABEL}={mine}")).resource_version
    for label in ("yes", None, "yes"):
        await relabel(connection, mine, label)

    async with workflows.watch(f"{LABEL}={mine},shown=yes", start) as events:
        told = [*await until(events, "ADDED", mine), *await until(events, "DELETED", mine)]
        told += await until(events, "ADDED", mine)

    assert [event.type for event in told] == ["ADDED", "DELETED", "ADDED"]
    assert told[1].object["metadata"]["labels"]["shown"] == "yes"


async def test_a_patch_that_changes_nothing_is_no_event(
    workflows: Workflows, connection: Connection, mine: str
) -> None:
    await workflows.create(workflow(mine, container(seconds=FOR_EVER)))
    await running(workflows, mine)
    start = (await workflows.page(f"{LABEL}={mine}")).resource_version
    for label in ("yes", "yes", "no"):
        await relabel(connection, mine, label)

    async with workflows.watch(f"{LABEL}={mine}", start) as events:
        told = [(await until(events, "MODIFIED", mine))[-1] for _ in range(2)]

    assert [event.object["metadata"]["labels"]["shown"] for event in told] == ["yes", "no"]


async def test_a_deletion_that_a_finalizer_holds_is_a_modification_and_its_end_a_deletion(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container(seconds=FOR_EVER), finalizers=[FINALIZER]))
    await running(workflows, mine)
    start = (await workflows.page(f"{LABEL}={mine}")).resource_version
    await delete(admin, mine, metadata["uid"])
    await workflows.release(mine, metadata["uid"], [FINALIZER])

    async with workflows.watch(f"{LABEL}={mine}", start) as events:
        told = await until(events, "DELETED", mine)

    assert [event.type for event in told] == ["MODIFIED", "DELETED"]
    assert all(event.object["metadata"]["deletionTimestamp"] for event in told)


async def test_a_watch_from_a_version_that_is_no_longer_known_is_expired_inside_the_stream(
    cluster: Cluster, workflows: Workflows, mine: str
) -> None:
    cluster.compact()
    await workflows.create(workflow(mine, container()))

    with pytest.raises(answers.Expired, match="too old resource version"):
        await first_event(workflows, mine, "1")


async def test_a_list_of_a_version_from_the_future_is_future_version(connection: Connection, mine: str) -> None:
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{connection.access.namespace}/workflows"

    with pytest.raises(answers.FutureVersion, match="Too large resource version"):
        await connection.call("list", "workflows", path, query={"resourceVersion": "999999999999"})


async def test_a_watch_from_a_version_in_the_future_is_silent_and_only_our_limit_ends_it(
    workflows: Workflows, mine: str
) -> None:
    with pytest.raises(answers.Unclear):
        await first_event(workflows, mine, "999999999999", silence=3)
