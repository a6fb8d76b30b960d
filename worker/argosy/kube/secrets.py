"""Secrets of one cluster: the one per launch that hands the user's API token to its pods (design §5.8)."""

from base64 import b64encode
from collections.abc import Mapping

import orjson

from argosy.kube import answers
from argosy.kube.connection import Connection


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
        try:
            await self._connection.call("create", "secrets", self._path, body=orjson.dumps(body))
        except answers.NameTaken:
            return

    async def names(self, selector: str) -> list[str]:
        """Names of the secrets that match a label selector."""
        answer = await self._connection.call("list", "secrets", self._path, query={"labelSelector": selector})
        with answers.understood():
            return [str(item["metadata"]["name"]) for item in orjson.loads(answer)["items"]]

    async def delete(self, name: str) -> None:
        """Delete a secret; one that is gone already is as good."""
        try:
            await self._connection.call("delete", "secrets", f"{self._path}/{name}")
        except answers.Missing:
            return
