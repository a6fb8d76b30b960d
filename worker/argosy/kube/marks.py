"""Our mark on a cluster: one `Lease` object in the namespace that says which place this is, whose, and how far its database had come.

A cluster's row is not the cluster: an address can lead elsewhere, the same namespace can be registered twice, and a database can be
restored from a dump or cloned. The mark is what the cluster itself remembers. Its uid names this namespace of this cluster and no other;
its holder is the database that looks after what argosy has here; its epoch grows as long as that database is at work, so that a database
whose own epoch is smaller is known to be older than the world (P11).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from argosy.inputs import clean
from argosy.kube import answers, status
from argosy.kube.connection import Connection

EPOCH = "argosy.dev/epoch"
_MERGE = "application/merge-patch+json"
_LARGEST = 1 << 62


@dataclass(frozen=True)
class Mark:
    """The mark as it was read: the uid of the object, the database that holds it, its epoch, and when that was written by its clock."""

    uid: str
    holder: str
    epoch: int
    written: datetime | None
    version: str


class Marks:
    """Calls on the mark of one installation in a connection's namespace.

    Args:
        connection: The cluster.
        installation: Whose mark.
    """

    def __init__(self, connection: Connection, installation: str) -> None:
        self._connection = connection
        self.name = f"argosy-{installation}"
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{connection.access.namespace}/leases"

    async def read(self) -> Mark | None:
        """The mark; None where there is none.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        try:
            return _mark(await self._connection.call("get", "leases", f"{self._path}/{self.name}"))
        except answers.Missing:
            return None

    async def create(self, holder: str, epoch: int, at: datetime) -> Mark:
        """Make the mark, at a time by the database's clock.

        Raises:
            NameTaken: Somebody else has.
            KubeError: Anything else in `answers`.
        """
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "annotations": {EPOCH: str(epoch)}},
            "spec": {"holderIdentity": holder, "renewTime": _micro(at)},
        }
        return _mark(await self._connection.call("create", "leases", self._path, body=orjson.dumps(body)))

    async def write(self, mark: Mark, holder: str, epoch: int, at: datetime) -> Mark:
        """Write holder, epoch and time into the mark that was read.

        Raises:
            Wait: Somebody else has written it meanwhile.
            OtherObject: The mark is another object now.
            KubeError: Anything else in `answers`.
        """
        patch = {
            "metadata": {"uid": mark.uid, "resourceVersion": mark.version, "annotations": {EPOCH: str(epoch)}},
            "spec": {"holderIdentity": holder, "renewTime": _micro(at)},
        }
        path = f"{self._path}/{self.name}"
        answer = await self._connection.call("patch", "leases", path, body=orjson.dumps(patch), content_type=_MERGE)
        return _mark(answer)


def _mark(body: bytes) -> Mark:
    with answers.understood():
        document: dict[str, Any] = orjson.loads(body)
        metadata, spec = document["metadata"], document.get("spec") or {}
        return Mark(
            uid=clean(str(metadata["uid"]), limit=100),
            holder=clean(str(spec.get("holderIdentity") or ""), limit=200),
            epoch=min(max(int((metadata.get("annotations") or {}).get(EPOCH) or 0), 0), _LARGEST),
            written=status.moment(spec.get("renewTime")),
            version=str(metadata["resourceVersion"]),
        )


def _micro(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
