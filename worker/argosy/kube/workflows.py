"""Workflows of one cluster: create, read, list, watch, terminate, release.

Every change of an existing object names its uid: a name can be used again for another object, a uid cannot (F4). Nothing is deleted here:
the manifest or the cluster decides how long an ended workflow stays.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.labels import ANNOTATION_ENDED, FINALIZER

PAGE = 500
SILENCE = 70.0
"""Seconds without a byte on a watch; bookmarks come about once a minute."""

_MERGE = "application/merge-patch+json"

_TRIES = 4
"""Tries of a change that needs the object's newest version: Argo's controller may change it at the same time."""

_ALL_PODS = {"strategy": "OnWorkflowCompletion", "labelSelector": None, "deleteDelayDuration": None}
"""Value of `spec.podGC` that deletes all pods at once, even if the manifest wants to keep some."""

Object = dict[str, Any]


@dataclass(frozen=True)
class WatchEvent:
    """One event of a watch: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, the object as it then was, and its resourceVersion."""

    type: str
    object: Object
    version: str


@dataclass(frozen=True)
class Page:
    """One page of a list; `continue_` is empty on the last."""

    items: list[Object]
    resource_version: str
    continue_: str


class Workflows:
    """Calls on the workflows in a connection's namespace.

    Args:
        connection: The cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._path = f"/apis/argoproj.io/v1alpha1/namespaces/{connection.access.namespace}/workflows"

    async def create(self, body: bytes, timeout: float | None = None) -> Object:
        """Create a workflow from its serialised manifest.

        Args:
            body: JSON.
            timeout: Seconds for the request.

        Returns:
            The object's `metadata`.

        Raises:
            NameTaken: An object of that name is there.
            Unclear: It may have been created; create the *same name* again.
            KubeError: Anything else in `answers`.
        """
        answer = await self._connection.call("create", "workflows", self._path, body=body, timeout=timeout)
        return _workflow(answer)["metadata"]  # type: ignore[no-any-return]

    async def get(self, name: str) -> Object:
        """The whole workflow.

        Raises:
            Missing: There is none of that name.
        """
        return _workflow(await self._connection.call("get", "workflows", f"{self._path}/{name}"))

    async def page(self, selector: str, continue_: str = "", limit: int = PAGE) -> Page:
        """One page of the workflows that match a label selector, from the newest state (never resourceVersion=0). If the workflows are so
        large that the page is too long, a smaller page is requested.

        Raises:
            Expired: The continue token is too old; start from the first page.
        """
        query = {"labelSelector": selector, "limit": str(limit)} | ({"continue": continue_} if continue_ else {})
        try:
            answer = await self._connection.call("list", "workflows", self._path, query=query)
        except answers.TooLong:
            if limit == 1:
                raise
            return await self.page(selector, continue_, max(limit // 8, 1))
        with answers.understood():
            document = orjson.loads(answer)
            metadata = document["metadata"]
            return Page(list(document["items"]), str(metadata["resourceVersion"]), metadata.get("continue") or "")

    @asynccontextmanager
    async def watch(
        self, selector: str, resource_version: str, silence: float = SILENCE
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Events after a list's resourceVersion, with bookmarks; ends when the server closes it.

        Raises:
            Expired: 410, as the answer or inside an ERROR event; list again.
            FutureVersion: The server does not know that version yet (etcd restored); list again.
            Unclear: The stream broke, or was silent for `silence` seconds.
        """
        query = {
            "watch": "1",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
        }
        async with self._connection.stream("workflows", self._path, query, silence) as lines:
            yield _events(lines, self._connection.secrets)

    async def terminate(self, name: str, uid: str, why: str = "") -> None:
        """Have Argo end a running workflow, and its pods with it; harmless on a finished one.

        Argo itself only asks a container to end (in argo-workflows 3.7 a container that ignores TERM runs on, and Argo forgets the pod). So
        Argo is told to delete the pods when the workflow has ended: Kubernetes then kills what still runs after the pod's grace period (30
        s).

        Args:
            name: Name of the workflow.
            uid: Its uid.
            why: The state of its attempt, if that is the reason; it is written into an annotation.

        Raises:
            OtherObject: The name now belongs to another object.
            Missing: It is gone.
        """
        words = {"annotations": {ANNOTATION_ENDED: why}} if why else {}
        spec = {"shutdown": "Terminate", "suspend": None, "podGC": _ALL_PODS}
        patch = {"metadata": {"uid": uid} | words, "spec": spec}
        await self._patch(name, patch)

    async def release(self, name: str, uid: str, finalizers: list[str], version: str = "") -> None:
        """Remove our finalizer. A patch always replaces the whole list of finalizers. So if the list may have changed, it is read again:
        else a finalizer that Argo has added or removed meanwhile would be lost or come back.

        Args:
            name: Name of the workflow.
            uid: Its uid.
            finalizers: Its finalizers as last seen; those of others stay.
            version: The resourceVersion at which it had these finalizers; empty if that is not known.

        Raises:
            OtherObject: The name now belongs to another object.
            Missing: It is gone.
        """
        for tries_left in reversed(range(_TRIES)):
            if not version:
                metadata = (await self.get(name))["metadata"]
                if metadata["uid"] != uid:
                    raise answers.OtherObject(f"workflow {name} is another object by now")
                finalizers, version = metadata.get("finalizers") or [], str(metadata["resourceVersion"])
            if FINALIZER not in finalizers:
                return
            try:
                await self._release(name, uid, finalizers, version)
                return
            except answers.Wait:
                if not tries_left:
                    raise
            version = ""  # the object has changed, or the cluster asks to wait and will say so again

    async def _release(self, name: str, uid: str, finalizers: list[str], version: str) -> None:
        rest = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
        await self._patch(name, {"metadata": {"uid": uid, "resourceVersion": version, "finalizers": rest or None}})

    async def _patch(self, name: str, patch: Object) -> None:
        """Patch an object with a given uid. An answer about another object proves nothing.

        Raises:
            Unclear: It may have been patched or not; do it again.
        """
        path = f"{self._path}/{name}"
        answer = await self._connection.call("patch", "workflows", path, body=orjson.dumps(patch), content_type=_MERGE)
        if _workflow(answer)["metadata"]["uid"] != patch["metadata"]["uid"]:
            raise answers.Unclear(f"workflow {name}: the answer is about another object")


async def _events(lines: AsyncIterator[bytes], secrets: Collection[str]) -> AsyncIterator[WatchEvent]:
    async for line in lines:
        with answers.understood():
            document = orjson.loads(line)
            kind, found = str(document["type"]), dict(document["object"])
            code = int(found.get("code") or 500) if kind == "ERROR" else 0
            version = "" if kind == "ERROR" else str(found["metadata"]["resourceVersion"])
        if kind == "ERROR":
            raise answers.of_status(code, found, secrets=secrets)
        yield WatchEvent(kind, found, version)


def _workflow(body: bytes) -> Object:
    """The workflow in an answer. If the answer is anything else, it does not prove what the server did."""
    with answers.understood():
        document: Object = orjson.loads(body)
        if not (isinstance(document["metadata"]["uid"], str) and isinstance(document["metadata"]["name"], str)):
            raise TypeError("no name and uid")
        return document
