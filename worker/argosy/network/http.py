"""One way to ask a server over HTTP from a thread, and to read no more of its answer than was wanted, for no longer than was wanted.

The time-outs of HTTP libraries are for one read each: a server that sends a byte now and then, be it of a header, holds a thread for ever.
Here the whole request has one deadline, from the first look for its name to the last byte. Redirects are not followed, the environment's
proxies are not used, and TLS is always verified, by the CAs that the system trusts (`SSL_CERT_FILE` names others).
"""

import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpcore
import orjson
from yarl import URL

from argosy.errors import ArgosyError, InvalidRequest
from argosy.inputs import clean
from argosy.network.guard import ForbiddenAddress, Guard

T = TypeVar("T")

_CONNECT = 5.0
"""Seconds to connect to one address."""

_IDLE = 15.0
"""Seconds that an idle connection is kept."""

_AT_ONCE = 100
"""Connections of one client."""

_ERROR = 64 << 10
"""How many bytes are read of an error's body."""

_MESSAGE = 300
"""Characters of a server's message that are shown."""

_ends: ContextVar[float] = ContextVar("ends")
"""When the request of this thread must have ended (monotonic seconds)."""


class Unanswered(ArgosyError):
    """A server gave no whole answer; another try may work."""


class TooLarge(InvalidRequest):
    """An answer has more bytes than were wanted; the rest was not read."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    def message(self, secrets: Iterable[str]) -> str:
        """What the server says of its error, if it says it as the platform does: as `message` of a JSON object. Nothing else of a foreign
        body is ever shown: it would tell what is to be read at an address that somebody else has chosen.

        Args:
            secrets: What was sent and may come back.
        """
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = None
        words = found.get("message") if isinstance(found, dict) else None
        return clean(words, secrets, _MESSAGE) if isinstance(words, str) else ""


class Http:
    """A client for servers of one kind; several threads may use it.

    Args:
        guard: Which addresses it may connect to.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=_Backend(guard),
            max_connections=_AT_ONCE,
            keepalive_expiry=_IDLE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._pool.close()

    def request(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        limit: int,
        seconds: float,
        packed: bool = False,
    ) -> Answer:
        """One request and its whole answer, whatever its status.

        Args:
            method: HTTP method.
            url: What is asked.
            headers: They go on as the bytes that came (latin-1).
            body: Of the request.
            limit: The most bytes of a good answer's body, unpacked. Of an error's body the beginning is read.
            seconds: For everything.
            packed: Allow the server to send it as gzip.

        Raises:
            Forbidden: It may not be asked.
            TooLarge: The answer has more bytes.
            Unanswered: There is no whole answer. The message holds nothing that was sent.
        """
        self._guard.check_url(url)
        if not url.raw_host:
            raise ForbiddenAddress("the address names no host")
        sent = {"Accept-Encoding": "gzip" if packed else "identity", **(headers or {})}
        _ends.set(time.monotonic() + seconds)
        try:
            raw = [(b"Host", url.host_port_subcomponent.encode())] if url.host_port_subcomponent else []
            raw += [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            target = httpcore.URL(scheme=url.scheme, host=url.raw_host, port=url.port, target=url.raw_path_qs)
            timeout = {"timeout": {"pool": seconds}}
            with self._pool.stream(method, target, headers=raw, content=body, extensions=timeout) as response:
                return Answer(response.status, _read(response, packed, limit))
        except _Late:
            raise Unanswered(f"no whole answer within {seconds:.0f} s") from None
        except (*_FAILED, OSError, ValueError) as error:
            # Not chained: the library's text may hold what it could not send, a token for example.
            raise Unanswered(_words(error)) from None


def _read(response: httpcore.Response, packed: bool, limit: int) -> bytes:
    """The body, or the beginning of an error's.

    Raises:
        TooLarge: It has more than `limit` bytes. Some kilobytes may be a gigabyte when they are unpacked.
        Unanswered: It is encoded in a way that was not asked for.
    """
    good = response.status < 300
    limit = limit if good else _ERROR
    pieces: Iterable[bytes] = response.iter_stream()
    encoding = _header(response, b"content-encoding")
    if encoding == "gzip" and packed:
        pieces = _unpacked(pieces, limit + 1)
    elif encoding not in ("", "identity"):
        raise Unanswered(f"the answer is encoded as {clean(encoding, limit=40)}, which was not asked for")
    chunks, size = [], 0
    for chunk in pieces:
        chunks.append(chunk)
        size += len(chunk)
        if size > limit and good:
            raise TooLarge(f"the answer has more than {limit} bytes")
        if size > limit:
            break
        _left()
    return b"".join(chunks)[:limit]


def _unpacked(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Each piece unpacked, to at most that many bytes: what is left over then is more than anybody reads."""
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for piece in pieces:
            yield unpack.decompress(piece, most)
    except zlib.error:
        raise Unanswered("the answer is not the gzip that it says it is") from None
    if not unpack.eof:
        raise Unanswered("the answer ends too early")


def _header(response: httpcore.Response, wanted: bytes) -> str:
    return next((value.decode("latin-1").lower() for name, value in response.headers if name.lower() == wanted), "")


class _Late(Exception):
    """The deadline of the request has passed."""


_FAILED = (
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


def _left() -> float:
    left = _ends.get() - time.monotonic()
    if left <= 0:
        raise _Late
    return left


def _timed(step: Callable[[float], T]) -> T:
    """One step of a request in the time that is left."""
    try:
        return step(_left())
    except httpcore.TimeoutException:
        raise _Late from None


def _words(error: BaseException) -> str:
    """What happened, in words that hold nothing of what was sent."""
    match error:
        case httpcore.ConnectTimeout():
            return f"no connection within {_CONNECT:.0f} s"
        case httpcore.ConnectError() | OSError():
            return f"no connection: {clean(str(error), limit=300)}"
        case httpcore.RemoteProtocolError():
            return "the answer is not HTTP, or was cut off"
        case httpcore.LocalProtocolError() | ValueError():
            return "the request cannot be sent: a header or the address holds a character that may not be there"
        case _:
            return f"the connection broke ({type(error).__name__})"


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that the guard has checked, and to nothing else."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._sockets = guard, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first of the host's addresses that answers."""
        failed: Exception = httpcore.ConnectError("the name has no address")
        try:
            found = self._guard.lookup(host, port).result(_left())
        except TimeoutError:
            raise _Late from None
        for _, address in found:
            try:
                return _Stream(self._sockets.connect_tcp(address, port, min(_left(), _CONNECT), None, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection on which no step takes longer than the request has left."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return _timed(lambda left: self._inner.read(max_bytes, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _timed(lambda left: self._inner.write(buffer, left))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(_timed(lambda left: self._inner.start_tls(ssl_context, server_hostname, left)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()
