"""What came to be on a cluster: every metadata.uid that there ever was, read off etcd from before the first launch on.

Neither the database nor the cluster remembers a second create whose object is gone. The apiserver's audit log does not tell every create
either: one whose client dies is committed and logged with another code than 201, and an apiserver that is killed takes its last lines
with it. A watch of the apiserver begins anew with a list after each of its restarts, and what came and went in between is not in it. Only
etcd has every revision, whoever asked for it and whatever the answer was.
"""

import asyncio
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

import aiohttp
import httpx
import orjson

from argosy.labels import LABEL_INSTALLATION
from clusters.local.cluster import LocalCluster

Resource = Literal["workflows", "pods"]

_PREFIXES = {"workflows": "/registry/argoproj.io/workflows", "pods": "/registry/pods"}
_PHASE = "workflows.argoproj.io/phase"
_REQUEST_SECONDS = 30.0
_AGAIN_SECONDS = 0.1
_CAUGHT_UP_SECONDS = 60.0
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Sighting:
    """One object that came to be; `phase` is the last one seen, `gone` when its end was seen, and `bare` when it was first seen without a
    finalizer, by this machine's clock."""

    name: str
    namespace: str
    uid: str
    created: datetime
    installation: str
    owner: str
    phase: str
    gone: datetime | None = None
    bare: datetime | None = None


class Witness:
    """Follows all namespaces of a cluster, past every fault proxy, in a thread of its own.

    `gaps` counts the times that etcd had forgotten where it was: what came and went in between was not seen.

    Args:
        local: The cluster.
        resource: What to watch.
    """

    def __init__(self, local: LocalCluster, resource: Resource = "workflows") -> None:
        self._etcd, prefix = local.etcd_url, _PREFIXES[resource]
        # '0' comes right after '/': a key there is in our range and in nobody's who lists the resource.
        self._mark = _coded(prefix + "0")
        self._range = {"key": _coded(prefix + "/"), "range_end": _coded(prefix + "1")}
        self._seen: dict[str, Sighting] = {}
        self._uids: dict[str, str] = {}
        self._revision = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=f"witness of {resource}")
        self.gaps = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def all(self) -> list[Sighting]:
        """Every object that was made before this call, what is gone included.

        Raises:
            AssertionError: It did not catch up in time.
        """
        answer = httpx.post(f"{self._etcd}/v3/kv/put", json={"key": self._mark}, timeout=_REQUEST_SECONDS)
        self._wait(int(answer.raise_for_status().json()["header"]["revision"]))
        with self._changed:
            return list(self._seen.values())

    def created(self, uids: Iterable[UUID]) -> Counter[str]:
        """How many workflows of these jobs came to be, by name; in whatever namespace, for whatever reason."""
        wanted = {str(uid) for uid in uids}
        return Counter(each.name for each in self.all() if each.name[4:40] in wanted)

    def _wait(self, revision: int) -> None:
        with self._changed:
            caught_up = self._changed.wait_for(lambda: self._revision >= revision, _CAUGHT_UP_SECONDS)
        assert caught_up, f"the witness is at revision {self._revision} and not at {revision}"

    async def _run(self) -> None:
        self._loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._task = task
        async with aiohttp.ClientSession(self._etcd, read_bufsize=_LARGEST) as session:
            try:
                await self._follow(session)
            except asyncio.CancelledError:
                return

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        """Until cancelled. What breaks goes on where it was; etcd forgets only what it is told to."""
        while True:
            try:
                if await self._ask(session, limit=1) < self._revision:
                    self._revision = 0  # restored from a backup: its revisions are others now
                if not self._revision:
                    await self._list(session)
                await self._watch(session)
            except (aiohttp.ClientError, TimeoutError):
                pass  # it is being restarted
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _list(self, session: aiohttp.ClientSession) -> None:
        """What there is; what else was seen is gone."""
        before = set(self._uids)
        self._at(await self._ask(session))
        for key in before - self._there:
            self._lose(key)

    async def _ask(self, session: aiohttp.ClientSession, limit: int = 0) -> int:
        """See so many objects, or all, and return the revision of that."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        async with session.post("/v3/kv/range", json=self._range | {"limit": limit}, timeout=timeout) as answer:
            answer.raise_for_status()
            found = orjson.loads(await answer.read())
        pairs = found.get("kvs", [])
        self._there = {pair["key"] for pair in pairs}
        for pair in pairs:
            self._see(pair)
        return int(found["header"]["revision"])

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        """Until it ends."""
        wish = {"create_request": self._range | {"start_revision": self._revision + 1}}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS)
        async with session.post("/v3/watch", json=wish, timeout=timeout) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                told = orjson.loads(line)["result"]
                if int(told.get("compact_revision", 0)):
                    self.gaps, self._revision = self.gaps + 1, 0
                    return
                for event in told.get("events", []):
                    if event.get("type") == "DELETE":
                        self._lose(event["kv"]["key"])
                    else:
                        self._see(event["kv"])
                if told.get("events"):
                    self._at(int(told["header"]["revision"]))

    def _at(self, revision: int) -> None:
        with self._changed:
            self._revision = revision
            self._changed.notify_all()

    def _see(self, pair: dict[str, Any]) -> None:
        if pair["key"] == self._mark:
            return
        metadata = orjson.loads(b64decode(pair["value"]))["metadata"]
        labels = metadata.get("labels", {})
        before = self._seen.get(metadata["uid"])
        bare = before.bare if before is not None else None
        if bare is None and not metadata.get("finalizers"):
            bare = datetime.now(UTC)
        sighting = Sighting(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            installation=labels.get(LABEL_INSTALLATION, ""),
            owner=next((owner["uid"] for owner in metadata.get("ownerReferences", [])), ""),
            phase=labels.get(_PHASE, ""),
            bare=bare,
        )
        with self._changed:
            self._seen[sighting.uid] = sighting
            self._uids[pair["key"]] = sighting.uid

    def _lose(self, key: str) -> None:
        with self._changed:
            uid = self._uids.pop(key, None)
            if uid is not None:
                self._seen[uid] = replace(self._seen[uid], gone=datetime.now(UTC))


def _coded(key: str) -> str:
    return b64encode(key.encode()).decode()
