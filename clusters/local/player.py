"""The pod player: what kubelet and scheduler are to a real cluster, without running anything.

Argo's controller only ever reads a pod's status, so a process that writes believable statuses makes it walk steps, dag,
withItems, retryStrategy and failures for real, with no container runtime and no image. Nobody answers pods/exec here, so
Argo's own way of ending a pod does not arrive: the player ends the pods of a workflow that is over itself. How a pod behaves
meanwhile is in `argosy/demo/wishes.py`, its statuses in behaviour.py.
"""

import argparse
import asyncio
import datetime
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from clusters.local.behaviour import (
    Json,
    annotations,
    deadline,
    finished,
    outputs,
    retry,
    running,
    waiting,
    wishes,
)

WORKFLOW = "workflows.argoproj.io/workflow"
COMPLETED = "workflows.argoproj.io/completed=true"
TERMINATED = 143  # 128 + SIGTERM
BAD_WISH = 64  # EX_USAGE
PAST_DEADLINE = "Pod was active on the node longer than the specified deadline"  # kubelet's words
CONNECTIONS = 32
REQUEST_SECONDS = 30.0
SILENCE_SECONDS = 75.0  # the apiserver sends a bookmark about every minute
RETRY_SECONDS = 0.5
LARGEST_EVENT = 16 * 2**20
METADATA_ONLY = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"

log = logging.getLogger("player")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _said(error: Exception) -> str:
    """An error without its repr, which in aiohttp shows the request's headers, the token among them."""
    return f"{type(error).__name__} {error}"


@dataclass
class Play:
    """A pod in play: its workflow's uid, and what ends it before its time."""

    workflow: str
    end: asyncio.Event
    task: asyncio.Task[None] | None = None


