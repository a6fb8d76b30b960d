"""A fault proxy in front of an apiserver: what a network does to one request, scripted request by request.

Most faults of a cluster are answers that do not come, come late, or come in half, while the server has done what it was asked. They
cannot be had by stopping processes, so they are made on the wire: a TLS server in the test's own event loop that reads a request, asks its
rules what is to happen to it, and forwards it, or not. It writes raw bytes, because a cut answer must be cut where the test says and not
where a library would. What it saw, and what became of it, is kept for the test to look at.
"""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, urlencode

import aiohttp
import orjson
import trustme
from yarl import URL

from tests.faults.actions import (
    CUTS,
    Action,
    Answer,
    Cut,
    Drop,
    Edit,
    Endless,
    Hold,
    HoldAnswer,
    Instead,
    Lose,
    Request,
    Sever,
    Swallow,
)

HOST = "127.0.0.1"
_OF_ONE_CONNECTION = {"host", "connection", "transfer-encoding", "content-length"}


@dataclass(eq=False)
class Exchange:
    """One request, when it came (seconds of the loop's clock), what was done to it, and the server's answer, if there was one."""

    request: Request
    came: float
    action: Action | None = None
    status: int | None = None


@dataclass(eq=False)
class Rule:
    """Does `action` to the matching requests from the `nth` on, `times` of them."""

    action: Action
    verb: str
    resource: str
    path: re.Pattern[str]
    query: Mapping[str, str]
    nth: int
    times: float
    seen: int = 0
    hits: int = 0
    hit: asyncio.Event = field(default_factory=asyncio.Event)

    def decide(self, request: Request) -> Action | None:
        """The action, where this request's turn has come."""
        if self.verb not in ("", request.verb) or self.resource not in ("", request.resource):
            return None
        if not self.path.search(request.path) or not self.query.items() <= request.query.items():
            return None
        self.seen += 1
        if self.seen < self.nth or self.hits >= self.times:
            return None
        self.hits += 1
        self.hit.set()
        return self.action


