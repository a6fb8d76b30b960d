"""Calls on a cluster's Argo Server, for what only Argo knows: node status that it keeps in its own database, workflows that are gone from
the cluster and that it has archived, its own lint, and logs that it has stored.

A cluster need not name one. Nothing is decided by Argo Server alone: the Kubernetes API says what happens to a workflow, and an answer from
here only adds to that if it is about the same object, by its k8s uid.

The requests are formed by Argo's SDK (`argo_workflows`): its paths, query and body. They are sent by our own connection, because the SDK's
client reads answers of any size, has no deadline for a whole request, follows redirects with the token, takes a CA only from a file and
refuses real workflows that do not fit its models. An answer counts only if Argo Server itself has sent it: errors are those of its gRPC
gateway, with the gRPC code that fits the HTTP code; whatever else comes is an intermediary's and proves nothing (A6).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from argosy.inputs import clean
from argosy.kube import answers
from argosy.kube.answers import Health
from argosy.kube.connection import Access, Connection

RESOURCE = "argo-server"
"""Its requests in the metrics."""

Object = dict[str, Any]

_LONGEST = 300.0
"""Seconds for one whole artifact."""

_GATEWAY = ("Grpc-Metadata-Content-Type", "application/grpc")
"""The header that Argo Server's gateway adds to each answer of the gRPC server behind it."""

_CODES = {2: 500, 3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 12: 501, 13: 500, 14: 503, 16: 401}
"""The HTTP code of each gRPC code that Argo Server answers with."""


@dataclass(frozen=True)
class _Request:
    """A request as the SDK has formed it."""

    verb: str
    path: str
    query: Mapping[str, str]
    body: bytes | None = None


class _Forming:
    """Takes the place of the SDK's HTTP client: returns the request and does not send it."""

    def GET(self, url: str, query_params: Any = None, **_: Any) -> _Request:  # noqa: N802 -- the SDK's name
        return _Request("get", url, dict(query_params or ()))

    def POST(self, url: str, query_params: Any = None, body: Any = None, **_: Any) -> _Request:  # noqa: N802
        return _Request("create", url, dict(query_params or ()), orjson.dumps(body))


