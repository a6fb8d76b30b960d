"""Output about what happened and why: events, failures in groups, why a job waits."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field


class EventShape(BaseModel):
    """Something that happened: to a launch, to an attempt of a job (`uid`, `attempt`), to a step of it (`node`), or to a cluster.

    `kind` is the state that began (`queued`, `submitting`, `running`, `failed`, …), or what was done (`cancel_requested`, `hidden`,
    `overdue`, `node_failed`, `node_pending`, `health`, `paused`, …). What happened several times, with messages that differ in ids and
    numbers only, is one event: `times` says how often, `last_at` when last. `actor` is who did it, where that is known. `detail` holds what
    is known besides: `exit_code`, `pod`, `host`, `task`, `resources` (as Argo counts them, in seconds), `not_before`, `jobs`.
    """

    id: int
    at: datetime
    last_at: datetime
    times: int
    kind: str
    gid: UUID | None
    uid: UUID | None
    attempt: int | None
    node: str = Field(validation_alias="node_id")
    cluster: str | None
    actor: str
    message: str
    detail: dict[str, Any]


class EventPage(BaseModel):
    """Events in their order; `cursor` asks for those that come later."""

    events: list[EventShape]
    cursor: str


class NotificationShape(BaseModel):
    """Somebody who is told how a launch ended: `state` is waiting, sent or given up; `reason` says why it was not taken the last time."""

    kind: str
    recipient: str
    ended: str
    state: str
    tries: int
    reason: str
    at: datetime


class FailureShape(BaseModel):
    """Jobs of a launch that failed alike: with the same exit code, and with messages that differ in ids, numbers, paths and quoted parts
    only. `key` names the group for a retry; `message` is that of the first job; `jobs` are the first five."""

    key: str
    status: str
    message: str
    exit_code: int | None
    count: int
    jobs: list[UUID]


class ReasonShape(BaseModel):
    """A reason why a job is where it is: `code` for programs, `text` for people, and what may be done about it."""

    code: str
    text: str
    do: str = ""


class ExplainShape(BaseModel):
    """Where a job is, since when, and why: the reasons that hold it, the one that must end first comes first."""

    uid: UUID
    gid: UUID
    project: int
    algorithm: str
    attempt: int
    status: str
    since: datetime
    as_of: datetime
    cluster: str | None
    reasons: list[ReasonShape]


class UsageShape(BaseModel):
    """What the attempts of a project that ended within some days used, as Argo counts it, in seconds: of a CPU, of 100 MiB of memory, of
    each other resource."""

    project: int
    days: int
    attempts: int
    resources: dict[str, int]
