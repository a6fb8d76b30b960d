"""Output for callers, as pydantic models: the JSON of the REST reference.

Names and nesting are the REST reference's (`id` of a job is its workflow's name, `task` of a node its display name); what argosy adds
stands beside them.
"""

from datetime import datetime
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
)

from argosy.shapes.given import AlgorithmSpec, Policy, ProjectSpec


class NodeShape(BaseModel):
    """One node of a job's workflow, in the REST reference's shape."""

    id: str
    task: str
    status: str
    start_time: datetime | None
    stop_time: datetime | None
    children: list[str]
    type: str = ""
    message: str = ""
    exit_code: int | None = None


class JobShape(BaseModel):
    """One job, in the REST reference's shape and what argosy adds.

    `status` is the workflow's phase, or the capitalised state where there is none; `as_of` says until when that is known to be true.
    """

    uid: UUID
    gid: UUID
    id: str | None
    project: int
    user: int
    algorithm: str
    status: str
    message: str
    start_time: datetime | None
    stop_time: datetime | None
    media_ids: list[int]
    attempt: int
    cluster: str | None
    as_of: datetime
    nodes: list[NodeShape]


class LaunchShape(BaseModel):
    """How a launch stands: `state` accepted, resolved, expanded, rejected or cancelled, and its jobs by status."""

    gid: UUID
    project: int
    user: int
    algorithm: str
    state: str
    reason: str
    jobs: int
    created_at: datetime
    counts: dict[str, int]


class CancelShape(BaseModel):
    """Result of a cancel, in jobs: ended on the spot, `Cancelling` until their workflow has ended, ended before; and in `launches` that
    end before they were cut into jobs."""

    cancelled: int
    cancelling: int
    ended: int
    launches: int = 0


class AlgorithmShape(AlgorithmSpec):
    """A registered algorithm; `paused_at` where nothing of it is submitted at present. `warnings` are of its manifest, and told by who has
    just registered or changed it only."""

    id: int
    warnings: list[str] = Field(default_factory=list)
    paused_at: datetime | None
    paused_reason: str


class ClusterShape(BaseModel):
    """A registered JobCluster, its token left out.

    `active` is how many unfinished workflows it has, creates under way included: 0 once a paused one is empty. `window` is how many its
    pace allows at present; null where it was never measured. Until `open_until` it is left
    alone, because of `open_reason`. From `held_at` on nothing is created or ended there, because of `held_reason`.
    """

    id: int
    name: str
    organization: int | None
    host: str | None
    port: int
    cert: str
    namespace: str
    service_account: str | None
    default: bool
    finalizer: bool
    token_in_clear: bool
    policy: Policy
    max_active: int
    project_max_active: int | None
    pending_deadline: float | None
    run_deadline: float | None
    pace: bool
    active: int
    window: int | None
    labels: dict[str, str]
    paused_at: datetime | None
    paused_reason: str
    open_until: datetime | None
    open_reason: str
    held_at: datetime | None
    held_reason: str
    health: str
    health_message: str
    health_since: datetime
    as_of: datetime | None
    kubernetes_version: str
    argo_version: str


class ProjectShape(ProjectSpec):
    """A project as argosy treats it, its own limits by cluster name, and what it has there: unfinished workflows and queued jobs."""

    id: int
    max_active: dict[str, int]
    active: int
    queued: int
    paused_at: datetime | None
    paused_reason: str
