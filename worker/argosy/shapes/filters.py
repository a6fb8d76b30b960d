"""Filters that callers give, for work on a part of a launch's jobs."""

from typing import Annotated, Literal

from pydantic import Field

from argosy.shapes.given import In, MediaId

Ended = Literal["Succeeded", "Failed", "Error", "Cancelled", "Rejected", "Deleted", "Lost"]
"""Statuses of jobs that have ended."""


class RetryFilter(In):
    """Which ended jobs are retried: those that failed alike (`error`, the key of a group of `failures`), have one of these statuses, and
    hold one of these media. What is left out does not filter; but without `status` only what failed is retried."""

    error: Annotated[str, Field(pattern="^[0-9a-f]{8}$")] | None = None
    status: Annotated[list[Ended], Field(min_length=1)] | None = None
    media_ids: Annotated[list[MediaId], Field(min_length=1, max_length=10_000)] | None = None
