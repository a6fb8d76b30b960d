"""Asking the platform on somebody's behalf: who they are, what they may do; and handing on what is the platform's own.

Its address is the operator's word (ARGOSY_REST_URL); nobody else's decides where a request goes (T15). How it is asked is in
network/http.py.
"""

import time
from collections.abc import Mapping
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import urlsplit

import orjson
from yarl import URL

from argosy import metrics
from argosy.errors import ArgosyError, InvalidRequest
from argosy.inputs import clean
from argosy.network.guard import ForbiddenAddress, inside
from argosy.network.http import Answer, Http, Unanswered
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


class Platform:
    """The platform's REST API.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._root = settings.rest_url.rstrip("/")
        self._hosts = {urlsplit(url).netloc for url in (settings.host, settings.rest_url, settings.tus_url)} | set(
            settings.upload_hosts
        )
        self._http = Http(inside(settings.trusted_hosts))
        self._asking = BoundedSemaphore(max(settings.api_threads // 2, 1))

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

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
        try:
            return self._request(method, f"{self._root}/{what}", headers, body, limit)
        except (ForbiddenAddress, ValueError) as error:
            raise PlatformAway(f"ARGOSY_REST_URL: {error}") from None

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
        except (ForbiddenAddress, ValueError) as error:
            raise InvalidRequest(f"upload_url: {error}") from None
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
        try:
            return self._http.request(method, URL(url), headers, body, limit=limit, seconds=_SECONDS)
        except Unanswered as error:
            raise PlatformAway(f"the platform cannot be asked: {error}; try again") from None