class ArgoServer(Connection):
    """The Argo Server of one cluster, with the cluster's own token.

    Args:
        access: The cluster, which names it.
        limit: Concurrent connections.
        connect_timeout: Seconds to connect.
        request_timeout: Seconds for one whole request, connecting included.
    """

    def __init__(
        self, access: Access, *, limit: int = 8, connect_timeout: float = 3.0, request_timeout: float = 10.0
    ) -> None:
        super().__init__(access, limit=limit, connect_timeout=connect_timeout, request_timeout=request_timeout)
        # Imported here: it takes a tenth of a second, and most clusters name no Argo Server.
        from argo_workflows.api.archived_workflow_service_api import ArchivedWorkflowServiceApi
        from argo_workflows.api.artifact_service_api import ArtifactServiceApi
        from argo_workflows.api.info_service_api import InfoServiceApi
        from argo_workflows.api.workflow_service_api import WorkflowServiceApi
        from argo_workflows.api_client import ApiClient
        from argo_workflows.configuration import Configuration

        forms: Any = ApiClient(Configuration(host=""))
        forms.rest_client = _Forming()
        self._info, self._workflows = InfoServiceApi(forms), WorkflowServiceApi(forms)
        self._archive = ArchivedWorkflowServiceApi(forms)
        self._artifacts: Any = ArtifactServiceApi(forms)

    async def version(self) -> str:
        """Its version.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        answer = await self._send(self._info.get_version(**_AS_FORMED))
        with answers.understood():
            return clean(str(orjson.loads(answer)["version"]), self.secrets, 100)

    async def workflow(self, name: str) -> Object:
        """A workflow with all its nodes, also those that Argo keeps in its own database.

        Raises:
            Missing: There is none, and none is archived.
            KubeError: Anything else in `answers`.
        """
        return self._object(
            await self._send(self._workflows.get_workflow(self.access.namespace, _segment(name), **_AS_FORMED))
        )

    async def archived(self, k8s_uid: str) -> Object:
        """A workflow from the archive, with all its nodes.

        Raises:
            Missing: The archive does not know it.
            Unclear: The answer is about another object.
            KubeError: Anything else in `answers`.
        """
        found = self._object(await self._send(self._archive.get_archived_workflow(_segment(k8s_uid), **_AS_FORMED)))
        if found["metadata"]["uid"] != k8s_uid:
            raise answers.Unclear("the answer of Argo Server is about another workflow")
        return found

    async def lint(self, workflow: Object) -> str:
        """What Argo says is wrong with a workflow; empty if nothing is. Nothing is created.

        Raises:
            KubeError: It does not say.
        """
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_lint_request import (
            IoArgoprojWorkflowV1alpha1WorkflowLintRequest as LintRequest,
        )

        body = LintRequest(namespace=self.access.namespace, workflow=workflow, _check_type=False)
        try:
            answer = await self._send(self._workflows.lint_workflow(self.access.namespace, body, **_AS_FORMED))
        except answers.ObjectRefused as error:
            return str(error)
        with answers.understood():
            orjson.loads(answer)["spec"]["entrypoint"]
        return ""

    @asynccontextmanager
    async def artifact(
        self, node_id: str, artifact: str, *, k8s_uid: str = "", name: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An output artifact of a node, in pieces as they arrive: of an archived workflow by its k8s uid, or of one that is on the cluster
        by its name.

        Raises:
            KubeError: Also while iterating.
        """
        whose = (_segment(k8s_uid),) if k8s_uid else (self.access.namespace, _segment(name))
        api = self._artifacts
        formed = api.get_output_artifact_by_uid if k8s_uid else api.get_output_artifact
        form = formed(*whose, _segment(node_id), _segment(artifact), **_AS_FORMED)
        async with self.pieces(RESOURCE, form.path, form.query, _LONGEST) as (headers, pieces):
            # A page of an intermediary, e.g. to log in, names no file.
            if "filename=" not in headers.get("Content-Disposition", ""):
                raise answers.Unclear("the answer is no artifact of Argo Server: it names no file")
            yield pieces

    async def _send(self, form: _Request) -> bytes:
        return await self.call(form.verb, RESOURCE, form.path, query=form.query, body=form.body)

    def _object(self, body: bytes) -> Object:
        """The workflow in an answer, which must be one of our namespace."""
        with answers.understood():
            document: Object = orjson.loads(body)
            metadata = document["metadata"]
            if not (isinstance(metadata["uid"], str) and isinstance(metadata["name"], str)):
                raise TypeError("no name and uid")
            if metadata["namespace"] != self.access.namespace:
                raise ValueError("another namespace")
            return document

    def _configured(self, access: Access) -> Any:
        """As the cluster's, with Argo Server's address and CA."""
        configuration = super()._configured(access)
        configuration.host = access.argo_server
        configuration.ssl_ca_cert, configuration.ca_cert_data = None, access.argo_server_ca or None
        return configuration

    def _meaning(self, response: aiohttp.ClientResponse, body: bytes) -> answers.KubeError:
        return of_answer(response.status, response.headers, body, self.secrets)


_AS_FORMED: dict[str, Any] = {"_preload_content": False, "_check_return_type": False}
"""The SDK returns what `_Forming` returns."""


def _segment(name: str) -> str:
    """A name as one part of a path, which leads nowhere else: the SDK escapes all but dots.

    Raises:
        Missing: Nothing can have this name.
    """
    if name in {"", ".", ".."}:
        raise answers.Missing(f"nothing is named {name!r}")
    return name


def of_answer(status: int, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...] = ()) -> answers.KubeError:
    """The meaning of an answer of Argo Server whose code is 300 or more.

    Args:
        status: HTTP code.
        headers: Of the answer.
        body: Of the answer.
        secrets: Texts that were sent and must not appear in messages.
    """
    code, message = _told(body)
    words = clean(message, secrets, 1000)
    if headers.get(_GATEWAY[0]) != _GATEWAY[1] or _CODES.get(code) != status:
        return answers.Unclear(f"HTTP {status} with {len(body)} bytes, not from Argo Server")
    match code:
        case 5:
            return answers.Missing(words)
        case 7:
            return answers.ClusterDown(
                Health.FORBIDDEN, f"{words}: Argo Server does not let the registered token do it"
            )
        case 16:
            return answers.ClusterDown(
                Health.UNAUTHORIZED, f"{words}: Argo Server does not accept the registered token"
            )
        case 2 | 3 | 9:
            # 2 is what its validation answers with.
            return answers.ObjectRefused(words)
        case 8 | 14:
            return answers.Wait(words)
        case _:
            return answers.Unclear(f"HTTP {status}: {words}")


def _told(body: bytes) -> tuple[int, str]:
    """The gRPC code and message of an error; 0 if it is anything else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0, ""
    if isinstance(found, dict) and isinstance(found.get("code"), int) and isinstance(found.get("message"), str):
        return found["code"], found["message"]
    return 0, ""
