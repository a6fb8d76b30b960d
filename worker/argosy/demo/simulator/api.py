"""The part of the Kubernetes API that argosy and its tests call.

Permissions are those that `clusters/jobcluster.yaml` grants: argosy's token can use its one namespace, the admin's token everything. A
third, powerless token is known but may do nothing, to show a missing permission.
"""

from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from argosy.demo.simulator import selectors, statuses
from argosy.demo.simulator.statuses import LEASES, NAMESPACES, PODS, SECRETS, WORKFLOWS, Object, Resource, StatusError
from argosy.demo.simulator.store import Store
from argosy.demo.simulator.watch import Watch

KUBERNETES_VERSION = "v1.36.3"

_GRANTED = {
    ("argoproj.io", "workflows"): {"create", "get", "list", "watch", "patch"},
    ("", "secrets"): {"create", "list", "delete"},
    ("", "pods"): {"list"},
    ("", "pods/log"): {"get"},
    ("", "namespaces"): {"get"},
    ("coordination.k8s.io", "leases"): {"create", "get", "patch"},
}
_WATCH_SECONDS = 1800.0
_LARGEST_BODY = 3 * 2**20
_MERGE_PATCH = "application/merge-patch+json"
_PATCH_TYPES = f"application/json-patch+json, {_MERGE_PATCH}, application/apply-patch+yaml"


@dataclass(frozen=True)
class Tokens:
    """The tokens and what they may do.

    Args:
        argosy: May do what argosy is granted.
        admin: May do everything.
        powerless: Is known and may do nothing.
    """

    argosy: str
    admin: str
    powerless: str


