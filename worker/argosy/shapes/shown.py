"""Output for callers, as pydantic models: the JSON of the REST reference.

Names and nesting are those of the REST reference (`id` of a job is its workflow's name, `task` of a node its display name), with fields
that argosy adds.
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
    """One job, in the REST reference's shape, with fields that argosy adds.

    `status` is the workflow's phase, or the capitalised state if there is none. `as_of` says until when that is known to be true.
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
    """A launch: its `state` (accepted, resolved, expanded, rejected or cancelled), and its jobs counted by status."""

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
    """Result of a cancel, as numbers of jobs: those that ended at once, those that are `Cancelling` until their workflow has ended, those
    that had ended before. `launches` counts launches that ended before they were cut into jobs."""

    cancelled: int
    cancelling: int
    ended: int
    launches: int = 0


class AlgorithmShape(AlgorithmSpec):
    """A registered algorithm. `paused_at` is set while it is paused. `warnings` are about its manifest, and are filled only in the answer
    to registering or changing it."""

    id: int
    warnings: list[str] = Field(default_factory=list)
    paused_at: datetime | None
    paused_reason: str


class ClusterShape(BaseModel):
    """A registered JobCluster, without its token.

    `active` is how many unfinished workflows it has, including creates under way; 0 when a paused cluster is empty. `window` is how many
    its pace allows at present; null before it was first adapted. Until `open_until` nothing is submitted to it, because of `open_reason`.
    Since `held_at` nothing is created or ended there, because of `held_reason`.
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
    argo_server: str
    argo_server_ca: str
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
    warnings: list[str] = Field(default_factory=list)


class ProjectShape(ProjectSpec):
    """A project with its settings, its own limits by cluster name, and its numbers of unfinished workflows and queued jobs."""

    id: int
    max_active: dict[str, int]
    active: int
    queued: int
    paused_at: datetime | None
    paused_reason: str
