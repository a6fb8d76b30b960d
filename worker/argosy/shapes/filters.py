"""Filters that callers give: for work on a part of a launch's jobs, and to find jobs."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from argosy.errors import InvalidRequest
from argosy.inputs import validated
from argosy.shapes.given import Id, In, MediaId, Name, Number, Text

Ended = Literal["Succeeded", "Failed", "Error", "Cancelled", "Rejected", "Deleted", "Lost"]
"""Statuses of jobs that have ended."""

Status = Literal[
    "Queued", "Submitting", "Pending", "Running", "Cancelling",
    "Succeeded", "Failed", "Error", "Cancelled", "Rejected", "Deleted", "Lost",
]  # fmt: skip
"""Statuses of jobs."""

FAILED: tuple[Status, ...] = ("Failed", "Error", "Rejected", "Deleted", "Lost")
"""Statuses that `failed` stands for."""

_MOST_FIELDS = 1000
"""Names and values of one query string."""


def _key(value: str) -> str:
    if len(value) != 8 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("must be the key of a group of failures: eight letters, as `argosy get GID` shows them")
    return value


GroupKey = Annotated[str, AfterValidator(_key)]


class RetryFilter(In):
    """Which ended jobs are retried: those that failed alike (`error`, the key of a group of `failures`), have one of these statuses, and
    hold one of these media. What is left out does not filter; but without `status` only what failed is retried."""

    error: GroupKey | None = None
    status: Annotated[list[Ended], Field(min_length=1)] | None = None
    media_ids: Annotated[list[MediaId], Field(min_length=1, max_length=10_000)] | None = None


def _listed(value: object) -> object:
    """A single one needs no list."""
    return (value,) if isinstance(value, str | int) else value


def _capital(value: object) -> object:
    found = _listed(value)
    return (
        [each.capitalize() if isinstance(each, str) else each for each in found]
        if isinstance(found, list | tuple)
        else found
    )


def _once(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each once, in one order, so that equal filters are equal."""
    return tuple(sorted(set(value)))


def _zoned(value: datetime) -> datetime:
    """A time without a zone is UTC."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before or after all times that can be written") from None


def _pair(value: str) -> str:
    name, equals, _ = value.partition("=")
    if not (name and equals):
        raise ValueError("must be NAME=VALUE")
    return value


def _cursor(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("not the cursor of a page of jobs")
    return value


Time = Annotated[datetime, AfterValidator(_zoned)]
Pair = Annotated[Text, Field(max_length=2000), AfterValidator(_pair)]


class JobFilter(In):
    """Which jobs, in which order, and which page of them. What is left out does not filter; several values of one field mean any of them.

    Args:
        project: Of these projects.
        gid: Of this launch.
        index: With this index in their launch, from 0.
        status: With one of these statuses.
        failed: Those that failed: `Failed`, `Error`, `Rejected`, `Deleted` and `Lost`, besides those of `status`.
        error: That failed alike: the key of a group of `failures`.
        algorithm: Of the algorithm with this name.
        cluster: On the cluster with this name.
        user: Of this user's launches.
        media: That hold this medium.
        param: Of launches with all these parameters, each NAME=VALUE.
        since: Launched at this time or later, by the time in the gid.
        until: Launched before this time.
        sort: `newest`: the newest launch first, its jobs in their order; `oldest`: the other way round.
        limit: Jobs of a page.
        cursor: The cursor of the page before, for those that come after it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"description": "Which jobs: the parameters of FindJobs."}
    )

    project: Annotated[tuple[Id, ...], BeforeValidator(_listed), AfterValidator(_once), Field(max_length=1000)] = ()
    gid: UUID | None = None
    index: Number | None = None
    status: Annotated[tuple[Status, ...], BeforeValidator(_capital), AfterValidator(_once)] = ()
    failed: bool = False
    error: GroupKey | None = None
    algorithm: Name | None = None
    cluster: Name | None = None
    user: Id | None = None
    media: MediaId | None = None
    param: Annotated[tuple[Pair, ...], BeforeValidator(_listed), AfterValidator(_once), Field(max_length=20)] = ()
    since: Time | None = None
    until: Time | None = None
    sort: Literal["newest", "oldest"] = "newest"
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None

    @classmethod
    def of_query(cls, query: str) -> Self:
        """The filter of a URL's query string. Empty values are as left out, so that a form need not be filled in.

        Raises:
            InvalidRequest: A name is unknown, or a value cannot be used.
        """
        try:
            pairs = parse_qsl(query, max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise InvalidRequest(f"the query has more than {_MOST_FIELDS} fields") from None
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in _LISTS:
                found.setdefault(name, []).append(value)
            elif found.setdefault(name, value) != value:
                raise InvalidRequest(f"{name[:100]}: is there twice, with different values")
        return validated(cls, found)

    def query(self) -> str:
        """The query string that `of_query` turns into this filter. What is as it is without being given is left out."""
        pairs: list[tuple[str, str]] = []
        for name, value in self.model_dump(mode="json", exclude_defaults=True).items():
            pairs += [(name, _word(each)) for each in (value if isinstance(value, list) else [value])]
        return urlencode(pairs)

    def but(self, **changes: Any) -> Self:
        """This filter with other values in some fields, from its first page.

        Raises:
            InvalidRequest: A value cannot be used.
        """
        return validated(type(self), {**self.model_dump(), "cursor": None, **changes})

    @property
    def statuses(self) -> frozenset[Status]:
        """The statuses that jobs may have; empty if they may have any."""
        return frozenset(self.status) | frozenset(FAILED if self.failed else ())


_LISTS = frozenset({"project", "status", "param"})


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