class Player:
    """Plays every pod of every workflow until it is cancelled.

    Args:
        session: Reaches the apiserver with the rights of an administrator.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._over: set[str] = set()  # uids of workflows that are over and still there
        self._plays: dict[str, Play] = {}  # by pod uid, until the pod is seen final or gone

    async def run(self) -> None:
        """Play until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_workflows())
            tasks.create_task(self._follow_pods(tasks))

    async def _follow_workflows(self) -> None:
        path = "/apis/argoproj.io/v1alpha1/workflows"
        async for kind, workflow in self._events(path, COMPLETED, metadata_only=True):
            if kind == "LISTED":
                self._over = {item["metadata"]["uid"] for item in workflow["items"]}
            elif kind == "DELETED":
                self._over.discard(workflow["metadata"]["uid"])
            else:
                self._over.add(workflow["metadata"]["uid"])
            for play in self._plays.values():
                if play.workflow in self._over:
                    play.end.set()

    async def _follow_pods(self, tasks: asyncio.TaskGroup) -> None:
        async for kind, pod in self._events("/api/v1/pods", WORKFLOW):
            if kind == "LISTED":
                for uid in self._plays.keys() - {item["metadata"]["uid"] for item in pod["items"]}:
                    self._drop(uid)
                for item in pod["items"]:
                    self._see(item, tasks)
            elif kind == "DELETED":
                self._drop(pod["metadata"]["uid"])
            else:
                self._see(pod, tasks)

    def _see(self, pod: Json, tasks: asyncio.TaskGroup) -> None:
        uid = pod["metadata"]["uid"]
        if pod["status"].get("phase") in ("Succeeded", "Failed"):
            self._drop(uid)
            return
        if uid not in self._plays:
            owner = next((o["uid"] for o in pod["metadata"].get("ownerReferences", [])), "")
            play = self._plays[uid] = Play(owner, asyncio.Event())
            play.task = tasks.create_task(self._play(pod, play.end))
        play = self._plays[uid]
        if play.workflow in self._over or "deletionTimestamp" in pod["metadata"]:
            play.end.set()

    def _drop(self, uid: str) -> None:
        play = self._plays.pop(uid, None)
        if play is not None and play.task is not None:
            play.task.cancel()

    async def _play(self, pod: Json, end: asyncio.Event) -> None:
        if not wishes(pod).pulled():
            await self._patch(pod, waiting(pod))
            await end.wait()
        started = pod["status"].get("startTime")  # set by a player before this one
        if started is None:
            started = _now()
            await self._patch(pod, running(pod, started))
        try:
            last = await self._run(pod, started, end)
        except ValueError as error:
            last = finished(pod, started, _now(), BAD_WISH, "BadWish", f"pod player: {error}")
        await self._patch(pod, last)

    async def _run(self, pod: Json, started: str, end: asyncio.Event) -> Json:
        """Wait for the pod's end, whatever ends it, and return its last status."""
        seconds = wishes(pod).seconds(0)
        allowed = min(seconds, deadline(pod))
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(started)
        left = allowed - age.total_seconds() if allowed else 0
        if not end.is_set() and left > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), left)
        if end.is_set():
            return finished(pod, started, _now(), TERMINATED)
        if allowed < seconds:
            return finished(pod, started, _now(), TERMINATED, "DeadlineExceeded", PAST_DEADLINE)
        code = wishes(pod).exit_code(retry(pod))
        if code == 0:
            await self._report_outputs(pod)
        return finished(pod, started, _now(), code)

    async def _report_outputs(self, pod: Json) -> None:
        """What the wait container does: without it a template that declares outputs never succeeds."""
        reported = outputs(pod)
        if not reported:
            return
        metadata = pod["metadata"]
        result = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTaskResult",
            "metadata": {
                "name": annotations(pod)["workflows.argoproj.io/node-id"],
                "labels": {
                    WORKFLOW: metadata["labels"][WORKFLOW],
                    "workflows.argoproj.io/report-outputs-completed": "true",
                },
            },
            "outputs": reported,
        }
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{metadata['namespace']}/workflowtaskresults"
        await self._send("POST", path, result, "application/json")

    async def _patch(self, pod: Json, status: Json) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        await self._send("PATCH", path, body, "application/merge-patch+json")

    async def _send(self, method: str, path: str, body: Json, content_type: str) -> None:
        """Send until the apiserver has decided; that the pod is gone or another one is a decision too."""
        while True:
            try:
                async with self._session.request(
                    method, path, data=orjson.dumps(body), headers={"Content-Type": content_type}
                ) as answer:
                    if answer.status < 500 and answer.status != 429:
                        if answer.status not in (200, 201, 404, 409):
                            log.error("%s %s: %s %s", method, path, answer.status, await answer.text())
                        return
            except (aiohttp.ClientError, TimeoutError) as error:
                log.warning("%s %s: %s, again", method, path, _said(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _events(
        self, path: str, selector: str, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[str, Json]]:
        """List, then watch, for ever: ("LISTED", the whole list) and then ("ADDED" | "MODIFIED" | "DELETED", object).

        Every end of a watch, 410 or not, leads to a new list: an apiserver or etcd that was restarted costs one list.
        """
        while True:
            try:
                listing = await self._list(path, selector, metadata_only)
                yield "LISTED", listing
                version = listing["metadata"]["resourceVersion"]
                async for kind, item in self._watch(path, selector, metadata_only, version):
                    yield kind, item
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.warning("%s: %s, listing again", path, _said(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, path: str, selector: str, metadata_only: bool) -> Json:
        headers = {"Accept": METADATA_ONLY.format(list="List")} if metadata_only else {}
        async with self._session.get(path, params={"labelSelector": selector}, headers=headers) as answer:
            answer.raise_for_status()
            listing: Json = orjson.loads(await answer.read())
            listing["items"] = listing["items"] or []  # null for none, in a list of metadata only
            return listing

    async def _watch(
        self, path: str, selector: str, metadata_only: bool, version: str
    ) -> AsyncIterator[tuple[str, Json]]:
        params = {"labelSelector": selector, "watch": "1", "allowWatchBookmarks": "1", "resourceVersion": version}
        headers = {"Accept": METADATA_ONLY.format(list="")} if metadata_only else {}
        timeout = aiohttp.ClientTimeout(sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._session.get(path, params=params, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    log.info("%s: watch ended: %s", path, event["object"].get("message"))
                    return
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]


async def play(server: str, authority: str, token: str) -> None:
    """Play the pods of one cluster until cancelled.

    Args:
        server: `https://host:port`.
        authority: The authority of its certificate, PEM text.
        token: May read and patch pods and create workflowtaskresults everywhere.
    """
    session = aiohttp.ClientSession(
        server,
        headers={"Authorization": f"Bearer {token}", "User-Agent": "argosy-pod-player"},
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
        read_bufsize=LARGEST_EVENT,
    )
    async with session:
        await Player(session).run()


def main() -> None:
    """Play until killed: `python -m clusters.local.player SERVER CA_FILE TOKEN_FILE`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m clusters.local.player")
    parser.add_argument("server")
    parser.add_argument("ca_file", type=Path)
    parser.add_argument("token_file", type=Path)
    arguments = parser.parse_args()
    asyncio.run(play(arguments.server, arguments.ca_file.read_text(), arguments.token_file.read_text()))


if __name__ == "__main__":
    main()
