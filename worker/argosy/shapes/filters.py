"""Filters that callers give, for work on a part of a launch's jobs."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from argosy.shapes.given import In, MediaId

Ended = Literal["Succeeded", "Failed", "Error", "Cancelled", "Rejected", "Deleted", "Lost"]
"""Statuses of jobs that have ended."""


def _key(value: str) -> str:
    if len(value) != 8 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("must be the key of a group of failures: eight letters, as `argosy get GID` shows them")
    return value


class RetryFilter(In):
    """Which ended jobs are retried: those that failed alike (`error`, the key of a group of `failures`), have one of these statuses, and
    hold one of these media. What is left out does not filter; but without `status` only what failed is retried."""

    error: Annotated[str, AfterValidator(_key)] | None = None
    status: Annotated[list[Ended], Field(min_length=1)] | None = None
    media_ids: Annotated[list[MediaId], Field(min_length=1, max_length=10_000)] | None = None
