"""Which media a query means: asked of the API server, page by page.

The API server is the only one who knows a project's media and who may see them, so it is asked with the user's own token. Its answers
are a boundary: bounded in bytes and count, and a page that does not go forward ends the launch instead of looping for ever.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import httpx
import orjson

from argosy.errors import InvalidRequest, MediaSourceError
from argosy.settings import Settings


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
            MediaSourceError: It cannot be reached or fails; worth another try.
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
        found: list[int] = []
        with self._client() as client:
            while True:
                page = self._page(client, project, query, token, found[-1] if found else None)
                if not page:
                    return found
                if found and page[0] <= found[-1]:
                    raise MediaSourceError(
                        f"media of project {project}: the page after {found[-1]} begins at {page[0]}"
                    )
                found.extend(page)
                if len(found) > self._settings.media_max:
                    raise InvalidRequest(f"more than {self._settings.media_max} media; narrow the query")

    def _page(self, client: httpx.Client, project: int, query: str, token: str, after: int | None) -> list[int]:
        url = f"{self._settings.rest_url.rstrip('/')}/Medias/{project}"
        params = httpx.QueryParams(query.lstrip("?")).set("stop", self._settings.media_page)
        if after is not None:
            params = params.set("after", after)
        headers = {"Authorization": f"Token {token}"} if token else {}
        try:
            with client.stream("GET", url, params=params, headers=headers) as response:
                body = self._read(response, url)
        except httpx.HTTPError as error:
            raise MediaSourceError(f"GET {url}: {type(error).__name__} {error}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise MediaSourceError(f"GET {url}: HTTP {response.status_code}")
        if response.status_code != 200:
            words = body[:300].decode("utf-8", "replace")
            raise InvalidRequest(f"the API server refuses the media query (HTTP {response.status_code}): {words}")
        return _ids(body, url)

    def _read(self, response: httpx.Response, url: str) -> bytes:
        chunks, size = [], 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._settings.media_page_bytes:
                raise InvalidRequest(
                    f"GET {url}: a page of {self._settings.media_page} media exceeds {self._settings.media_page_bytes} bytes; "
                    "lower ARGOSY_MEDIA_PAGE"
                )
        return b"".join(chunks)


def _ids(body: bytes, url: str) -> list[int]:
    try:
        ids = [item["id"] for item in orjson.loads(body)]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise MediaSourceError(f"GET {url}: the answer is no list of media ({type(error).__name__})") from error
    if not all(isinstance(media_id, int) for media_id in ids):
        raise MediaSourceError(f"GET {url}: a media id is no integer")
    if any(later <= earlier for earlier, later in pairwise(ids)):
        raise MediaSourceError(f"GET {url}: the page is not in the order of ids, so paging by `after` would lose media")
    return ids
