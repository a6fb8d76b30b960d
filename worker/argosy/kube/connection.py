"""The connection to one JobCluster: its credentials, its pool, its deadlines.

There is one connection for each (cluster, credential version): a client for each call leaks sessions and temporary CA files and costs time
(F24), and a cluster that hangs must exhaust only its own pool (P7). Configuration, authentication (including an in-cluster token that
rotates), TLS and the session are the official client's. The calls do not use its model classes: they send and return bytes. The CA stays in
memory, TLS verification cannot be switched off, no redirect and no proxy of the environment is followed, and the guard says which addresses
are connected to (network/guard.py).
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config
from yarl import URL

from argosy.errors import NotConfigured
from argosy.kube import answers
from argosy.kube.tokens import Renewed, TokenProvider
from argosy.metrics import KUBE_CALLS
from argosy.network.guard import ForbiddenAddress, Guard, Resolver, inside

Headers = dict[str, str]

_AGENT = f"argosy/{version('argosy')}"
"""Who asks, for the audit log of a cluster's owner."""

BODY_LIMIT = 64 << 20
"""The most bytes that are read of an answer: enough for a page of large workflows. A server that sends more is broken or hostile, and it
must not fill the memory of a process that follows many clusters."""

WORDS_LIMIT = 1 << 20
"""The most bytes that are read of an error's body."""

LINE_LIMIT = 16 << 20
"""The most bytes of one line of a watch: several times the largest object that etcd stores."""


@dataclass(frozen=True)
class Access:
    """How to reach a cluster.

    Args:
        name: The cluster's name, for metrics and messages.
        namespace: Namespace in which workflows run.
        host: Host name or address; None for the cluster that this process runs in.
        port: Port of the Kubernetes API.
        ca: CA certificates as PEM text; empty for the system's.
        token: Bearer token.
        argo_server: Address of its Argo Server, as https://…; empty if it names none.
        argo_server_ca: CA certificates of the Argo Server as PEM text; empty for the system's.
        guard: Which addresses may be connected to.
        path: Path before that of the Kubernetes API.
        source: Where the token comes from; None if it is `token`.
    """

    name: str
    namespace: str
    host: str | None
    port: int = 443
    ca: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    argo_server: str = ""
    argo_server_ca: str = field(default="", repr=False)
    guard: Guard = field(default=inside(), repr=False)
    path: str = ""
    source: TokenProvider | None = None


class _Rest(RESTClientObject):
    """The official REST client, used for the session that it builds from the configuration."""

    def __init__(self, configuration: Any, guard: Guard) -> None:
        super().__init__(configuration)
        self._guard = guard

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, resolver=Resolver(self._guard))

    def open(self) -> aiohttp.ClientSession:
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        return self.pool_manager


