"""Finding the media of a query: the API server is asked, page by page.

Only the API server knows a project's media and who may see them, so it is asked with the user's own token. Its answers are not trusted:
they are limited in bytes, count and time (network/http.py); ids are checked like those that a caller gives; a page that does not continue
after the last one is an error, so there is no endless loop; and of an error only its message is shown, cleaned, and without the token.

Only argosy sets the paging parameters: a query that sets them is refused, because together they would select the wrong media (with
`stop=10` in a query, all media were taken).
"""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

import orjson
from yarl import URL

from argosy.errors import InvalidRequest, MediaSourceError
from argosy.network.guard import ForbiddenAddress, inside
from argosy.network.http import Http, TooLarge, Unanswered
from argosy.settings import Settings

PAGING = ("after", "start", "stop", "sort_by")
"""Parameters of the API server's media list that a query may not set: with them pages overlap, or end early, or come in another order."""

_PAGE_SECONDS = 60.0
"""The most seconds for one page, however slowly its bytes come."""

_WHOLE_SECONDS = 3600.0
"""The most seconds for all pages; the largest launch takes some minutes."""

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
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def resolve(self, project: int, query: str, token: str) -> list[int]:
        """See `MediaSource.resolve`."""
        if token and not _HEADER_VALUE.fullmatch(token):
            raise InvalidRequest(
                "the launch's token holds a character that no HTTP header can carry (a line end, a letter with an accent), so the API "
                "server cannot be asked for media; launch again with the token as the API server gave it"
            )
        asked = parse_qsl(query.lstrip("?"), keep_blank_values=True)
        if taken := [name for name in PAGING if name in dict(asked)]:
            raise InvalidRequest(
                f"media_query sets {', '.join(taken)}: argosy pages through the media itself, in the order of their ids; leave these "
                "parameters out, or give the media as media_ids"
            )
        found: list[int] = []
        ends = time.monotonic() + _WHOLE_SECONDS
        with Http(inside(self._settings.trusted_hosts)) as http:
            while page := self._page(http, project, asked, token, found[-1] if found else None):
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

    def _page(self, http: Http, project: int, asked: list[tuple[str, str]], token: str, after: int | None) -> list[int]:
        url = f"{self._settings.rest_url.rstrip('/')}/Medias/{project}"
        params = [*asked, ("stop", str(self._settings.media_page))]
        params += [] if after is None else [("after", str(after))]
        headers = {"Authorization": f"Token {token}"} if token else {}
        limit = self._settings.media_page_bytes
        try:
            address = URL(f"{URL(url)}?{urlencode(params)}", encoded=True)
            answer = http.request("GET", address, headers, limit=limit, seconds=_PAGE_SECONDS, packed=True)
        except TooLarge:
            raise InvalidRequest(
                f"GET {url}: a page of {self._settings.media_page} media exceeds {limit} bytes; lower ARGOSY_MEDIA_PAGE"
            ) from None
        except (ForbiddenAddress, Unanswered, ValueError) as error:
            raise MediaSourceError(f"GET {url}: {error}") from None
        if answer.status >= 500 or answer.status == 429:
            raise MediaSourceError(f"GET {url}: HTTP {answer.status}")
        if answer.status != 200:
            words = answer.message([token]) or "it does not say why"
            raise InvalidRequest(f"the API server refuses the media query (HTTP {answer.status}): {words}")
        return _ids(answer.body, url)


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
