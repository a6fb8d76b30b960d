"""Asking the platform on somebody's behalf: who they are, what they may do; and handing on what is the platform's own.

Its address is the operator's word (ARGOSY_REST_URL); nobody else's decides where a request goes (T15). No redirects, no proxies from the
environment, answers bounded in time and size.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from argosy import metrics
from argosy.errors import ArgosyError, InvalidRequest
from argosy.inputs import clean
from argosy.settings import Settings

_SECONDS = 10.0
"""For a whole answer."""

_QUEUED = 0.2
"""Seconds to wait until somebody else's question is answered."""

_BYTES = 1 << 20
"""Of an answer."""

_LIST_BYTES = 16 << 20
"""Of a list: a project takes about 2 KB."""


class PlatformAway(ArgosyError):
    """The platform does not answer; try again."""


@dataclass(frozen=True)
class Answer:
    """What the platform said."""

    status: int
    body: bytes


class Platform:
    """The platform's REST API.

    Args:
        settings: Where it is.
        client: How to open a client; tests hand their own transport in.
    """

    def __init__(self, settings: Settings, client: Callable[[], httpx.Client] | None = None) -> None:
        self._root = settings.rest_url.rstrip("/")
        self._hosts = {urlsplit(url).netloc for url in (settings.host, settings.rest_url, settings.tus_url)} | set(
            settings.upload_hosts
        )
        make = client or (
            lambda: httpx.Client(timeout=httpx.Timeout(5, connect=3), follow_redirects=False, trust_env=False)
        )
        self._client = make()
        self._asking = BoundedSemaphore(max(settings.api_threads // 2, 1))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def get(self, what: str, credentials: Mapping[str, str]) -> dict[str, Any] | None:
        """An object of the platform's, as somebody may see it; None if they may not, or it is not there.

        Raises:
            PlatformAway: It does not answer, or not as it should.
        """
        found = self._read(what, credentials, _BYTES)
        if found is not None and not isinstance(found, dict):
            raise PlatformAway(f"the platform's answer to GET {what} is no object; try again")
        return found

    def listed(self, what: str, credentials: Mapping[str, str]) -> list[dict[str, Any]]:
        """Objects of the platform's that somebody may see; none if they may see none. Raises as `get`."""
        found = self._read(what, credentials, _LIST_BYTES)
        if found is not None and not isinstance(found, list):
            raise PlatformAway(f"the platform's answer to GET {what} is no list; try again")
        return [each for each in found or [] if isinstance(each, dict)]

    def _read(self, what: str, credentials: Mapping[str, str], limit: int) -> Any:
        answer = self.ask("GET", what, credentials, limit=limit)
        if answer.status in (400, 401, 403, 404):
            return None
        if answer.status != 200:
            raise PlatformAway(f"the platform answers HTTP {answer.status} to GET {what}; try again")
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise PlatformAway(f"the platform's answer to GET {what} is no JSON; try again") from error

    def ask(
        self,
        method: str,
        what: str,
        credentials: Mapping[str, str],
        body: bytes | None = None,
        limit: int = _BYTES,
    ) -> Answer:
        """One request below the REST root; its answer has at most `limit` bytes.

        Raises:
            PlatformAway: It does not answer.
        """
        headers = {**credentials, "Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        return self._request(method, f"{self._root}/{what}", headers, body, limit)

    def download(self, url: str, limit: int) -> str:
        """A text that somebody has uploaded to the platform.

        Args:
            url: Where it is; on a host of the platform's, or one that the operator lists.
            limit: Bytes, at most.

        Raises:
            InvalidRequest: It may not be fetched, or is too large, or no text.
            PlatformAway: The host does not answer.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidRequest(f"upload_url: {error}") from error
        if parts.scheme not in ("http", "https") or parts.netloc not in self._hosts:
            raise InvalidRequest(
                f"upload_url: {clean(parts.netloc, limit=100)!r} is not a host that uploads are fetched from; an operator may add it to "
                "ARGOSY_UPLOAD_HOSTS"
            )
        try:
            answer = self._request("GET", url, {}, None, limit)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidRequest(f"upload_url: not an address that can be fetched ({type(error).__name__})") from None
        if answer.status != 200:
            raise InvalidRequest(f"upload_url: its host answers HTTP {answer.status}; upload the manifest again")
        try:
            return answer.body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"upload_url: not UTF-8 text (byte {error.start})") from error

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int) -> Answer:
        begun, outcome = time.monotonic(), "busy"
        try:
            # A slow platform takes half of the threads at most: those whose callers are known go on.
            if not self._asking.acquire(timeout=_QUEUED):
                raise PlatformAway("the platform is slow, and too many ask it already; try again")
            outcome = "failed"
            try:
                answer = self._answered(method, url, headers, body, limit)
            finally:
                self._asking.release()
            outcome = f"{answer.status // 100}xx"
            return answer
        finally:
            metrics.PLATFORM_SECONDS.labels(outcome).observe(time.monotonic() - begun)

    def _answered(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int) -> Answer:
        ends, chunks, size = time.monotonic() + _SECONDS, [], 0
        try:
            # Credentials go on as the bytes that came.
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            raw.append((b"Accept-Encoding", b"identity"))  # some kilobytes would be a gigabyte once they are unpacked
            with self._client.stream(method, url, headers=raw, content=body) as response:
                for chunk in response.iter_raw():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > limit:
                        raise InvalidRequest(f"the answer has more than {limit} bytes")
                    if time.monotonic() > ends:
                        raise PlatformAway(f"the platform did not answer within {_SECONDS:.0f} s; try again")
                return Answer(response.status_code, b"".join(chunks))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise
        except (httpx.HTTPError, ValueError) as error:
            # Not chained: the library's text may hold what it could not send, a token for example.
            raise PlatformAway(f"the platform cannot be asked ({type(error).__name__}); try again") from None
