"""Reads a workflow object into plain values. Pure.

The object was written by Argo, a tenant's containers and anybody who may write on the cluster, so no field is trusted: it may have a wrong
type, NUL bytes or an absurd size. An object that cannot be read affects only its own job (F21).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

import orjson

from argosy.errors import ArgosyError
from argosy.inputs import clean
from argosy.kube.compressed import NotUnpacked, unpack
from argosy.kube.nodes import ONLY_A_CHILD, NodeStatus
from argosy.labels import ANNOTATION_ENDED, FINALIZER, LABEL_ATTEMPT, LABEL_GID, LABEL_UID, workflow_name
from argosy.states import FINAL, State

NODES_LIMIT = 64 << 20
"""The most bytes that compressed node status may unpack to; a compression bomb becomes a thousand times larger."""

_TEXT_LIMIT = 8192

_POD_NAMES = "workflows.argoproj.io/pod-name-format"
"""Annotation of workflows whose pods have the names of their nodes, as before Argo 3.3."""

_POD_PREFIX = 253 - 10 - 1
"""Characters of a pod's name before the dash and the number."""

_RESOURCES = 20
"""Kinds of resources of one node that are kept."""

Object = dict[str, Any]


class Unreadable(ArgosyError):
    """The status of a workflow cannot be read."""


@dataclass(frozen=True)
class Sighting:
    """A workflow as it was seen once.

    `uid`, `attempt` and `gid` come from our labels and are None if these are not readable. `phase` is empty if Argo has not processed the
    workflow yet. `ended`: if argosy has terminated it, the state of its attempt that was the reason. `nodes` is None if they cannot be
    read; `note` then says why. `offloaded` is the version of the nodes that Argo keeps in its own database; empty if it keeps none there.
    `pods_ended` says whether all its pods have ended; None if that is not known yet.
    """

    name: str
    k8s_uid: str
    uid: UUID | None
    attempt: int | None
    phase: str
    message: str
    progress: str
    started_at: datetime | None
    finished_at: datetime | None
    deleting: bool
    shutdown: bool
    finalizers: tuple[str, ...]
    gone: bool = False
    nodes: tuple[NodeStatus, ...] | None = ()
    note: str = field(default="")
    version: str = ""
    ended: State | None = None
    gid: UUID | None = None
    pods_ended: bool | None = None
    resources: tuple[tuple[str, int], ...] = ()
    offloaded: str = ""

    @property
    def finished(self) -> bool:
        """Whether Argo says that it has ended."""
        return self.phase in {"Succeeded", "Failed", "Error"}

    @property
    def ending(self) -> bool:
        """Whether it was terminated or is being deleted, and its pods may still run."""
        return ((self.finished and self.shutdown) or self.deleting or self.gone) and not self.pods_ended

    @property
    def held(self) -> bool:
        """Whether it has our finalizer."""
        return FINALIZER in self.finalizers


def read(workflow: Object, gone: bool = False) -> Sighting:
    """Read a workflow object.

    Args:
        workflow: The object, as listed or watched.
        gone: Whether this is its last state, seen in a DELETED event.

    Raises:
        Unreadable: Not even its metadata can be read.
    """
    try:
        metadata: Object = workflow["metadata"]
        name, k8s_uid = _text(metadata["name"]), _text(metadata["uid"])
    except (KeyError, TypeError) as error:
        raise Unreadable(f"a workflow without name or uid in its metadata: {error}") from error
    status = _mapping(workflow.get("status"))
    labels = _mapping(metadata.get("labels"))
    nodes, note = _nodes(status, name, _mapping(metadata.get("annotations")).get(_POD_NAMES) == "v1")
    finalizers = metadata.get("finalizers")
    return Sighting(
        name=name,
        k8s_uid=k8s_uid,
        uid=_uuid(labels.get(LABEL_UID)),
        attempt=_integer(labels.get(LABEL_ATTEMPT)),
        phase=_text(status.get("phase")),
        message=_text(status.get("message")),
        progress=_text(status.get("progress")),
        started_at=moment(status.get("startedAt")),
        finished_at=moment(status.get("finishedAt")),
        deleting=metadata.get("deletionTimestamp") is not None,
        shutdown=bool(_mapping(workflow.get("spec")).get("shutdown")),
        finalizers=tuple(str(f) for f in finalizers) if isinstance(finalizers, list) else (),
        gone=gone,
        nodes=nodes,
        note=note,
        version=_plain(metadata.get("resourceVersion")),
        ended=_ENDS.get(_text(_mapping(metadata.get("annotations")).get(ANNOTATION_ENDED))),
        gid=_uuid(labels.get(LABEL_GID)),
        resources=_resources(status.get("resourcesDuration")),
        offloaded=_text(status.get("offloadNodeStatusVersion")),
    )


