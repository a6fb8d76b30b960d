"""What `argosy status` shows: an installation on one screen."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class ProcessShape(_Shape):
    """A process that is alive. `trouble` is why it cannot do its work now; empty if it can."""

    kind: str
    host: str
    pid: int
    version: str
    revision: str
    started_at: datetime
    seen_at: datetime
    trouble: str


class ClusterStatusShape(_Shape):
    """A cluster: its health, how many unfinished workflows it has and may have, its queue, and who follows it until when. `closed` is why
    nothing new is submitted there; empty if something may be."""

    name: str
    health: str
    health_message: str
    as_of: datetime | None
    active: int
    capacity: int
    queued: int
    oldest_seconds: float
    closed: str
    tracker: str
    lease_seconds: float


class TroubleShape(_Shape):
    """Something that went wrong: when, where, and what was said."""

    at: datetime
    where: str
    text: str


class StatusShape(_Shape):
    """An installation. `waiting_launches` are not cut into jobs yet; `jobs` counts by state those that are unfinished, and those that ended
    within a day."""

    schema_revision: str
    newest_revision: str
    now: datetime
    processes: list[ProcessShape]
    missing: list[str]
    jobs: dict[str, int]
    waiting_launches: int
    oldest_launch_seconds: float
    notifications: int
    oldest_notification_seconds: float
    clusters: list[ClusterStatusShape]
    errors: list[TroubleShape]
