"""Secrets of one cluster: one per launch, which gives the user's API token to its pods (P8)."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from argosy.kube import answers
from argosy.kube.connection import Connection
from argosy.labels import LABEL_GID

_PAGE = "500"
"""Secrets in one answer."""


@dataclass(frozen=True)
class FoundSecret:
    """A secret on the cluster; `gid` is the launch's by its label, None where that is no launch's."""

    name: str
    uid: str
    gid: UUID | None


class Secrets:
    """Calls on the secrets in a connection's namespace.

    Args:
        connection: The cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._path = f"/api/v1/namespaces/{connection.access.namespace}/secrets"

    async def ensure(self, name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> None:
        """Create an immutable secret unless its name is there already.

        Raises:
            Unclear: It may have been created; do it again.
            KubeError: Anything else in `answers`.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "immutable": True,
            "metadata": {"name": name, "labels": dict(labels)},
            "data": {key: b64encode(value.encode()).decode() for key, value in data.items()},
        }
        with suppress(answers.NameTaken):
            answer = await self._connection.call("create", "secrets", self._path, body=orjson.dumps(body))
            with answers.understood():
                _told(orjson.loads(answer)["metadata"]["name"], name)

    async def found(self, labels: Mapping[str, str]) -> list[FoundSecret]:
        """The secrets that have these labels. Nobody grants argosy to `get` one."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found: list[FoundSecret] = []
        page = {"limit": _PAGE}
        while page:
            query = {"labelSelector": selector, **page}
            answer = await self._connection.call("list", "secrets", self._path, query=query)
            with answers.understood():
                document = orjson.loads(answer)
                _told(document["kind"], "SecretList")
                found += [_found(item["metadata"]) for item in document["items"]]
                token = document["metadata"].get("continue")
                page = {"limit": _PAGE, "continue": str(token)} if token else {}
        return found

    async def delete(self, name: str, uid: str) -> None:
        """Delete a secret. It is no error if it is gone already.

        Raises:
            OtherObject: The name now belongs to another one.
            Unclear: It may still be there; do it again.
        """
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        with suppress(answers.Missing):
            answer = await self._connection.call("delete", "secrets", f"{self._path}/{name}", body=orjson.dumps(body))
            with answers.understood():  # a Status; or the object, if a finalizer keeps it
                document = orjson.loads(answer)
                _told(document["details" if document["kind"] == "Status" else "metadata"]["uid"], uid)


def _found(metadata: Mapping[str, Any]) -> FoundSecret:
    labels = metadata.get("labels") or {}
    try:
        gid = UUID(str(labels.get(LABEL_GID)))
    except ValueError:
        gid = None
    return FoundSecret(str(metadata["name"]), str(metadata["uid"]), gid)


def _told(value: object, wanted: str) -> None:
    """Check that an answer is about the object that was asked for.

    Raises:
        ValueError: It does not.
    """
    if value != wanted:
        raise ValueError(f"{value!r} instead of {wanted!r}")