class Connection:
    """Calls to one cluster. Opened on first use inside an event loop; close it there too.

    Args:
        access: Where and with which token.
        limit: Concurrent connections.
        connect_timeout: Seconds to connect.
        request_timeout: Seconds for one whole request, connecting included.
    """

    def __init__(
        self, access: Access, *, limit: int = 64, connect_timeout: float = 3.0, request_timeout: float = 10.0
    ) -> None:
        self.access = access
        self._renewed = None if access.source is None else Renewed(access.source)
        self._token = access.token
        self.request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._timeout = aiohttp.ClientTimeout(total=request_timeout, sock_connect=connect_timeout)
        configuration = self._configured(access)
        configuration.connection_pool_maxsize = limit
        configuration.client_session_kwargs = {"trust_env": False}
        self._api = ApiClient(configuration)
        self._base = str(configuration.host).rstrip("/")
        self._rest = _Rest(configuration, access.guard)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in a text that is kept or shown."""
        return (self.access.token, self._token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pool; calls under way end with an error."""
        await self._rest.close()
        await self._api.close()

    async def call(
        self,
        verb: str,
        resource: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
    ) -> bytes:
        """One request and its answer's body.

        Args:
            verb: Kubernetes verb: create, get, list, patch or delete.
            resource: Plural resource name, for metrics and the permission check.
            path: Path from the server's root.
            query: Query parameters.
            body: Serialised body.
            content_type: Of the body.
            accept: The wanted form of the answer.
            timeout: Seconds for the whole request, if it must be shorter than the connection's own time-out.

        Raises:
            KubeError: One of the classes in `answers`.
        """
        try:
            async with self._request(
                verb, path, query, body, content_type, self._deadline(timeout), accept
            ) as response:
                data = await _read(response)
                KUBE_CALLS.labels(self.access.name, verb, resource, response.status).inc()
                if response.status < 300:
                    return data
                error = self._meaning(response, data)
        except answers.TooLong as failure:
            error = failure
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            # ValueError: the token cannot be sent in a header, or the answer is not HTTP.
            error = answers.of_exception(failure, self.secrets)
            KUBE_CALLS.labels(self.access.name, verb, resource, type(error).__name__).inc()
        if isinstance(error, answers.Denied):
            error = await self._explain(error, verb, resource)
        raise error

    @asynccontextmanager
    async def pieces(
        self, resource: str, path: str, query: Mapping[str, str], longest: float
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """An answer of any length: its headers, and its body as it arrives. The caller limits how much it reads.

        Args:
            resource: Resource name, for metrics.
            path: Path from the server's root.
            query: Query parameters.
            longest: Seconds for the whole answer; between two pieces at most the request's time-out passes.

        Raises:
            KubeError: Also while iterating.
        """
        timeout = aiohttp.ClientTimeout(
            total=longest, sock_connect=self._connect_timeout, sock_read=self.request_timeout
        )
        async with self._opened("get", resource, path, query, timeout) as response:
            yield response.headers, response.content.iter_any()

    @asynccontextmanager
    async def stream(
        self, resource: str, path: str, query: Mapping[str, str], silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch: lines as they arrive.

        Args:
            resource: Plural resource name, for metrics.
            path: Path from the server's root.
            query: Query parameters, `watch=1` among them.
            silence: Seconds without a byte after which the connection counts as dead: a half-open connection gives no error (F8).

        Raises:
            KubeError: Also while iterating: `Unclear` if the stream broke or was silent for too long.
        """
        timeout = aiohttp.ClientTimeout(sock_connect=self._connect_timeout, sock_read=silence)
        async with self._opened("watch", resource, path, query, timeout) as response:
            yield _lines(response)

    @asynccontextmanager
    async def text(
        self, resource: str, path: str, query: Mapping[str, str], *, seconds: float | None, silence: float | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An answer that is plain text, such as a log: its bytes as they arrive. The caller limits how many it reads.

        Args:
            resource: Plural resource name with its subresource, for metrics and the permission check.
            path: Path from the server's root.
            query: Query parameters.
            seconds: For the whole answer; None for one without an end.
            silence: Seconds without a byte after which the connection counts as dead.

        Raises:
            KubeError: Also while iterating. `Unclear` if the answer is not plain text: it comes from an intermediary.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=self._connect_timeout, sock_read=silence)
        async with self._opened("get", resource, path, query, timeout, "text/plain, */*") as response:
            # Of a pod that no node has taken there is an empty answer without a type.
            if "Content-Type" in response.headers and response.content_type != "text/plain":
                raise answers.Unclear(f"the answer is not plain text but {response.content_type[:100]}")
            yield response.content.iter_any()

    @asynccontextmanager
    async def _opened(
        self,
        verb: str,
        resource: str,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        accept: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose good answer is read by the caller. Raises as `stream`."""
        try:
            async with self._request(verb, path, query, None, "application/json", timeout, accept) as response:
                KUBE_CALLS.labels(self.access.name, verb, resource, response.status).inc()
                if response.status >= 300:
                    error = self._meaning(response, await _read(response))
                    raise await self._explain(error, verb, resource) if isinstance(error, answers.Denied) else error
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise answers.of_exception(failure, self.secrets) from None

    async def allowed(self, verb: str, group: str, resource: str) -> bool:
        """Whether this token may do `verb` on `resource` (`pods`, or `pods/log`) in the namespace, by SelfSubjectAccessReview.

        Raises:
            KubeError: The review itself failed.
        """
        plural, _, part = resource.partition("/")
        attributes = {"namespace": self.access.namespace, "verb": verb, "group": group, "resource": plural}
        attributes |= {"subresource": part} if part else {}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self.call("create", "selfsubjectaccessreviews", path, body=orjson.dumps(review))
        with answers.understood():
            return bool(orjson.loads(answer)["status"]["allowed"])

    def _configured(self, access: Access) -> Any:
        """The official client's configuration."""
        return _configuration(access)

    def _meaning(self, response: aiohttp.ClientResponse, body: bytes) -> answers.KubeError:
        """What an answer means whose code is 300 or more."""
        if response.status == 401 and self._renewed is not None:
            self._renewed.refused()
        return answers.of_response(response.status, body, response.headers.get("Retry-After"), self.secrets)

    @asynccontextmanager
    async def _request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        accept: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers: Headers = {"Content-Type": content_type, "Accept": accept, "User-Agent": _AGENT}
        if self._renewed is not None:
            self._token = await self._renewed.get()
            self._api.configuration.api_key["BearerToken"] = f"Bearer {self._token}"
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, _METHODS[verb], body)
        # The client writes "bearer" for the token of a pod, and Argo Server takes that for no token.
        headers = {name: re.sub("^bearer ", "Bearer ", value) for name, value in headers.items()}
        url = self._base + path + ("?" + urlencode(query) if query else "")
        try:
            self.access.guard.check_url(URL(self._base))
            async with self._rest.open().request(
                _METHODS[verb], url, headers=headers, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                yield response
        except ForbiddenAddress as error:
            raise answers.ClusterDown(answers.Health.UNREACHABLE, f"not asked: {error}") from error

    def _deadline(self, timeout: float | None) -> aiohttp.ClientTimeout:
        if timeout is None or timeout >= self.request_timeout:
            return self._timeout
        return aiohttp.ClientTimeout(total=timeout, sock_connect=self._connect_timeout)

    async def _explain(self, error: answers.Denied, verb: str, resource: str) -> answers.KubeError:
        """Find out what a 403 means. If the token lacks the permission, it concerns the whole cluster; else an admission rule refuses this
        object. If the message is that of a missing permission, but the review now allows it, RBAC had not loaded yet, as in an apiserver
        that has just started."""
        if resource == "selfsubjectaccessreviews":
            return answers.ClusterDown(answers.Health.FORBIDDEN, str(error))
        if await self.allowed(verb, _GROUPS.get(resource, ""), resource):
            return (
                answers.Wait(str(error))
                if f'cannot {verb} resource "{resource}"' in str(error)
                else answers.ObjectRefused(str(error))
            )
        return answers.ClusterDown(answers.Health.FORBIDDEN, f"{error}: grant the Role in clusters/jobcluster.yaml")


_GROUPS = {"workflows": "argoproj.io", "leases": "coordination.k8s.io"}
_METHODS = {"create": "POST", "get": "GET", "list": "GET", "watch": "GET", "patch": "PATCH", "delete": "DELETE"}


def _configuration(access: Access) -> Any:
    configuration = Configuration()
    if access.host is None:
        try:
            load_incluster_config(configuration)
        except ConfigException as error:
            raise NotConfigured(
                f"cluster {access.name}: this is the cluster that argosy itself runs in, but this process does not run in a cluster "
                f"({error}); register a cluster and make it the default: argosy cluster add … --default"
            ) from error
        return configuration
    host = f"[{access.host}]" if ":" in access.host else access.host
    configuration.host = f"https://{host}:{access.port}{access.path}"
    configuration.ca_cert_data = access.ca or None
    configuration.api_key = {"BearerToken": f"Bearer {access.token}"}
    return configuration


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body.

    Raises:
        TooLong: It has more bytes than `BODY_LIMIT`, or than `WORDS_LIMIT` if it is an error.
    """
    chunks, size, limit = [], 0, BODY_LIMIT if response.status < 300 else WORDS_LIMIT
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise answers.TooLong(f"HTTP {response.status} with more than {limit >> 20} MiB; the rest was not read")
    return b"".join(chunks)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of up to `LINE_LIMIT` bytes. aiohttp's own readline has a lower limit, which a large workflow exceeds.

    Raises:
        TooLong: One is longer.
    """
    rest: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        *lines, tail = chunk.split(b"\n")
        for line in lines:
            yield b"".join((*rest, line))
            rest.clear()
            size = 0
        rest.append(tail)
        size += len(tail)
        if size > LINE_LIMIT:
            raise answers.TooLong(f"a watch with a line of more than {LINE_LIMIT >> 20} MiB; the rest was not read")