class Api:
    """The routes over a store.

    Args:
        store: The objects.
        tokens: Who may call.
    """

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes = [
            Route("/version", self._guard(self._version), methods=["GET"]),
            Route("/apis/argoproj.io/v1alpha1", self._guard(self._discovery), methods=["GET"]),
            Route(
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._guard(self._review), methods=["POST"]
            ),
            Route("/simulator/compact", self._guard(self._compact), methods=["POST"]),
        ]
        routes += [
            Route("/api/v1/namespaces/{namespace}", self._serve(NAMESPACES, "get", self._namespace), methods=["GET"]),
            Route("/api/v1/namespaces/{namespace}/pods", self._serve(PODS, "list", self._pods), methods=["GET"]),
        ]
        for resource in (WORKFLOWS, SECRETS, LEASES):
            group = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
            path = f"/{group}/namespaces/{{namespace}}/{resource.plural}"
            for suffix, method, verb, handler in (
                ("", "GET", "list", self._list),
                ("", "POST", "create", self._create),
                ("/{name}", "GET", "get", self._get),
                ("/{name}", "PATCH", "patch", self._patch),
                ("/{name}", "DELETE", "delete", self._delete),
            ):
                routes.append(Route(path + suffix, self._serve(resource, verb, handler), methods=[method]))
        routes.append(Route("/{path:path}", self._guard(self._nothing)))
        return Starlette(routes=routes)

    def _guard(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Any]]:
        async def endpoint(request: Request) -> Any:
            try:
                if self._token(request) not in vars(self._tokens).values():
                    raise statuses.unauthorized()
                return await handler(request)
            except StatusError as error:
                seconds = error.body.get("details", {}).get("retryAfterSeconds")
                return _json(error.body, error.code, {"Retry-After": str(seconds)} if seconds else None)

        return endpoint

    def _serve(
        self, resource: Resource, verb: str, handler: Callable[[Resource, Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Any]]:
        async def authorised(request: Request) -> Any:
            namespace = request.path_params["namespace"]
            wanted = "watch" if verb == "list" and _flag(request, "watch") else verb
            if not self._allowed(request, wanted, resource.group, resource.plural, namespace):
                name = request.path_params.get("name", "")
                raise statuses.forbidden(self._user(request), resource, wanted, namespace, name)
            return await handler(resource, request)

        return self._guard(authorised)

    def _allowed(self, request: Request, verb: str, group: str, plural: str, namespace: str) -> bool:
        token = self._token(request)
        if token == self._tokens.admin:
            return True
        granted = _GRANTED.get((group, plural), set())
        return token == self._tokens.argosy and namespace == self._store.namespace and verb in granted

    def _user(self, request: Request) -> str:
        name = "argosy" if self._token(request) == self._tokens.argosy else "powerless"
        return f"system:serviceaccount:{self._store.namespace}:{name}"

    def _token(self, request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Bearer ")

    async def _version(self, request: Request) -> Response:
        major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
        return _json({"major": major, "minor": minor, "gitVersion": KUBERNETES_VERSION, "gitTreeState": "simulated"})

    async def _discovery(self, _: Request) -> Response:
        verbs = ["create", "delete", "get", "list", "patch", "watch"]
        workflow = {
            "name": "workflows",
            "singularName": "workflow",
            "namespaced": True,
            "kind": "Workflow",
            "verbs": verbs,
        }
        version = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "argoproj.io/v1alpha1"}
        return _json(version | {"resources": [workflow]})

    async def _review(self, request: Request) -> Response:
        review = _object(await _body(request))
        asked = review.get("spec", {}).get("resourceAttributes", {})
        allowed = self._allowed(
            request,
            asked.get("verb", ""),
            asked.get("group", ""),
            "/".join(part for part in (asked.get("resource", ""), asked.get("subresource", "")) if part),
            asked.get("namespace", ""),
        )
        return _json(review | {"status": {"allowed": allowed}}, 201)

    async def _compact(self, request: Request) -> Response:
        """Not part of Kubernetes: does what etcd's compaction does, so that a test can cause a 410."""
        if self._token(request) != self._tokens.admin:
            raise statuses.forbidden_path(self._user(request), request.url.path)
        self._store.compact()
        return _json({"revision": self._store.revision})

    async def _namespace(self, resource: Resource, request: Request) -> Response:
        name = request.path_params["namespace"]
        if name != self._store.namespace:
            raise statuses.not_found(resource, name)
        metadata = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
        return _json({"kind": resource.kind, "apiVersion": resource.version, "metadata": metadata})

    async def _pods(self, resource: Resource, _: Request) -> Response:
        """Empty: the simulator has no pods; what runs ends with its workflow."""
        metadata = {"resourceVersion": str(self._store.revision)}
        return _json(
            {"kind": f"{resource.kind}List", "apiVersion": resource.version, "metadata": metadata, "items": []}
        )

    async def _nothing(self, request: Request) -> Response:
        if self._token(request) != self._tokens.admin:
            raise statuses.forbidden_path(self._user(request), request.url.path)
        return PlainTextResponse("404 page not found\n", 404)

    async def _create(self, resource: Resource, request: Request) -> Response:
        body = _object(await _body(request))
        _check_new(resource, body, request.path_params["namespace"])
        if request.path_params["namespace"] != self._store.namespace:
            raise statuses.no_namespace(request.path_params["namespace"])
        return _json(self._store.create(resource, body), 201)

    async def _get(self, resource: Resource, request: Request) -> Response:
        self._same_namespace(resource, request)
        return _json(self._store.get(resource, request.path_params["name"]))

    async def _patch(self, resource: Resource, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != _MERGE_PATCH:
            why = f"the body of the request was in an unknown format - accepted media types include: {_PATCH_TYPES}"
            raise StatusError(415, "UnsupportedMediaType", why)
        patch = _object(await _body(request))
        self._same_namespace(resource, request)
        name = request.path_params["name"]
        patched = _merge(self._store.get(resource, name), patch)
        if (renamed := patched["metadata"].get("name")) != name:
            why = f"the name of the object ({renamed}) does not match the name on the URL ({name})"
            raise statuses.bad_request(why)
        return _json(self._store.replace(resource, patched))

    async def _delete(self, resource: Resource, request: Request) -> Response:
        data = await _body(request)
        options = _object(data) if data else {}
        if request.query_params or options.keys() - {"apiVersion", "kind", "preconditions"}:
            raise statuses.bad_request("not simulated: options of a delete other than preconditions")
        self._same_namespace(resource, request)
        name = request.path_params["name"]
        uid = self._store.get(resource, name)["metadata"]["uid"]
        preconditions = options.get("preconditions") or {}
        if preconditions.keys() - {"uid"}:
            raise statuses.bad_request("not simulated: preconditions other than uid")
        held = self._store.delete(resource, name, preconditions.get("uid"))
        return _json(held or statuses.success(resource, name, uid))

    async def _list(self, resource: Resource, request: Request) -> Any:
        query = request.query_params
        unknown = query.keys() - {
            "labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch", "timeoutSeconds",
            "allowWatchBookmarks",
        }  # fmt: skip
        if unknown:
            raise statuses.bad_request(f"not simulated: query parameter {', '.join(sorted(unknown))}")
        selector = selectors.parse(query.get("labelSelector", ""))
        name = _named(query.get("fieldSelector", ""))
        version = _number(query.get("resourceVersion") or "0")
        if _flag(request, "watch"):
            seconds = float(query.get("timeoutSeconds") or _WATCH_SECONDS)
            bookmarks = _flag(request, "allowWatchBookmarks")
            return Watch(self._store, resource, selector, version or None, seconds, bookmarks)
        if version > self._store.revision:
            raise statuses.too_large(version, self._store.revision)
        objects, revision, last = self._page_start(resource, request, query.get("continue", ""))
        rest = [item for item in objects if item["metadata"]["name"] > last]
        chosen = [
            item
            for item in rest
            if selector(item["metadata"].get("labels", {})) and name in (None, item["metadata"]["name"])
        ]
        limit = _number(query.get("limit") or "0") or len(chosen)
        metadata: Object = {"resourceVersion": str(revision)}
        if resource is WORKFLOWS:
            metadata["continue"] = ""
        if len(chosen) > limit:
            self._store.keep_snapshot(resource, revision, objects)
            metadata["continue"] = _token(revision, chosen[limit - 1]["metadata"]["name"])
            if not query.get("labelSelector"):
                metadata["remainingItemCount"] = len(chosen) - limit
        kind = {"apiVersion": resource.api_version, "kind": f"{resource.kind}List"}
        return _json(kind | {"metadata": metadata, "items": chosen[:limit]})

    def _page_start(self, resource: Resource, request: Request, token: str) -> tuple[list[Object], int, str]:
        """The objects to list, at which revision, and the name that the page comes after."""
        if request.path_params["namespace"] != self._store.namespace:
            return [], self._store.revision, ""
        if not token:
            return self._store.all(resource), self._store.revision, ""
        try:
            position = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            revision, last = int(position["rv"]), str(position["start"]).strip("/\0")
        except (ValueError, KeyError, TypeError) as error:
            raise statuses.bad_request(f"invalid continue token: continue key is not valid: {error}") from error
        return self._store.snapshot(resource, revision), revision, last

    def _same_namespace(self, resource: Resource, request: Request) -> None:
        if request.path_params["namespace"] != self._store.namespace:
            raise statuses.not_found(resource, request.path_params["name"])


def _named(selector: str) -> str | None:
    """The name that a field selector asks for."""
    if not selector:
        return None
    field, _, name = selector.partition("=")
    if field != "metadata.name" or "," in name:
        raise statuses.bad_request("not simulated: field selectors other than metadata.name=")
    return name


def _check_new(resource: Resource, body: Object, namespace: str) -> None:
    version, kind = body.get("apiVersion"), body.get("kind")
    if version != resource.api_version:
        why = (
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
        raise statuses.bad_request(why)
    metadata = body.setdefault("metadata", {})
    name = metadata.get("name", "")
    if kind != resource.kind:
        raise statuses.invalid(resource, name, "kind", f'Invalid value: "{kind}": must be {resource.kind}')
    if metadata.get("namespace", namespace) != namespace:
        why = "the namespace of the provided object does not match the namespace sent on the request"
        raise statuses.bad_request(why)
    if resource is WORKFLOWS:
        _check_spec(resource, name, body.get("spec"))
    if resource is SECRETS:
        if "stringData" in body:
            raise statuses.bad_request("not simulated: stringData")
        try:
            [b64decode(value, validate=True) for value in (body.get("data") or {}).values()]
        except ValueError as error:
            why = f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data: {error}'
            raise statuses.bad_request(why) from error


def _check_spec(resource: Resource, name: str, spec: Any) -> None:
    """Check only the outermost types of the CRD's schema; the controller finds the other mistakes of a spec."""
    if spec is None:
        raise statuses.invalid(resource, name, "spec", "Required value")
    parts: list[tuple[str, Any, type, str]] = [("spec", spec, dict, "object")]
    if isinstance(spec, dict):
        parts += [
            ("spec.entrypoint", spec.get("entrypoint", ""), str, "string"),
            ("spec.templates", spec.get("templates", []), list, "array"),
            ("spec.arguments", spec.get("arguments", {}), dict, "object"),
        ]
    for field, value, kind, word in parts:
        if not isinstance(value, kind):
            why = f'Invalid value: "{type(value).__name__}": {field} in body must be of type {word}'
            raise statuses.invalid(resource, name, field, why)


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length", 0)) > _LARGEST_BODY:
        why = f"Request entity too large: limit is {_LARGEST_BODY}"
        raise StatusError(413, "RequestEntityTooLarge", why)
    return await request.body()


def _object(data: bytes) -> Object:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise statuses.bad_request(f"json parse error: {error}") from error
    if not isinstance(document, dict):
        raise statuses.bad_request("json parse error: not an object")
    return document


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name) in ("1", "true")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise statuses.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _token(revision: int, last: str) -> str:
    position = {"v": "meta.k8s.io/v1", "rv": revision, "start": f"/{last}\0"}
    return urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


def _json(document: Object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), code, headers, "application/json")