def gone(uid: UUID, attempt: int, k8s_uid: str, gid: UUID | None) -> Sighting:
    """A sighting for an attempt whose workflow is gone, when nobody saw how it ended."""
    return Sighting(
        name=workflow_name(uid, attempt),
        k8s_uid=k8s_uid,
        uid=uid,
        attempt=attempt,
        gid=gid,
        phase="",
        message="its workflow is not on the cluster any more and nobody saw how it ended",
        progress="",
        started_at=None,
        finished_at=None,
        deleting=False,
        shutdown=False,
        finalizers=(),
        gone=True,
        nodes=None,
    )


_ENDS = {str(state): state for state in FINAL - {State.REJECTED}}
"""States that can be the reason for which argosy terminates a workflow."""


def _nodes(status: Object, workflow: str, old_pod_names: bool) -> tuple[tuple[NodeStatus, ...] | None, str]:
    if status.get("offloadNodeStatusVersion"):
        return (
            None,
            "nodes: not readable here (Argo keeps them in its own database: argosy cluster update --argo-server)",
        )
    nodes = status.get("nodes")
    if packed := status.get("compressedNodes"):
        try:
            nodes = orjson.loads(unpack(_plain(packed), NODES_LIMIT))
        except (NotUnpacked, orjson.JSONDecodeError) as error:
            return None, f"nodes: not readable ({error})"
    if nodes is None:
        return (), ""
    if not isinstance(nodes, dict):
        return None, "nodes: not readable (not a mapping)"
    return _named(tuple(_node(str(key), _mapping(node), workflow, old_pod_names) for key, node in nodes.items())), ""


def _named(nodes: tuple[NodeStatus, ...]) -> tuple[NodeStatus, ...]:
    """Nodes whose messages name other nodes as a manifest does: Argo's name ids, which nobody knows."""
    found = [(place, ONLY_A_CHILD.fullmatch(node.message)) for place, node in enumerate(nodes) if node.message]
    if not any(match for _, match in found):
        return nodes
    tasks = {node.node_id: node.task for node in nodes}
    named = list(nodes)
    for place, match in found:
        if match and (task := tasks.get(match[1])):
            named[place] = nodes[place]._replace(message=f"child '{task}' {match[2]}")
    return tuple(named)


def _node(key: str, node: Object, workflow: str, old_pod_names: bool) -> NodeStatus:
    children = node.get("children")
    exit_code = _mapping(node.get("outputs")).get("exitCode")
    return NodeStatus(
        node_id=_text(key),
        task=_text(node.get("displayName") or node.get("name")),
        type=_text(node.get("type")),
        phase=_text(node.get("phase")),
        message=_text(node.get("message")),
        children=tuple(_text(child) for child in children) if isinstance(children, list) else (),
        exit_code=_integer(exit_code),
        started_at=moment(node.get("startedAt")),
        finished_at=moment(node.get("finishedAt")),
        pod=_pod(_text(key), node, workflow, old_pod_names),
        host=_text(node.get("hostNodeName")),
        resources=_resources(node.get("resourcesDuration")),
        boundary=_text(node.get("boundaryID")),
    )


def _pod(key: str, node: Object, workflow: str, old_names: bool) -> str:
    """The name that Argo gave a node's pod: the node's id, with the template's name before the number."""
    if node.get("type") != "Pod":
        return ""
    template = _text(_mapping(node.get("templateRef")).get("template") or node.get("templateName"))
    if old_names or key == workflow or not template:
        return key
    prefix, _, number = key.rpartition("-")
    return f"{f'{prefix}-{template}'[:_POD_PREFIX]}-{number}"


def _resources(value: object) -> tuple[tuple[str, int], ...]:
    """How long resources were used, in Argo's units, by their names; a few, if it is a mapping."""
    found = ((_text(name)[:100], _integer(seconds)) for name, seconds in islice(_mapping(value).items(), _RESOURCES))
    return tuple((name, seconds) for name, seconds in found if seconds is not None and seconds >= 0)


def _mapping(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    text = _plain(value)[:_TEXT_LIMIT]
    return text if text.isprintable() else clean(text, limit=_TEXT_LIMIT)


def _plain(value: object) -> str:
    """A scalar as text. Nested values become '': they may be too deep for `str`."""
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _integer(value: object) -> int | None:
    """A number in PostgreSQL's `integer` range, or None."""
    if value is None:
        return None
    try:
        number = int(_plain(value))
    except ValueError:
        return None
    return number if abs(number) < 1 << 31 else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(_plain(value))
    except ValueError:
        return None


_TIMES = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
"""The earliest and latest time that is accepted from a workflow. Beyond these PostgreSQL may store a time that Python cannot read back, and
then one such row made every list of jobs fail."""


def moment(value: object) -> datetime | None:
    """A time from the object, limited to a range that PostgreSQL and Python can both read; None if it is not a time."""
    if value is None:
        return None
    try:
        told = datetime.fromisoformat(_plain(value))
    except ValueError:
        return None
    if told.tzinfo is None:
        return None
    first, last = _TIMES
    return first if told < first else last if told > last else told
