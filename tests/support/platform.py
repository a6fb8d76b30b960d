"""A stand-in of the platform: users, projects, media, uploads; and in front of argosy's gateway, whose half of the REST API it hands on, as
a platform's proxy does."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FULL, EXECUTE, READ = "full-token", "execute-token", "read-token"
"""Tokens of users 7, 8 and 9; in project 1 they have these rights, and in project 2 none."""

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of plain addresses: httpx reads all authorities of the system for each client, 25 ms of a processor."""

USERS = {FULL: 7, EXECUTE: 8, READ: 9}
_PERMISSIONS = {7: "Full Control", 8: "Can Execute", 9: "Can Edit"}
_OURS = ("Job", "Jobs", "Algorithm", "Algorithms", "SaveAlgorithmManifest", "JobCluster", "JobClusters")


@dataclass
class PlatformServer:
    """What it has, and what it was asked. `gateway` is where argosy's half is; `mask` makes it a newer platform."""

    url: str = ""
    gateway: str = ""
    media: list[int] = field(default_factory=lambda: list(range(1, 11)))
    mask: dict[int, int] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)
    emails: list[Any] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    encoding: str = ""
    gate: Event = field(default_factory=Event)

    @property
    def rest(self) -> str:
        """Its REST root."""
        return f"{self.url}/rest"


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _application(state: PlatformServer, http: httpx.Client) -> Starlette:
    def user(request: Request) -> int | None:
        token = request.headers.get("authorization", "").partition(" ")[2]
        cookie = request.cookies.get("sessionid", "")
        return USERS.get(token or cookie)

    async def rest(request: Request) -> Response:
        what, _, rest = request.path_params["path"].partition("/")
        if what in _OURS:
            return await handed_on(request)
        state.asked.append(request.path_params["path"])
        await run_in_threadpool(state.gate.wait, 30)
        if state.status != 200:
            return _json({"message": "broken"}, state.status)
        number = user(request)
        if number is None:
            return _json({"message": "who?"}, 403)
        match what, rest:
            case "User", "GetCurrent":
                return _json({"id": number, "username": f"user{number}", "email": "a@example.com"})
            case "Project", "1":
                mask = {"effective_permission": state.mask[number]} if number in state.mask else {}
                return _json({"id": 1, "name": "one", "organization": 3, "permission": _PERMISSIONS[number], **mask})
            case "Projects", "":
                return _json([{"id": 1, "name": "one", "organization": 3, "permission": _PERMISSIONS[number]}])
            case "Organization", "3":
                return _json({"id": 3, "permission": "Admin" if number == 7 else "Member"})
            case "Memberships", "1":
                members = ("a@example.com", "Ann.Lee@Example.com")
                return _json([{"id": n, "user": n, "project": 1, "email": each} for n, each in enumerate(members, 7)])
            case "Medias", "1":
                after, stop = int(request.query_params.get("after", "-1")), int(request.query_params["stop"])
                return _json([{"id": each} for each in state.media if each > after][:stop])
            case "UploadInfo", _:
                key = f"_uploads/{uuid4()}"
                return _json({"key": key, "upload_id": "", "urls": [f"{state.url}/upload/{key}"]})
            case "DownloadInfo", _:
                body = await request.json()
                return _json([{"key": key, "url": f"{state.url}/upload/{key}"} for key in body["keys"]])
            case "Email", "1":
                state.emails.append(await request.json())
                return _json({"message": "sent"}, 201)
        return _json({"message": "not found"}, 404)

    async def handed_on(request: Request) -> Response:
        names = ("authorization", "cookie", "content-type", "if-none-match", "origin", "sec-fetch-site")
        headers = {name: value for name in names if (value := request.headers.get(name)) is not None}
        url = f"{state.gateway}{request.url.path}"
        body = await request.body()
        answer = await run_in_threadpool(
            http.request,
            request.method,
            url,
            params=list(request.query_params.multi_items()),
            headers=headers,
            content=body,
        )
        kept = {
            name: answer.headers[name] for name in ("content-type", "etag", "x-argosy-cut") if name in answer.headers
        }
        return Response(answer.content, answer.status_code, kept)

    async def upload(request: Request) -> Response:
        key = request.path_params["key"]
        if request.method == "PUT":
            state.uploads[key] = await request.body()
            return Response(headers={"ETag": '"1"'})
        headers = {"Content-Encoding": state.encoding} if state.encoding else {}
        return Response(state.uploads[key], headers=headers) if key in state.uploads else Response(status_code=404)

    async def schema(request: Request) -> Response:
        """The platform's own document, with argosy's part in it."""
        found = (await run_in_threadpool(http.get, f"{state.gateway}/schema")).json()
        project = {"name": "project", "in": "path", "required": True, "schema": {"type": "integer"}}
        any_object = {"content": {"application/json": {"schema": {"type": "object"}}}, "description": ""}
        found["paths"]["/rest/UploadInfo/{project}"] = {
            "get": {
                "operationId": "GetUploadInfo",
                "parameters": [project, {"name": "num_parts", "in": "query", "schema": {"type": "integer"}}],
                "responses": {"200": any_object},
            }
        }
        found["paths"]["/rest/DownloadInfo/{project}"] = {
            "post": {
                "operationId": "GetDownloadInfo",
                "parameters": [project],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DownloadInfoSpec"}}}
                },
                "responses": {"200": any_object},
            }
        }
        return _json(found)

    return Starlette(
        routes=[
            Route("/schema", schema),
            Route("/rest/{path:path}", rest, methods=["GET", "POST", "PATCH", "DELETE"]),
            Route("/v1/{path:path}", handed_on, methods=["GET", "POST", "PATCH", "DELETE"]),
            Route("/upload/{key:path}", upload, methods=["GET", "PUT"]),
        ]
    )


class _Server(uvicorn.Server):
    """Ends when it is told; uvicorn's own looks for that ten times a second, which is most of a short test."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self.serving.set()
        await self._ended.wait()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application; its address."""
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.serving.wait(0.1):
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.serving.is_set():
            server.end()
        thread.join()


@contextmanager
def platform() -> Iterator[PlatformServer]:
    """Serve a platform."""
    state = PlatformServer()
    state.gate.set()
    with httpx.Client(timeout=60, trust_env=False, verify=PLAIN) as http, serving(_application(state, http)) as url:
        state.url = url
        yield state
