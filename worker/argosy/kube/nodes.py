"""One entry of a workflow's `status.nodes` as plain values. Pure, and without anything that only a worker has installed."""

import re
from datetime import datetime
from typing import NamedTuple

ONLY_A_CHILD = re.compile("child '([^']*)' (failed|errored)")
"""What Argo says of a node, or a workflow, that failed because of one below it."""


class NodeStatus(NamedTuple):
    """One entry of `status.nodes`. `boundary` is the id of the steps, DAG or pod that it belongs to."""

    node_id: str
    task: str
    type: str
    phase: str
    message: str
    children: tuple[str, ...]
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    pod: str = ""
    host: str = ""
    resources: tuple[tuple[str, int], ...] = ()
    boundary: str = ""
