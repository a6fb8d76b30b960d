"""How workflows run, and what their nodes look like then."""

import orjson
import pytest

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.kube.workflows import Object, Workflows
from argosy.labels import FINALIZER
from tests.cluster.clusters import delete, unpin
from tests.cluster.manifests import (
    ENTRY,
    FOR_EVER,
    IMAGE,
    by_name,
    container,
    ended,
    nodes,
    pods,
    running,
    seen,
    tree,
    workflow,
)

EACH_ITEM = {"parameters": [{"name": "item", "value": "{{item}}"}]}
ITEM_INPUT = {"parameters": [{"name": "item"}]}


def phase(found: Object) -> tuple[str, str]:
    return found["status"]["phase"], found["status"].get("message", "")


@pytest.mark.on_node
async def test_a_one_step_workflow_succeeds_with_one_node_that_has_start_and_stop(
    workflows: Workflows, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container()))

    found = await ended(workflows, mine)

    assert metadata["uid"] == found["metadata"]["uid"]
    assert phase(found) == ("Succeeded", "")
    assert found["status"]["progress"] == "1/1"
    assert found["metadata"]["labels"]["workflows.argoproj.io/phase"] == "Succeeded"
    assert found["metadata"]["labels"]["workflows.argoproj.io/completed"] == "true"
    (node,) = nodes(found)
    assert node["startedAt"] <= node["finishedAt"]
    expected = {
        "id": mine,
        "name": mine,
        "displayName": mine,
        "type": "Pod",
        "templateName": ENTRY,
        "phase": "Succeeded",
    }
    assert expected.items() <= node.items()
    assert node["outputs"]["exitCode"] == "0"


@pytest.mark.on_node
async def test_a_failing_step_carries_its_exit_code_and_fails_the_workflow(workflows: Workflows, mine: str) -> None:
    await workflows.create(workflow(mine, container(exit_code=3)))

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", "main: Error (exit code 3)")
    assert nodes(found)[0]["outputs"]["exitCode"] == "3"
    assert nodes(found)[0]["message"] == "main: Error (exit code 3)"


@pytest.mark.on_node
async def test_a_script_runs_like_a_container_and_its_literal_exit_counts(workflows: Workflows, mine: str) -> None:
    script = {"image": IMAGE, "command": ["sh"], "source": "echo bye\nexit 7\n"}
    await workflows.create(workflow(mine, {"name": ENTRY, "script": script}))

    assert phase(await ended(workflows, mine)) == ("Failed", "main: Error (exit code 7)")


@pytest.mark.on_node
async def test_a_step_that_fails_twice_then_succeeds_is_a_retry_node_with_three_children(
    workflows: Workflows, mine: str
) -> None:
    await workflows.create(workflow(mine, container(exit_code="1,1,0", retryStrategy={"limit": "3"})))

    found = await ended(workflows, mine)

    assert phase(found) == ("Succeeded", "")
    assert tree(found) == {
        "": ("Retry", "Succeeded", ["(0)", "(1)", "(2)"]),
        "(0)": ("Pod", "Failed", []),
        "(1)": ("Pod", "Failed", []),
        "(2)": ("Pod", "Succeeded", []),
    }
    assert by_name(found)["(1)"]["displayName"] == f"{mine}(1)"


async def test_a_step_that_uses_up_its_retries_fails_the_workflow(workflows: Workflows, mine: str) -> None:
    await workflows.create(workflow(mine, container(exit_code=1, retryStrategy={"limit": 1})))

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", "No more retries left")
    assert len(pods(found)) == 2


async def test_steps_run_group_by_group_and_the_next_group_hangs_on_the_last_ones_leaves(
    workflows: Workflows, mine: str
) -> None:
    groups = [[{"name": "a", "template": "pod"}, {"name": "b", "template": "pod"}], [{"name": "c", "template": "pod"}]]
    await workflows.create(workflow(mine, {"name": ENTRY, "steps": groups}, container("pod")))

    found = await ended(workflows, mine)

    assert phase(found) == ("Succeeded", "")
    assert tree(found) == {
        "": ("Steps", "Succeeded", ["[0]"]),
        "[0]": ("StepGroup", "Succeeded", ["[0].a", "[0].b"]),
        "[0].a": ("Pod", "Succeeded", ["[1]"]),
        "[0].b": ("Pod", "Succeeded", ["[1]"]),
        "[1]": ("StepGroup", "Succeeded", ["[1].c"]),
        "[1].c": ("Pod", "Succeeded", []),
    }
    assert by_name(found)["[1].c"]["displayName"] == "c"
    assert by_name(found)["[1].c"]["boundaryID"] == mine
    assert by_name(found)["[1].c"]["finishedAt"] >= by_name(found)["[0].a"]["finishedAt"]


