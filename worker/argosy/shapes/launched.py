"""What `client.launch` answers."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, computed_field

from argosy.batches import JobUids

_SHOWN = 3
"""How many uids are printed."""


class Launched(BaseModel):
    """A launch that was written.

    `expanded` says whether its jobs are known; where they are not (a query, all media, `skip_done`), that is so when a worker has begun
    with it, and until then `jobs` is 0. `new` is False if the same request was written before. `state` is the launch's state. `position` is
    the number of jobs of its project that were queued already: they come first, unless this launch has a higher priority.
    """

    model_config = ConfigDict(frozen=True)

    gid: UUID
    expanded: bool
    jobs: int
    new: bool
    state: str
    position: int

    @computed_field  # type: ignore[prop-decorator] # mypy knows no decorated property
    @cached_property
    def uids(self) -> list[UUID]:
        """The ids of its jobs in the order of their batches; empty while they are not known. They are computed when they are asked for,
        because a launch may have a million."""
        return list(JobUids(self.gid, self.jobs))

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """What is printed: all but most of the uids."""
        yield from {name: getattr(self, name) for name in type(self).model_fields}.items()
        more = [f"and {self.jobs - _SHOWN} more"] if self.jobs > _SHOWN else []
        yield "uids", [*map(str, JobUids(self.gid, min(self.jobs, _SHOWN))), *more]
