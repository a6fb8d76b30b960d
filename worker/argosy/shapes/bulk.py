"""Work on all jobs that a filter chooses: what is asked for, and what came of it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from argosy.shapes.filters import JobFilter

Verb = Literal["cancel", "retry", "retry_latest", "priority"]
"""What is done with each job; `retry_latest` runs what is registered now, not what the job ran."""

RETRIES = frozenset[Verb]({"retry", "retry_latest"})
"""Those that give a job a new attempt."""


class Refused(BaseModel):
    """A job with which it was not done, and why; of a launch that had no jobs yet, `uid` and `index` are null."""

    gid: UUID
    uid: UUID | None
    index: int | None
    why: str


class BulkShape(BaseModel):
    """Work on jobs that `where` chose when it was prepared: `count` jobs, by status `counts`, and `launches` without jobs. It is `done`
    with so many, and not done with `not_done`: `refused` says why, of the first hundred."""

    id: UUID
    verb: Verb
    where: JobFilter
    user: int
    projects: list[int]
    priority: int | None
    state: Literal["prepared", "running", "done"]
    created_at: datetime
    count: int
    launches: int
    counts: dict[str, int]
    done: int
    not_done: int
    refused: list[Refused]