async def test_a_failing_step_keeps_the_groups_after_it_from_starting(workflows: Workflows, mine: str) -> None:
    groups = [[{"name": "a", "template": "bad"}], [{"name": "b", "template": "good"}]]
    await workflows.create(
        workflow(mine, {"name": ENTRY, "steps": groups}, container("good"), container("bad", exit_code=2))
    )

    found = await ended(workflows, mine)

    assert tree(found).keys() == {"", "[0]", "[0].a"}
    assert phase(found) == ("Failed", f"child '{by_name(found)['[0].a']['id']}' failed")


async def test_continue_on_and_when_decide_what_follows_a_failure(workflows: Workflows, mine: str) -> None:
    groups = [
        [{"name": "a", "template": "bad", "continueOn": {"failed": True}}],
        [
            {"name": "b", "template": "good", "when": "{{steps.a.status}} == Succeeded"},
            {"name": "c", "template": "good", "when": "{{steps.a.status}} != Succeeded"},
        ],
    ]
    await workflows.create(
        workflow(mine, {"name": ENTRY, "steps": groups}, container("good"), container("bad", exit_code=2))
    )

    found = await ended(workflows, mine)

    assert phase(found) == ("Succeeded", "")
    assert by_name(found)["[1].b"]["type"] == by_name(found)["[1].b"]["phase"] == "Skipped"
    assert by_name(found)["[1].b"]["message"] == "when 'Failed == Succeeded' evaluated false"
    assert by_name(found)["[1].c"]["phase"] == "Succeeded"


@pytest.mark.on_node
async def test_a_dag_with_items_retries_and_a_nested_template_has_argos_node_tree(
    workflows: Workflows, mine: str
) -> None:
    tasks = [
        {"name": "a", "template": "pod"},
        {"name": "b", "template": "one", "depends": "a", "withItems": ["x", {"k": 1}], "arguments": EACH_ITEM},
        {"name": "c", "template": "flaky", "depends": "b && a.Succeeded"},
        {"name": "d", "template": "pod", "depends": "a.Failed"},
        {"name": "e", "template": "inner", "depends": "c"},
    ]
    await workflows.create(
        workflow(
            mine,
            {"name": ENTRY, "dag": {"tasks": tasks}},
            container("pod"),
            container("one", inputs=ITEM_INPUT),
            container("flaky", exit_code="1,0", retryStrategy={"limit": 2}),
            {"name": "inner", "steps": [[{"name": "s", "template": "pod"}]]},
        )
    )

    found = await ended(workflows, mine)

    assert phase(found) == ("Succeeded", "")
    shape = tree(found)
    assert set(shape.pop(".a")[2]) == {".b", ".c", ".d"}
    assert shape == {
        "": ("DAG", "Succeeded", [".a"]),
        ".b": ("TaskGroup", "Succeeded", [".b(0:x)", ".b(1:k:1)"]),
        ".b(0:x)": ("Pod", "Succeeded", [".c"]),
        ".b(1:k:1)": ("Pod", "Succeeded", [".c"]),
        ".c": ("Retry", "Succeeded", [".c(0)", ".c(1)"]),
        ".c(0)": ("Pod", "Failed", []),
        ".c(1)": ("Pod", "Succeeded", [".e"]),
        ".d": ("Skipped", "Omitted", []),
        ".e": ("Steps", "Succeeded", [".e[0]"]),
        ".e[0]": ("StepGroup", "Succeeded", [".e[0].s"]),
        ".e[0].s": ("Pod", "Succeeded", []),
    }


async def test_a_dag_fails_with_a_failing_task_and_omits_what_depends_on_it(workflows: Workflows, mine: str) -> None:
    tasks = [
        {"name": "a", "template": "bad"},
        {"name": "b", "template": "good", "dependencies": ["a"]},
        {"name": "c", "template": "good"},
    ]
    await workflows.create(
        workflow(mine, {"name": ENTRY, "dag": {"tasks": tasks}}, container("good"), container("bad", exit_code=3))
    )

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", "")
    assert {name: node["phase"] for name, node in by_name(found).items()} == {
        "": "Failed", ".a": "Failed", ".b": "Omitted", ".c": "Succeeded"
    }  # fmt: skip


async def test_with_param_loops_over_the_list_of_a_workflow_parameter(workflows: Workflows, mine: str) -> None:
    step = {"name": "a", "template": "one", "withParam": "{{workflow.parameters.list}}", "arguments": EACH_ITEM}
    arguments = {"parameters": [{"name": "list", "value": '["u", 3]'}]}
    await workflows.create(
        workflow(mine, {"name": ENTRY, "steps": [[step]]}, container("one", inputs=ITEM_INPUT), arguments=arguments)
    )

    found = await ended(workflows, mine)

    assert {"[0].a(0:u)", "[0].a(1:3)"} == {name for name, node in by_name(found).items() if node["type"] == "Pod"}


