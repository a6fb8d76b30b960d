"""Poison and plain: reading a workflow's status never fails on what stands in it."""

import gzip
from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.kube import status
from argosy.labels import FINALIZER

NODES = {
    "a": {
        "id": "a",
        "displayName": "detect(0:fish)",
        "name": "job.detect(0:fish)",
        "type": "Pod",
        "phase": "Failed",
        "message": "main: Error (exit code 3)",
        "startedAt": "2026-11-24T04:00:00Z",
        "finishedAt": "2026-11-24T04:00:05Z",
        "children": ["b"],
        "outputs": {"exitCode": "3"},
    }
}


def workflow(**status_fields: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "job-1",
            "uid": "k1",
            "finalizers": [FINALIZER],
            "labels": {"uid": "7233a659-e7c1-11f1-8ce4-addc122c18c0", "argosy.dev/attempt": "1"},
        },
        "status": status_fields,
    }


def packed(document: object) -> str:
    return b64encode(gzip.compress(orjson.dumps(document), mtime=0)).decode()


def test_a_node_is_read_with_times_children_and_exit_code() -> None:
    seen = status.read(workflow(phase="Failed", nodes=NODES))
    (node,) = seen.nodes or ()
    assert (node.node_id, node.task, node.exit_code, node.children) == ("a", "detect(0:fish)", 3, ("b",))
    assert node.started_at is not None
    assert node.finished_at is not None
    assert (node.finished_at - node.started_at).total_seconds() == 5
    assert seen.finished
    assert seen.held


def test_compressed_nodes_are_the_same_as_plain_ones() -> None:
    assert status.read(workflow(compressedNodes=packed(NODES))).nodes == status.read(workflow(nodes=NODES)).nodes


def test_a_decompression_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "NODES_LIMIT", 1000)
    seen = status.read(workflow(compressedNodes=packed({"x": "y" * 2000})))
    assert seen.nodes is None
    assert "larger than 1000 bytes" in seen.note


@pytest.mark.parametrize("bad", ["not base64!", b64encode(b"no gzip").decode(), packed([1])])
def test_nodes_that_cannot_be_read_are_said_to_be_so_and_are_not_none(bad: str) -> None:
    seen = status.read(workflow(phase="Running", compressedNodes=bad))
    assert seen.nodes is None
    assert "not readable" in seen.note
    assert seen.phase == "Running"


@pytest.mark.parametrize("leaf", ["displayName", "message", "phase", "startedAt", "outputs", "children"])
def test_a_node_as_deep_as_json_goes_hurts_nobody(leaf: str) -> None:
    """Where Argo's minimal definitions are installed, the apiserver takes anything for a node's field."""
    deep = orjson.loads(b"[" * 1000 + b"]" * 1000)
    value = {"exitCode": deep} if leaf == "outputs" else [deep] if leaf == "children" else deep
    (node,) = status.read(workflow(nodes={"a": {leaf: value}})).nodes or ()
    assert (node.node_id, node.exit_code) == ("a", None)


def test_offloaded_nodes_are_said_to_be_not_readable_here() -> None:
    seen = status.read(workflow(offloadNodeStatusVersion="fnv:123", nodes=None))
    assert seen.nodes is None
    assert "own database" in seen.note


def test_an_object_without_a_name_is_unreadable() -> None:
    with pytest.raises(status.Unreadable):
        status.read({"metadata": {"uid": "k"}})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(anything, anything, anything)
def test_no_status_is_so_bad_that_reading_it_fails(labels: Any, body: Any, node: Any) -> None:
    seen = status.read(
        {
            "metadata": {"name": "n", "uid": "u", "labels": labels},
            "status": {"nodes": {"x": node}, "phase": body, "message": body, "startedAt": body},
        }
    )
    for text in (seen.phase, seen.message, *(n.message for n in seen.nodes or ())):
        assert "\x00" not in text
        text.encode()
