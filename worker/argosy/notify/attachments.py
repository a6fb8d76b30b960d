"""What a mail attaches: objects of the platform's store, fetched as the user who launched may fetch them.

The platform is asked for their download addresses with the user's own token, so nobody attaches what they may not read. Its answer is not
trusted (T15): only its own hosts and ARGOSY_UPLOAD_HOSTS are asked, without a credential, without redirects, and bounded in time and size.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from argosy.crypto import open_token
from argosy.errors import ArgosyError, NotConfigured, SealBroken
from argosy.settings import Settings

_SECONDS = 20.0
"""For all that a mail attaches."""

_BYTES = 7 << 20
"""Of all that a mail attaches: as mail it is a third longer, and many servers take 10 MB."""

_ANSWER_BYTES = 1 << 20
"""Of the platform's answer."""


class Away(ArgosyError):
    """What a mail attaches cannot be fetched now; try again."""


class _Never(ArgosyError):
    """It cannot be fetched at all."""


@dataclass(frozen=True)
class Fetched:
    """Files by name, and why others are missing."""

    files: Sequence[tuple[str, bytes]] = ()
    missing: Sequence[str] = field(default_factory=list)


async def fetch(settings: Settings, project: int, sealed: bytes | None, wanted: Sequence[dict[str, Any]]) -> Fetched:
    """Fetch what a mail attaches.

    Args:
        settings: Where the platform is.
        project: Whose objects.
        sealed: The user's token.
        wanted: The key and the name of each.

    Raises:
        Away: The platform or its store does not answer.
    """
    if not wanted:
        return Fetched()
    try:
        token = open_token(sealed, settings.token_private_key)
    except (NotConfigured, SealBroken) as error:
        return Fetched(missing=[f"{each['name']}: {error}" for each in wanted])
    hosts = {urlsplit(url).netloc for url in (settings.host, settings.rest_url, settings.tus_url)}
    timeout = httpx.Timeout(10, connect=3)
    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False) as client,
        ):
            place = f"{settings.rest_url.rstrip('/')}/DownloadInfo/{project}"
            return await _fetched(client, place, token, wanted, hosts | set(settings.upload_hosts))
    except TimeoutError:
        raise Away(f"attachments did not come within {_SECONDS:.0f} s") from None
    except (httpx.HTTPError, ValueError) as error:
        # Not chained: the library's text may hold what it could not send, a token for example.
        raise Away(f"attachments cannot be fetched ({type(error).__name__})") from None


async def _fetched(
    client: httpx.AsyncClient, place: str, token: str, wanted: Sequence[dict[str, Any]], hosts: Collection[str]
) -> Fetched:
    try:
        urls = await _urls(client, place, token, [each["key"] for each in wanted])
    except _Never as error:
        return Fetched(missing=[f"{each['name']}: {error}" for each in wanted])
    files, missing, left = [], [], _BYTES
    for each in wanted:
        try:
            content = await _object(client, urls.get(each["key"]), hosts, left)
        except _Never as error:
            missing.append(f"{each['name']}: {error}")
        else:
            files.append((each["name"], content))
            left -= len(content)
    return Fetched(files, missing)


async def _urls(client: httpx.AsyncClient, place: str, token: str, keys: Sequence[str]) -> dict[str, str]:
    """The download address of each key that the platform gives one for."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Token {token}"} if token else {})
    body = await _bytes(client, "POST", place, _ANSWER_BYTES, headers, orjson.dumps({"keys": list(keys)}))
    try:
        return {str(each["key"]): str(each["url"]) for each in orjson.loads(body)}
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise Away("the platform's answer to DownloadInfo is no list of addresses") from None


async def _object(client: httpx.AsyncClient, url: str | None, hosts: Collection[str], limit: int) -> bytes:
    if url is None:
        raise _Never("the platform has no such object")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.netloc not in hosts:
        raise _Never("its host is not one that uploads are fetched from; an operator may add it to ARGOSY_UPLOAD_HOSTS")
    return await _bytes(client, "GET", url, limit, {}, None)


async def _bytes(
    client: httpx.AsyncClient, method: str, url: str, limit: int, headers: dict[str, str], body: bytes | None
) -> bytes:
    # Of other encodings some kilobytes would be a gigabyte once they are unpacked.
    asked = headers | {"Accept-Encoding": "identity"}
    async with client.stream(method, url, headers=asked, content=body) as answer:
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Away(f"attachments: HTTP {answer.status_code}")
        if answer.status_code not in (200, 201):
            raise _Never(f"not there, or not for who launched (HTTP {answer.status_code})")
        found = bytearray()
        async for chunk in answer.aiter_raw():
            found += chunk
            if len(found) > limit:
                raise _Never(f"all attachments of a mail have {_BYTES >> 20} MiB at most")
        return bytes(found)