@pytest.mark.on_node
async def test_an_exit_handler_runs_after_a_failure_and_leaves_it_a_failure(workflows: Workflows, mine: str) -> None:
    await workflows.create(workflow(mine, container(exit_code=2), container("bye"), onExit="bye"))

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", "main: Error (exit code 2)")
    assert by_name(found)[".onExit"]["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"steps": [[{"name": "a", "template": "none"}]]}, "templates.main.steps[0].a template name 'none' undefined"),
        (
            {"dag": {"tasks": [{"name": "a", "template": "pod", "depends": "a"}]}},
            "templates.main sorting failed: graph with cycle",
        ),
    ],
)
async def test_a_spec_that_argo_refuses_fails_the_workflow_without_a_node(
    workflows: Workflows, mine: str, template: Object, message: str
) -> None:
    await workflows.create(workflow(mine, {"name": ENTRY} | template, container("pod")))

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", f"invalid spec: {message}")
    assert nodes(found) == []


@pytest.mark.on_node
async def test_a_running_workflow_that_is_terminated_fails_and_says_so(workflows: Workflows, mine: str) -> None:
    metadata = await workflows.create(workflow(mine, container(seconds=FOR_EVER)))
    await running(workflows, mine)

    await workflows.terminate(mine, metadata["uid"])

    found = await ended(workflows, mine)
    assert phase(found) == ("Failed", "Stopped with strategy 'Terminate'")
    assert nodes(found)[0]["phase"] == "Failed"


async def test_terminate_ends_every_branch_and_starts_no_retry(workflows: Workflows, mine: str) -> None:
    tasks = [{"name": "a", "template": "pod"}, {"name": "b", "template": "pod", "depends": "a"}]
    templates = (
        {"name": ENTRY, "dag": {"tasks": tasks}},
        container("pod", seconds=FOR_EVER, retryStrategy={"limit": 5}),
    )
    metadata = await workflows.create(workflow(mine, *templates))
    await running(workflows, mine)

    await workflows.terminate(mine, metadata["uid"])
    await workflows.terminate(mine, metadata["uid"])

    found = await ended(workflows, mine)
    assert phase(found) == ("Failed", "Stopped with strategy 'Terminate'")
    assert [node["phase"] for node in pods(found)] == ["Failed"]


@pytest.mark.on_node
async def test_a_workflow_created_with_shutdown_ends_failed_without_a_pod(workflows: Workflows, mine: str) -> None:
    await workflows.create(workflow(mine, container(seconds=FOR_EVER), shutdown="Terminate"))

    found = await ended(workflows, mine)

    assert phase(found) == ("Failed", "Stopped with strategy 'Terminate'")
    assert [node["message"] for node in pods(found)] == ["workflow shutdown with strategy: Terminate"]


@pytest.mark.on_node
async def test_a_running_workflow_that_is_deleted_is_held_by_the_finalizer_and_goes_on(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container(seconds=10), finalizers=[FINALIZER]))
    await running(workflows, mine)

    await delete(admin, mine, metadata["uid"])

    assert (await workflows.get(mine))["metadata"]["deletionTimestamp"]
    found = await ended(workflows, mine)
    assert phase(found) == ("Succeeded", "")
    await workflows.release(mine, metadata["uid"], found["metadata"]["finalizers"])
    with pytest.raises(answers.Missing):
        await workflows.get(mine)


async def test_a_running_workflow_without_a_finalizer_is_gone_at_once_when_deleted(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container(seconds=FOR_EVER)))
    await running(workflows, mine)

    await delete(admin, mine, metadata["uid"])

    with pytest.raises(answers.Missing):
        await workflows.get(mine)


async def test_the_time_to_live_of_a_finished_workflow_only_marks_it_while_the_finalizer_holds_it(
    workflows: Workflows, mine: str
) -> None:
    ttl = {"secondsAfterCompletion": 1}
    metadata = await workflows.create(workflow(mine, container(), finalizers=[FINALIZER], ttlStrategy=ttl))

    found = await seen(workflows, mine, lambda found: "deletionTimestamp" in found["metadata"])

    assert phase(found) == ("Succeeded", "")
    await workflows.release(mine, metadata["uid"], found["metadata"]["finalizers"])
    with pytest.raises(answers.Missing):
        await workflows.get(mine)


async def test_a_finalizer_that_somebody_puts_on_after_the_last_look_stays(
    workflows: Workflows, admin: Connection, mine: str
) -> None:
    metadata = await workflows.create(workflow(mine, container(), finalizers=[FINALIZER]))
    seen_before = (await ended(workflows, mine))["metadata"]
    others = orjson.dumps({"metadata": {"finalizers": [FINALIZER, "example.org/other"]}})
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{admin.access.namespace}/workflows/{mine}"
    await admin.call("patch", "workflows", path, body=others, content_type="application/merge-patch+json")

    await workflows.release(mine, metadata["uid"], seen_before["finalizers"], seen_before["resourceVersion"])

    assert (await workflows.get(mine))["metadata"]["finalizers"] == ["example.org/other"]
    await unpin(admin, mine)