class Proxy:
    """A TLS server on 127.0.0.1 in front of one apiserver, in the running event loop.

    `exchanges` is what it saw, `faults` counts what it did by kind. `decide` is asked for every request that no rule takes: the hook of
    whoever has a plan of his own.

    Args:
        host: Address of the apiserver.
        port: Port of the apiserver.
        ca: The authority of its certificate, PEM text.
    """

    def __init__(self, host: str, port: int, ca: str) -> None:
        self._upstream = f"https://{host}:{port}"
        self._trusted = ssl.create_default_context(cadata=ca)
        self._authority = trustme.CA()
        self._certificate = self.issue()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._downs = 0
        self._rules: list[Rule] = []
        self.ca = self._authority.cert_pem.bytes().decode()
        self.port = 0
        self.exchanges: list[Exchange] = []
        self.faults: Counter[str] = Counter()
        self.decide: Callable[[Request], Action | None] = lambda request: None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._trusted),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()
        await self._session.close()

    def issue(self, not_after: datetime | None = None) -> trustme.LeafCert:
        """A certificate for this proxy, by the authority that its callers trust."""
        return self._authority.issue_cert(HOST, "localhost", not_after=not_after)

    async def up(self, certificate: trustme.LeafCert | None = None) -> None:
        """Listen, on the same port as before.

        Args:
            certificate: What to show instead of the own one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (certificate or self._certificate).configure_cert(context)
        accept = partial(self._accept, self._downs)
        self._server = await asyncio.start_server(accept, HOST, self.port, ssl=context, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and end those that there are."""
        if self._server is None:
            return
        self._downs += 1
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def on(
        self,
        action: Action,
        *,
        verb: str = "",
        resource: str = "",
        path: str = "",
        query: Mapping[str, str] | None = None,
        nth: int = 1,
        times: float = 1,
    ) -> Rule:
        """Add a rule; the first one that takes a request wins.

        Args:
            action: What to do.
            verb: Only requests of this verb.
            resource: Only requests for this resource.
            path: Only where this regular expression is found in the path.
            query: Only with these query parameters.
            nth: From the n-th matching request on.
            times: To how many of them; `math.inf` for all.
        """
        rule = Rule(action, verb, resource, re.compile(path), query or {}, nth, times)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def saw(self, verb: str, resource: str = "workflows") -> list[Exchange]:
        """The exchanges of one kind, in their order."""
        return [each for each in self.exchanges if (each.request.verb, each.request.resource) == (verb, resource)]

    def _action(self, request: Request) -> Action | None:
        for rule in self._rules:
            if (action := rule.decide(request)) is not None:
                return action
        return self.decide(request)

    def _accept(self, downs: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if downs != self._downs:  # its handshake ends after the server that took it was closed
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, ssl.SSLError, aiohttp.ClientError, asyncio.IncompleteReadError):
            return  # either side has gone, and the other is about to learn of it
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its fate; whether the connection goes on."""
        request = await _read(reader)
        action = self._action(request)
        exchange = Exchange(request, asyncio.get_running_loop().time(), action)
        self.exchanges.append(exchange)
        match action:
            case Answer():
                if action.after is not None:
                    await action.after.wait()
                await _write(writer, _own_answer(action))
                return self._done(action, not action.hang_up)
            case Endless():
                self._done(action, False)
                await _pour(writer, action.text)
            case Drop():
                return self._done(action, False)
            case Hold():
                await action.until.wait()
            case Edit():
                request = action.change(request)
        async with self._forward(request) as upstream:
            exchange.status = upstream.status
            if request.verb == "watch" and upstream.status == 200:
                return self._done(action, await _stream(upstream, reader, writer, action))
            body = await upstream.read()
            answer = _head(upstream, f"Content-Length: {len(body)}") + body
        match action:
            case Cut():
                head = answer.index(b"\r\n\r\n") + 4
                await _write(writer, answer[: CUTS[action.at](head, len(answer))])
                return self._done(action, False)
            case Lose():
                await reader.read()
                return self._done(action, False)
            case HoldAnswer():
                await action.until.wait()
            case Instead():
                await _write(writer, _own_answer(action.answer))
                return self._done(action, True)
        await _write(writer, answer)
        return self._done(action, True)

    def _done(self, action: Action | None, goes_on: bool) -> bool:
        if action is not None:
            self.faults[action.kind] += 1
        return goes_on

    def _forward(self, request: Request) -> Any:
        query = "?" + urlencode(request.query) if request.query else ""
        return self._session.request(
            request.method,
            URL(self._upstream + request.path + query, encoded=True),
            headers={name: value for name, value in request.headers.items() if name not in _OF_ONE_CONNECTION},
            data=request.body or None,
            allow_redirects=False,
        )


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    assert "transfer-encoding" not in headers, "the proxy reads only bodies whose length is said"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _pour(writer: asyncio.StreamWriter, text: bytes) -> NoReturn:
    await _write(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await _write(writer, b"%x\r\n%b\r\n" % (len(text), text))
        await asyncio.sleep(0)  # others have a turn, too


def _own_answer(action: Answer) -> bytes:
    body = action.body if isinstance(action.body, bytes) else orjson.dumps(action.body)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **action.headers}
    lines = [f"HTTP/1.1 {action.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _head(upstream: aiohttp.ClientResponse, ending: str) -> bytes:
    """The server's own status line and headers; `ending` says how the body ends, which is ours to say."""
    lines = [f"HTTP/1.1 {upstream.status} {upstream.reason}"]
    lines += [f"{name}: {value}" for name, value in upstream.headers.items() if name.lower() not in _OF_ONE_CONNECTION]
    return "\r\n".join([*lines, ending]).encode("latin-1") + b"\r\n\r\n"


async def _stream(
    upstream: aiohttp.ClientResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, action: Action | None
) -> bool:
    """Pass a watch on until either side ends it or the action does; whether the connection goes on."""
    await _write(writer, _head(upstream, "Transfer-Encoding: chunked"))
    pump = asyncio.ensure_future(_pump(upstream, writer, action.since if isinstance(action, Swallow) else None))
    ends: list[asyncio.Future[Any]] = [pump, asyncio.ensure_future(reader.read(1))]
    if isinstance(action, Sever):
        ends.append(asyncio.ensure_future(action.at.wait()))
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    if done != {pump}:
        return False
    await pump
    await _write(writer, b"0\r\n\r\n")
    return True


async def _pump(upstream: aiohttp.ClientResponse, writer: asyncio.StreamWriter, silent: asyncio.Event | None) -> None:
    async for chunk in upstream.content.iter_any():
        if silent is None or not silent.is_set():
            await _write(writer, b"%x\r\n%b\r\n" % (len(chunk), chunk))
    if silent is not None and silent.is_set():
        await asyncio.get_running_loop().create_future()  # whoever is half-open does not even say that he goes
