"""Our mark on a cluster: one `Lease` object in the namespace. It says which place this is, which database looks after it, and how far that
database had come.

A cluster's row can be wrong: an address can lead to another place, the same namespace can be registered twice, and a database can be
restored from a dump or cloned. The mark is on the cluster itself. Its uid identifies this namespace of this cluster. Its holder is the
database that looks after our workflows here. Its epoch grows as long as that database is at work, so a database whose own epoch is smaller
is known to be older than the cluster (P11).
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
    """The mark as it was read: the uid of the object, the database that holds it, its epoch, and when that was written, by the database's
    clock."""

    uid: str
    holder: str
    epoch: int
    written: datetime | None
    version: str


class Marks:
    """Calls on the mark of one installation in a connection's namespace.

    Args:
        connection: The cluster.
        installation: Id of the installation.
    """

    def __init__(self, connection: Connection, installation: str) -> None:
        self._connection = connection
        self.name = f"argosy-{installation}"
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{connection.access.namespace}/leases"

    async def read(self) -> Mark | None:
        """The mark; None if there is none.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        try:
            return _mark(await self._connection.call("get", "leases", f"{self._path}/{self.name}"))
        except answers.Missing:
            return None

    async def create(self, holder: str, epoch: int, at: datetime) -> Mark:
        """Create the mark. `at` is a time of the database's clock.

        Raises:
            NameTaken: Another process has just created it.
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
            Wait: Another process has written it meanwhile.
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
