"""Tokens of clusters that somebody else renews: read from a file, or asked of a credential plugin (exec), again before they end.

A row of the database says from where, and whoever may write rows must not make processes read files or run programs of their choice: a file
must be below ARGOSY_TOKEN_DIRECTORY, and a plugin listed in ARGOSY_TOKEN_COMMANDS. A plugin is run without a shell, without argosy's own
settings in its environment, without an input, and for 30 seconds at most. What it writes is limited.
"""

import asyncio
import os
import signal
import time
from base64 import b64encode, urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import orjson

from argosy.errors import NotConfigured
from argosy.inputs import clean
from argosy.kube.answers import ClusterDown, Health

_LONGEST = 30.0
"""Seconds that a plugin may take."""

_READ = 10.0
"""Seconds after which a file is read again. kubelet renews a mounted token long before it ends."""

_KEPT = 300.0
"""Seconds for which a token is used that does not say when it ends."""

_EARLY = 60.0
"""Seconds before its end at which a token is renewed."""

_AGAIN = 10.0
"""Seconds after a failure in which nobody is asked again."""

_LIMIT = 1 << 20
"""The most bytes of a file, or of what a plugin writes."""


@dataclass(frozen=True)
class TokenProvider:
    """Where a token comes from.

    Attributes:
        file: A file; empty for a command.
        command: A plugin and its arguments, which prints an ExecCredential.
        directory: Files must be below it; empty for none.
        allowed: Plugins that may be run, as `command` names them.
        server: Address of the Kubernetes API, https://…, which a plugin is told; empty for the one around this process.
        ca: Its CA certificates as PEM text; empty for the system's.
    """

    file: str = ""
    command: tuple[str, ...] = ()
    directory: str = ""
    allowed: tuple[str, ...] = ()
    server: str = ""
    ca: str = ""

    def check(self) -> None:
        """See that this process may use it.

        Raises:
            NotConfigured: It may not; the message says which setting permits it.
        """
        if self.command and self.command[0] not in self.allowed:
            raise NotConfigured(
                f"token: {self.command[0]!r} may not be run here; list it in ARGOSY_TOKEN_COMMANDS of workers, trackers and "
                "whoever checks clusters"
            )
        if self.file and not (self.directory and Path(self.file).resolve().is_relative_to(self._below())):
            raise NotConfigured(f"token: {self.file} may not be read here; it must be below ARGOSY_TOKEN_DIRECTORY")

    def _below(self) -> Path:
        return Path(self.directory).resolve()


class Renewed:
    """A token that is renewed when it is needed.

    Args:
        source: Where it comes from.
    """

    def __init__(self, source: TokenProvider) -> None:
        self._source = source
        self._token = ""
        self._until = 0.0
        self._failed: ClusterDown | None = None
        self._asking = asyncio.Lock()
        self._reading: asyncio.Future[bytes] | None = None

    async def get(self) -> str:
        """The present token. Of those who wait for a new one, one asks.

        Raises:
            ClusterDown: There is none.
        """
        async with self._asking:
            if time.monotonic() < self._until:
                if self._failed is not None:
                    raise self._failed
                return self._token
            try:
                self._source.check()
                self._token, seconds = await (self._run() if self._source.command else self._read())
                self._failed = None
            except (NotConfigured, OSError, ValueError, TimeoutError) as error:
                seconds, self._failed = _AGAIN, ClusterDown(Health.UNAUTHORIZED, _words(self._source, error))
            self._until = time.monotonic() + seconds
            if self._failed is not None:
                raise self._failed
            return self._token

    def refused(self) -> None:
        """The cluster does not accept the token: renew it soon, however long it says that it lasts."""
        self._until = min(self._until, time.monotonic() + _AGAIN)

    async def _read(self) -> tuple[str, float]:
        """Read the file. A read that hangs, as on a mount whose server is away, goes on alone: no second one is begun beside it."""

        def read() -> bytes:
            with Path(self._source.file).open("rb") as opened:
                return opened.read(_LIMIT)

        self._reading = self._reading or _apart(read)
        try:
            async with asyncio.timeout(_LONGEST):
                found = await asyncio.shield(self._reading)
        finally:
            if self._reading.done():
                self._reading = None
        return _usable(found.decode()), _READ

    async def _run(self) -> tuple[str, float]:
        """Run the plugin: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins."""
        command, version = self._source.command, "client.authentication.k8s.io/v1"
        spec = {"interactive": False} | ({"cluster": _about(self._source)} if self._source.server else {})
        info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ARGOSY_")}
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment | {"KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LIMIT,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 -- a pipe was asked for
        assert process.stderr is not None  # noqa: S101
        try:
            async with asyncio.timeout(_LONGEST):
                out, err = await asyncio.gather(_all(process.stdout), _all(process.stderr))
                code = await process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code:
            raise ValueError(f"ended with {code}: {clean(err.decode('utf-8', 'replace').strip(), limit=500)}")
        return _credential(out)


def _about(source: TokenProvider) -> dict[str, str]:
    """The cluster as `provideClusterInfo` of a kubeconfig has it told. What it tells is no secret, so every plugin is told."""
    authority = {"certificate-authority-data": b64encode(source.ca.encode()).decode()} if source.ca else {}
    return {"server": source.server} | authority


def _apart(work: Callable[[], bytes]) -> asyncio.Future[bytes]:
    """Run it in a thread that nobody waits for at the end of the process."""
    done: Future[bytes] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except (OSError, ValueError) as error:
            done.set_exception(error)

    Thread(target=run, name="token", daemon=True).start()
    return asyncio.wrap_future(done)


async def _all(stream: asyncio.StreamReader) -> bytes:
    read = b""
    while piece := await stream.read(1 << 16):
        read += piece
        if len(read) > _LIMIT:
            raise ValueError(f"wrote more than {_LIMIT >> 20} MiB")
    return read


def _credential(out: bytes) -> tuple[str, float]:
    """The token of an ExecCredential, and for how many seconds it may be used."""
    try:
        status: Mapping[str, Any] = orjson.loads(out)["status"]
        token, ends = status.get("token"), status.get("expirationTimestamp")
        until = datetime.fromisoformat(ends) if ends else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("printed no ExecCredential") from None
    if not token:
        raise ValueError("its ExecCredential holds no token; argosy uses no client certificates")
    if until is None:
        return _usable(str(token)), _KEPT
    left = (until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)
    return _usable(str(token)), min(max(left.total_seconds() - _EARLY, _AGAIN), 86_400.0)


def _usable(token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("holds no token")
    return token


def _words(source: TokenProvider, error: Exception) -> str:
    if isinstance(error, NotConfigured):
        return str(error)
    if isinstance(error, TimeoutError):
        why = f"not done after {_LONGEST:.0f} s"
    elif isinstance(error, FileNotFoundError):
        why = "is not there"
    else:
        why = str(error.strerror if isinstance(error, OSError) else error)
    return f"token: {source.command[0] if source.command else source.file}: {why}"


_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def expires(token: str) -> datetime | None:
    """When a token ends, as it says of itself (a JWT); None if it does not say."""
    try:
        part = token.split(".")[1]
        claims = orjson.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return min(datetime.fromtimestamp(max(0, int(claims["exp"])), UTC), _LATEST)
    except (IndexError, Base64Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
