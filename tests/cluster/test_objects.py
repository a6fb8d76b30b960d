"""What the API answers about objects: names, uids, finalizers, pages and secrets."""

from dataclasses import astuple
from uuid import uuid4

import orjson
import pytest

import argosy.kube.secrets
from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import FINALIZER
from tests.cluster.clusters import Cluster, delete, unpin
from tests.cluster.manifests import FOR_EVER, LABEL, container, eventually, workflow


async def test_creating_a_taken_name_is_name_taken_and_the_object_is_the_first_one(
    workflows: Workflows, mine: str
) -> None:
    first = await workflows.create(workflow(mine, container()))

    with pytest.raises(answers.NameTaken, match=f'"{mine}" already exists'):
        await workflows.create(workflow(mine, container(exit_code=1)))

    assert (await workflows.get(mine))["metadata"]["uid"] == first["uid"]


async def test_a_name_comes_free_with_deletion_and_its_next_holder_has_another_uid(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    first = await workflows.create(workflow(mine, container(seconds=FOR_EVER)))
    await delete(admin, mine, first["uid"])

    second = await workflows.create(workflow(mine, container(seconds=FOR_EVER)))

    assert second["uid"] != first["uid"]


async def test_a_name_stays_taken_while_a_finalizer_holds_the_deleted_object(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    first = await workflows.create(workflow(mine, container(seconds=FOR_EVER), finalizers=[FINALIZER]))
    await delete(admin, mine, first["uid"])

    with pytest.raises(answers.NameTaken):
        await workflows.create(workflow(mine, container()))

    await workflows.release(mine, first["uid"], [FINALIZER])
    await workflows.create(workflow(mine, container()))


async def test_a_change_that_means_another_uid_is_other_object_and_touches_nothing(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container(seconds=FOR_EVER), finalizers=[FINALIZER]))
    other = "00000000-0000-4000-8000-000000000000"

    for change in (
        workflows.terminate(mine, other),
        workflows.release(mine, other, [FINALIZER]),
        delete(admin, mine, other),
    ):
        with pytest.raises(answers.OtherObject):
            await change

    found = await workflows.get(mine)
    assert found["metadata"]["uid"] == metadata["uid"]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert "deletionTimestamp" not in found["metadata"]
    assert "shutdown" not in found["spec"]


async def test_releasing_takes_only_our_finalizer_and_deletion_waits_for_the_others(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    finalizers = ["example.com/theirs", FINALIZER]
    metadata = await workflows.create(workflow(mine, container(seconds=FOR_EVER), finalizers=finalizers))
    await delete(admin, mine, metadata["uid"])

    await workflows.release(mine, metadata["uid"], finalizers)

    assert (await workflows.get(mine))["metadata"]["finalizers"] == ["example.com/theirs"]
    await workflows.release(mine, metadata["uid"], finalizers)
    assert (await workflows.get(mine))["metadata"]["finalizers"] == ["example.com/theirs"]
    await unpin(admin, mine)
    with pytest.raises(answers.Missing):
        await workflows.get(mine)


async def test_what_is_not_there_is_missing_to_every_call(workflows: Workflows, admin: Connection, mine: str) -> None:
    uid = "00000000-0000-4000-8000-000000000000"
    for call in (workflows.get(mine), workflows.terminate(mine, uid), delete(admin, mine, uid)):
        with pytest.raises(answers.Missing, match=f'"{mine}" not found'):
            await call


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "Not_A_Name"}},
        {"metadata": {"name": "x", "labels": {"a": "b c"}}},
        {"spec": None},
        {"spec": {"entrypoint": 3}},
        {"kind": "Other"},
        {"apiVersion": "argoproj.io/v1"},
    ],
)
async def test_an_object_that_can_never_be_taken_is_refused(
    workflows: Workflows, mine: str, change: dict[str, object]
) -> None:
    body = orjson.loads(workflow(mine, container())) | change

    with pytest.raises(answers.ObjectRefused):
        await workflows.create(orjson.dumps({key: value for key, value in body.items() if value is not None}))


async def test_a_patch_of_an_older_version_is_to_be_tried_again(
    workflows: Workflows, connection: Connection, mine: str
) -> None:
    await workflows.create(workflow(mine, container()))
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{connection.access.namespace}/workflows/{mine}"
    patch = orjson.dumps({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}})

    with pytest.raises(answers.Wait, match="the object has been modified"):
        await connection.call("patch", "workflows", path, body=patch, content_type="application/merge-patch+json")


