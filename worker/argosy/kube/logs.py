"""What containers of a workflow's pods wrote, from the Kubernetes API.

A log is the text of strangers, and its length is theirs too: no answer is read beyond a limit. The API can leave out all but the last
lines, but not all but the last bytes; so the end of a log is asked for in lines, and in fewer lines if these are very long.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.labels import ANNOTATION_POD_NODE, LABEL_POD_WORKFLOW

MOST_LINES = 5000
"""The most lines of one container that are asked for when its log has an end."""

_LINES = (MOST_LINES, 50, 1)
"""How many lines are asked for, until they are not too long."""

_READ = 8 << 20
"""The most bytes that are read for the end of one log."""

_LONGEST = 64 << 10
"""Bytes of a line that is passed on in one piece while a log is followed."""

_SILENCE = 60.0
"""Seconds without a byte after which a log that is followed is asked for again: a half-open connection gives no error."""

_PAGE = 200
_PAGES = 5
"""Pages of pods of one workflow that are read; the logs of further pods are not found."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) ?")

_LARGEST = (1 << 31) - 1

_ARGOS = {"init", "wait"}
"""Containers that Argo adds to a pod."""


@dataclass(frozen=True)
class Container:
    """A container of a pod that has started: it runs, or has ended with `exit_code`."""

    name: str
    exit_code: int | None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None


@dataclass(frozen=True)
class Pod:
    """A pod of a workflow, the id of its node, and its containers that have started, without those that Argo adds."""

    name: str
    node_id: str
    containers: tuple[Container, ...]


class Tail(NamedTuple):
    """The end of a log: whole lines, unless the last one alone is too long. `cut`: there was more before it."""

    data: bytes
    cut: bool


class Line(NamedTuple):
    """A line that was followed, and when it was written as the cluster says it; empty if it does not."""

    stamp: str
    data: bytes


class Logs:
    """Calls about the logs in a connection's namespace.

    Args:
        connection: The cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._path = f"/api/v1/namespaces/{connection.access.namespace}/pods"

    async def pods(self, workflow: str, ended_well: bool = True) -> list[Pod]:
        """The pods of a workflow.

        Args:
            workflow: Its name.
            ended_well: Also those that succeeded or have not begun.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        query = {"labelSelector": f"{LABEL_POD_WORKFLOW}={workflow}", "limit": str(_PAGE)}
        if not ended_well:
            query["fieldSelector"] = "status.phase!=Succeeded,status.phase!=Pending"
        found: list[Pod] = []
        for _ in range(_PAGES):
            answer = await self._connection.call("list", "pods", self._path, query=query)
            with answers.understood():
                document = orjson.loads(answer)
                found += [_pod(item) for item in document["items"] or ()]
                query["continue"] = document["metadata"].get("continue") or ""
            if not query["continue"]:
                break
        # The name becomes a part of a path.
        return [pod for pod in found if _NAME.fullmatch(pod.name)]

    async def tail(self, pod: str, container: str, size: int, lines: int = MOST_LINES) -> Tail:
        """The end of a container's log.

        Args:
            pod: Name of the pod.
            container: Name of the container.
            size: The most bytes of it.
            lines: The most lines of it; not more than `MOST_LINES`.

        Raises:
            Missing: The pod is gone.
            TooLong: Even its last line is longer than what is read.
        """
        for most in _LINES:
            try:
                return await self._tail(pod, container, size, min(lines, most))
            except answers.TooLong:
                if most == _LINES[-1]:
                    raise
        raise AssertionError  # the last try has returned or raised

    async def _tail(self, pod: str, container: str, size: int, lines: int) -> Tail:
        kept, total, ends = bytearray(), 0, 0
        query = {"container": container, "tailLines": str(lines)}
        seconds = self._connection.request_timeout
        async with self._connection.text("pods/log", f"{self._path}/{pod}/log", query, seconds=seconds) as chunks:
            async for chunk in chunks:
                total, ends = total + len(chunk), ends + chunk.count(b"\n")
                if total > _READ:
                    raise answers.TooLong(f"a log with {lines} lines of more than {_READ >> 20} MiB")
                kept += chunk
                if len(kept) > 2 * size:
                    del kept[: len(kept) - size]
        if total > size:
            del kept[: len(kept) - size]
            del kept[: kept.find(b"\n", 0, -1) + 1]
        return Tail(bytes(kept), total > size or ends >= lines)

    @asynccontextmanager
    async def follow(
        self, pod: str, container: str, since: str = "", lines: int | None = None
    ) -> AsyncIterator[AsyncIterator[list[Line]]]:
        """A container's log as it is written, until the container ends: lines as they arrive, some at a time.

        Args:
            pod: Name of the pod.
            container: Name of the container.
            since: Stamp of the last line that was read already.
            lines: Begin with so many of those that are there; None for all.

        Raises:
            KubeError: Also while iterating. `Unclear` if the stream broke or was silent for a minute; follow it again from the last stamp.
        """
        query = {"container": container, "follow": "true", "timestamps": "true"}
        query |= {"sinceTime": since} if since else {"tailLines": str(lines)} if lines is not None else {}
        path = f"{self._path}/{pod}/log"
        async with self._connection.text("pods/log", path, query, seconds=None, silence=_SILENCE) as chunks:
            yield _since(since, _lines(chunks))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Lines of at most `_LONGEST` bytes; a longer one comes in pieces."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST:
            whole, rest = [*whole, rest], b""
        if whole:
            yield whole
    if rest:
        yield [rest]


async def _since(since: str, lines: AsyncIterator[list[bytes]]) -> AsyncIterator[list[Line]]:
    """Lines with their stamps, without those up to `since`: the API knows whole seconds only."""
    async for some in lines:
        found = [_line(data) for data in some]
        yield [line for line in found if not (line.stamp and since and line.stamp <= since)]


def _line(data: bytes) -> Line:
    stamp = _STAMPED.match(data)
    return Line(stamp[1].decode(), data[stamp.end() :]) if stamp else Line("", data)


def _pod(item: dict[str, Any]) -> Pod:
    metadata, status = item["metadata"], item.get("status") or {}
    name = str(metadata["name"])
    node_id = (metadata.get("annotations") or {}).get(ANNOTATION_POD_NODE)
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    found = [made for each in statuses if (made := _container(each)) is not None]
    # Before Argo wrote that annotation, a pod had the id of its node as its name.
    return Pod(name, str(node_id or name), tuple(found))


def _container(status: dict[str, Any]) -> Container | None:
    name, state = str(status["name"]), status.get("state") or {}
    if name in _ARGOS or not _NAME.fullmatch(name):
        return None
    if (ended := state.get("terminated")) is not None:
        return Container(name, max(min(int(ended.get("exitCode", 0)), _LARGEST), -_LARGEST))
    return Container(name, None) if state.get("running") is not None else None
