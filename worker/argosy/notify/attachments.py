"""What a mail attaches: objects of the platform's store, fetched as the user who launched may fetch them.

The platform is asked for their download addresses with the user's own token, so nobody attaches what they may not read. Its answer is not
trusted (T15): only its own hosts and ARGOSY_UPLOAD_HOSTS are asked, and without a credential.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from yarl import URL

from argosy.crypto import open_token
from argosy.errors import ArgosyError, NotConfigured, SealBroken
from argosy.network.guard import ForbiddenAddress, inside
from argosy.network.http import Http, TooLarge, Unanswered
from argosy.settings import Settings

_SECONDS = 20.0
"""For all that a mail attaches."""

_BYTES = 7 << 20
"""Of all that a mail attaches: as mail it is a third longer, and many servers take 10 MB."""

_ANSWER_BYTES = 1 << 20
"""Of the platform's answer."""


class NotFetched(ArgosyError):
    """What a mail attaches cannot be fetched now; try again."""


class _Never(ArgosyError):
    """It cannot be fetched at all."""


@dataclass(frozen=True)
class Fetched:
    """Files by name, and why others are missing."""

    files: Sequence[tuple[str, bytes]] = ()
    missing: Sequence[str] = field(default_factory=list)


def fetch(settings: Settings, project: int, sealed: bytes | None, wanted: Sequence[dict[str, Any]]) -> Fetched:
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
    ends = time.monotonic() + _SECONDS
    try:
        token = open_token(sealed, settings.token_private_key)
        with Http(inside(settings.trusted_hosts)) as http:
            urls = _urls(http, f"{settings.rest_url.rstrip('/')}/DownloadInfo/{project}", token, wanted)
            return _objects(http, urls, wanted, _hosts(settings), ends)
    except (NotConfigured, SealBroken, _Never) as error:
        return Fetched(missing=[f"{each['name']}: {error}" for each in wanted])


def _hosts(settings: Settings) -> set[str]:
    hosts = {urlsplit(url).netloc for url in (settings.host, settings.rest_url, settings.tus_url)}
    return hosts | set(settings.upload_hosts)


def _urls(http: Http, place: str, token: str, wanted: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The download address of each key that the platform gives one for."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Token {token}"} if token else {})
    asked = orjson.dumps({"keys": [each["key"] for each in wanted]})
    answer = _answer(http, "POST", place, _ANSWER_BYTES, _SECONDS / 2, headers, asked)
    try:
        return {str(each["key"]): str(each["url"]) for each in orjson.loads(answer)}
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise NotFetched("the platform's answer to DownloadInfo is no list of addresses") from None


def _objects(
    http: Http, urls: dict[str, str], wanted: Sequence[dict[str, Any]], hosts: Collection[str], ends: float
) -> Fetched:
    files: list[tuple[str, bytes]] = []
    missing = []
    for each in wanted:
        left = _BYTES - sum(len(content) for _, content in files)
        try:
            url = urls.get(each["key"])
            if url is None:
                raise _Never("the platform has no such object")
            if urlsplit(url).netloc not in hosts:
                raise _Never(
                    "its host is not one that uploads are fetched from; an operator may add it to ARGOSY_UPLOAD_HOSTS"
                )
            files.append((each["name"], _answer(http, "GET", url, left, max(ends - time.monotonic(), 0.1))))
        except (_Never, ValueError) as error:
            missing.append(f"{each['name']}: {error}")
    return Fetched(files, missing)


def _answer(
    http: Http,
    method: str,
    url: str,
    limit: int,
    seconds: float,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    try:
        answer = http.request(method, URL(url, encoded=True), headers, body, limit=limit, seconds=seconds)
    except TooLarge:
        raise _Never(f"all attachments of a mail have {_BYTES >> 20} MiB at most") from None
    except ForbiddenAddress as error:
        raise _Never(str(error)) from None
    except Unanswered as error:
        raise NotFetched(f"attachments: {error}") from None
    if answer.status >= 500 or answer.status == 429:
        raise NotFetched(f"attachments: HTTP {answer.status}")
    if answer.status not in (200, 201):
        raise _Never(f"not there, or not for who launched (HTTP {answer.status})")
    return answer.body