async def test_pages_are_complete_and_show_one_moment(workflows: Workflows, admin: Connection, mine: str) -> None:
    names = [f"{mine}-{number}" for number in range(5)]
    for name in names:
        await workflows.create(workflow(name, container(seconds=FOR_EVER)))

    first = await workflows.page(f"{LABEL}={mine}", limit=2)
    await workflows.create(workflow(f"{mine}-3b", container(seconds=FOR_EVER)))
    gone = await workflows.get(names[4])
    await delete(admin, names[4], gone["metadata"]["uid"])
    second = await workflows.page(f"{LABEL}={mine}", first.continue_, limit=2)
    third = await workflows.page(f"{LABEL}={mine}", second.continue_, limit=2)

    listed = [item["metadata"]["name"] for page in (first, second, third) for item in page.items]
    assert listed == names
    assert first.resource_version == second.resource_version == third.resource_version
    assert first.continue_
    assert not third.continue_
    after = await workflows.page(f"{LABEL}={mine}")
    assert [item["metadata"]["name"] for item in after.items] == [*names[:4], f"{mine}-3b"]


async def test_a_continue_token_from_before_a_compaction_is_expired(
    cluster: Cluster, workflows: Workflows, mine: str
) -> None:
    for number in range(3):
        await workflows.create(workflow(f"{mine}-{number}", container(seconds=FOR_EVER)))
    first = await workflows.page(f"{LABEL}={mine}", limit=2)
    await workflows.create(workflow(f"{mine}-9", container(seconds=FOR_EVER)))
    cluster.compact()

    async def expired() -> bool:
        try:
            await workflows.page(f"{LABEL}={mine}", first.continue_, limit=2)
        except answers.Expired:
            return True
        return False

    await eventually(expired)
    assert len((await workflows.page(f"{LABEL}={mine}")).items) == 4


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("color=red", {"a"}),
        ("color==red", {"a"}),
        ("color!=red", {"b", "c"}),
        ("color in (red, blue)", {"a", "b"}),
        ("color notin (red)", {"b", "c"}),
        ("color", {"a", "b"}),
        ("!color", {"c"}),
        ("color,size=big", {"b"}),
    ],
)
async def test_a_label_selector_chooses_as_kubernetes_says(
    workflows: Workflows, mine: str, selector: str, chosen: set[str]
) -> None:
    for name, labels in {"a": {"color": "red"}, "b": {"color": "blue", "size": "big"}, "c": {"size": "big"}}.items():
        body = orjson.loads(workflow(f"{mine}-{name}", container(seconds=FOR_EVER)))
        body["metadata"]["labels"] |= labels
        await workflows.create(orjson.dumps(body))

    page = await workflows.page(f"{LABEL}={mine},{selector}")

    assert {item["metadata"]["name"].removeprefix(f"{mine}-") for item in page.items} == chosen


async def test_a_secret_is_made_once_found_by_label_and_deleted_twice(
    cluster: Cluster, connection: Connection, mine: str
) -> None:
    secrets = Secrets(connection)
    path = f"/api/v1/namespaces/{connection.access.namespace}/secrets/{mine}"

    await secrets.ensure(mine, {LABEL: mine}, {"token": "first"})
    await secrets.ensure(mine, {LABEL: mine}, {"token": "second"})

    ((name, uid, gid),) = [astuple(each) for each in await secrets.found({LABEL: mine})]
    assert (name, gid) == (mine, None)
    async with Connection(cluster.access("admin", cluster.admin_token)) as admin:
        found = orjson.loads(await admin.call("get", "secrets", path))
    assert found["data"] == {"token": "Zmlyc3Q="}
    with pytest.raises(answers.OtherObject):
        await secrets.delete(mine, str(uuid4()))
    await secrets.delete(mine, uid)
    await secrets.delete(mine, uid)
    assert await secrets.found({LABEL: mine}) == []


async def test_secrets_are_found_page_by_page(
    connection: Connection, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argosy.kube.secrets, "_PAGE", "2")
    secrets = Secrets(connection)
    names = {f"{mine}-{number}" for number in range(5)}
    for name in names:
        await secrets.ensure(name, {LABEL: mine}, {"token": "t"})
    assert {found.name for found in await secrets.found({LABEL: mine})} == names


async def test_the_data_of_our_secrets_is_immutable(cluster: Cluster, connection: Connection, mine: str) -> None:
    await Secrets(connection).ensure(mine, {LABEL: mine}, {"token": "first"})
    path = f"/api/v1/namespaces/{connection.access.namespace}/secrets/{mine}"
    patch = orjson.dumps({"data": {"token": "c2Vjb25k"}})

    async with Connection(cluster.access("admin", cluster.admin_token)) as admin:
        with pytest.raises(answers.ObjectRefused, match="immutable"):
            await admin.call("patch", "secrets", path, body=patch, content_type="application/merge-patch+json")
