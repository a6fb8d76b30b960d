"""Finding the media of a query: the API server is asked, page by page.

Only the API server knows a project's media and who may see them, so it is asked with the user's own token. Its answers are not trusted:
they are limited in bytes, count and time; ids are checked like those that a caller gives; a page that does not continue after the last one
is an error, so there is no endless loop; and error texts are cleaned, and the token removed from them, before anybody sees them.

Only argosy sets the paging parameters: a query that sets them is refused, because together they would select the wrong media (with
`stop=10` in a query, all media were taken).
"""

import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

import httpx
import orjson

from argosy.errors import InvalidRequest, MediaSourceError
from argosy.inputs import clean
from argosy.settings import Settings

PAGING = ("after", "start", "stop", "sort_by")
"""Parameters of the API server's media list that a query may not set: with them pages overlap, or end early, or come in another order."""

_PAGE_SECONDS = 60.0
"""The most seconds for one page, however slowly its bytes come."""

_WHOLE_SECONDS = 3600.0
"""The most seconds for all pages; the largest launch takes some minutes."""

_WORDS = 64 << 10
"""How many bytes are read of an error answer."""

_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class MediaSource(Protocol):
    """Resolves a query to media ids."""

    def resolve(self, project: int, query: str, token: str) -> list[int]:
        """The ids that a query means in a project, in the API server's order.

        Args:
            project: Whose media.
            query: Query string without `?`; empty for all media of the project.
            token: The user's API token.

        Raises:
            InvalidRequest: The API server refuses the query or the token, or the answer is too large.
            MediaSourceError: The API server cannot be reached or fails; another try may work.
        """
        ...


class RestMediaSource:
    """The REST reference's `GET {rest_url}/Medias/{project}?…` with `after`/`stop` paging.

    Args:
        settings: Where the API server is, page size and caps.
        client: How to open a client; tests hand their own transport in.
    """

    def __init__(self, settings: Settings, client: Callable[[], httpx.Client] | None = None) -> None:
        self._settings = settings
        self._client = client or (lambda: httpx.Client(timeout=httpx.Timeout(30, connect=5), follow_redirects=False))

    def resolve(self, project: int, query: str, token: str) -> list[int]:
        """See `MediaSource.resolve`."""
        if token and not _HEADER_VALUE.fullmatch(token):
            raise InvalidRequest(
                "the launch's token holds a character that no HTTP header can carry (a line end, a letter with an accent), so the API "
                "server cannot be asked for media; launch again with the token as the API server gave it"
            )
        asked = httpx.QueryParams(query.lstrip("?"))
        if taken := [name for name in PAGING if name in asked]:
            raise InvalidRequest(
                f"media_query sets {', '.join(taken)}: argosy pages through the media itself, in the order of their ids; leave these "
                "parameters out, or give the media as media_ids"
            )
        found: list[int] = []
        ends = time.monotonic() + _WHOLE_SECONDS
        with self._client() as client:
            while page := self._page(client, project, asked, token, found[-1] if found else None):
                if found and page[0] <= found[-1]:
                    raise MediaSourceError(
                        f"media of project {project}: the page after {found[-1]} begins at {page[0]}"
                    )
                found.extend(page)
                if len(found) > self._settings.media_max:
                    raise InvalidRequest(f"more than {self._settings.media_max} media; narrow the query")
                if time.monotonic() > ends:
                    raise MediaSourceError(
                        f"media of project {project}: only {len(found)} came in {_WHOLE_SECONDS:.0f} s; narrow the query"
                    )
        return found

    def _page(
        self, client: httpx.Client, project: int, asked: httpx.QueryParams, token: str, after: int | None
    ) -> list[int]:
        url = f"{self._settings.rest_url.rstrip('/')}/Medias/{project}"
        params = asked.set("stop", self._settings.media_page)
        if after is not None:
            params = params.set("after", after)
        # Of other encodings some kilobytes would be a gigabyte once they are unpacked.
        headers = {"Accept-Encoding": "gzip"} | ({"Authorization": f"Token {token}"} if token else {})
        try:
            with client.stream("GET", url, params=params, headers=headers) as response:
                body = self._read(response, url)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Not chained: the library's error text may contain what it could not send, even the token.
            raise MediaSourceError(f"GET {url}: {type(error).__name__} {clean(str(error), [token])}") from None
        if response.status_code >= 500 or response.status_code == 429:
            raise MediaSourceError(f"GET {url}: HTTP {response.status_code}")
        if response.status_code != 200:
            words = clean(body.decode("utf-8", "replace"), [token], 300)
            raise InvalidRequest(f"the API server refuses the media query (HTTP {response.status_code}): {words}")
        return _ids(body, url)

    def _read(self, response: httpx.Response, url: str) -> bytes:
        if (encoding := response.headers.get("content-encoding", "identity").lower()) not in ("gzip", "identity"):
            raise MediaSourceError(
                f"GET {url}: the answer is encoded as {clean(encoding, limit=40)}, which was not asked for"
            )
        chunks, size = [], 0
        ends = time.monotonic() + _PAGE_SECONDS
        limit = self._settings.media_page_bytes if response.status_code == 200 else _WORDS
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if time.monotonic() > ends:
                raise MediaSourceError(f"GET {url}: the answer took longer than {_PAGE_SECONDS:.0f} s")
            if size > limit:
                if response.status_code != 200:
                    break
                raise InvalidRequest(
                    f"GET {url}: a page of {self._settings.media_page} media exceeds {self._settings.media_page_bytes} bytes; "
                    "lower ARGOSY_MEDIA_PAGE"
                )
        return b"".join(chunks)


def _ids(body: bytes, url: str) -> list[int]:
    try:
        ids = list(_checked(orjson.loads(body)))
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise MediaSourceError(f"GET {url}: the answer is not a list of media ({type(error).__name__})") from error
    except ValueError as error:
        raise MediaSourceError(f"GET {url}: {error}") from error
    if any(later <= earlier for earlier, later in pairwise(ids)):
        raise MediaSourceError(f"GET {url}: the page is not in the order of ids, so paging by `after` would lose media")
    return ids


def _checked(items: list[dict[str, object]]) -> Iterator[int]:
    """The ids, checked by the same rules as a caller's media_ids."""
    for item in items:
        media_id = item["id"]
        if not isinstance(media_id, int) or isinstance(media_id, bool):
            raise ValueError("a media id is not an integer")
        if not 0 <= media_id < 1 << 63:
            raise ValueError(f"media id {media_id} is not an id: ids are from 0 to 2**63 - 1")
        yield media_id
