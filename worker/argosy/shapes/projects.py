"""Input about projects, the tenants."""

from typing import Annotated, TypedDict

from pydantic import Field

from argosy.shapes.given import In, Number


class ProjectSpec(In):
    """A project's settings: its part of the slots relative to other projects, and the most queued jobs that it may have.

    A job costs 1/weight of virtual time, which is a float: with a weight near 0 one job would cost so much that adding the cost of other
    projects' jobs would not change the number any more.
    """

    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    max_queued: Number | None = None


class ProjectFields(TypedDict, total=False):
    """The fields of `ProjectSpec`, as keywords."""

    weight: float
    max_queued: Number | None
