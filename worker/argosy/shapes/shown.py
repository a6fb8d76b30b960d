"""Output for callers, as pydantic models: the JSON of the REST reference.

Names and nesting are those of the REST reference (`id` of a job is its workflow's name, `task` of a node its display name), with fields
that argosy adds.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    computed_field,
)

from argosy.scheduling.pace import FIRST
from argosy.shapes.clusters import TokenSource
from argosy.shapes.filters import FAILED
from argosy.shapes.given import AlgorithmSpec, Parameter, Policy
from argosy.shapes.history import NotificationShape
from argosy.shapes.projects import ProjectSpec


class NodeShape(BaseModel):
    """One node of a job's workflow, in the REST reference's shape. `pod` and `host` are where it ran; `resources` what it used, in Argo's
    units; `boundary` is the id of the node that it belongs to."""

    id: str
    task: str
    status: str
    start_time: datetime | None
    stop_time: datetime | None
    children: list[str]
    type: str = ""
    message: str = ""
    exit_code: int | None = None
    pod: str = ""
    host: str = ""
    resources: dict[str, int] = Field(default_factory=dict)
    boundary: str = ""


class FoundJob(BaseModel):
    """One job, in the REST reference's shape, with fields that argosy adds, without its nodes.

    `index` is its number in its launch, from 0; `created_at` is when that was launched. `status` is the workflow's phase, or the
    capitalised state if there is none. `as_of` says until when that is known to be true. `manifest_digest` is the SHA-256 of the manifest
    that the attempt runs.
    """

    uid: UUID
    gid: UUID
    index: int
    id: str | None
    project: int
    user: int
    algorithm: str
    status: str
    message: str
    created_at: datetime
    start_time: datetime | None
    stop_time: datetime | None
    media_ids: list[int]
    attempt: int
    cluster: str | None
    manifest_digest: str = ""
    as_of: datetime


class JobShape(FoundJob):
    """One job with its nodes."""

    nodes: list[NodeShape]


class JobPage(BaseModel):
    """Jobs in their order; `cursor` asks for those that come after them, and is null where there are no more."""

    items: list[SerializeAsAny[FoundJob]]
    cursor: str | None


class JobCounts(BaseModel):
    """Jobs by status. `more`: there are more of those that are counted as 10,000."""

    counts: dict[str, int]
    more: bool


class ContainerLogShape(BaseModel):
    """What one container wrote.

    `node` is the node's id, `task` its name. `source` is `cluster` if the cluster has said it just now, `archive` if Argo has stored it,
    `kept` if it was kept when the container failed. `cut`: there was more before `text`.
    """

    node: str
    task: str
    container: str
    exit_code: int | None
    source: Literal["cluster", "archive", "kept"]
    cut: bool
    text: str


class LogShape(BaseModel):
    """What the containers of an attempt wrote. `note` says what is not there, and why; empty if nothing is missing."""

    uid: UUID
    attempt: int
    status: str
    note: str
    logs: list[ContainerLogShape]


class LaunchShape(BaseModel):
    """A launch: its `state` (accepted, resolved, expanded, rejected or cancelled), and its jobs counted by status.

    `status` is how it stands in one word: that of its jobs as soon as it has some, else its state.
    `done` jobs have ended; `rate` of them a second, within the last ten minutes, and so the others may take `seconds_left`; null where none
    ended lately. `resources` is what the pods of all its attempts used, as Argo counts it (seconds of a CPU, of 100 MiB of memory); null in
    lists, as are `notifications` (who is told how it ended) and `splits` (launches that have the media of its failed batches).
    `skipped` is how many media were left out because the algorithm has Succeeded on them already. `parent_gid` is the launch whose failed
    batches it has, in jobs of one medium each; that one may be forgotten since. `after` is the launch after which it runs; it is `waiting`
    until that one has ended.
    """

    gid: UUID
    project: int
    user: int
    algorithm: str
    state: str
    reason: str
    jobs: int
    skipped: int
    parent_gid: UUID | None
    after: UUID | None
    waiting: bool
    created_at: datetime
    counts: dict[str, int]
    done: int
    rate: float | None
    seconds_left: float | None
    resources: dict[str, int] | None
    webhook: str | None
    notifications: list[NotificationShape] | None
    splits: list[UUID] | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> str:
        """Waiting for another launch, its state before it is cut, then Running until all jobs have ended, Failed if one did, Cancelled if
        one was."""
        if self.waiting:
            return "waiting"
        if self.state != "expanded":
            return self.state
        if self.done < self.jobs:
            return "Running"
        if any(self.counts.get(status) for status in FAILED):
            return "Failed"
        return "Succeeded" if self.counts.get("Succeeded", 0) == self.jobs else "Cancelled"


class LaunchList(BaseModel):
    """Launches in their order; `cursor` asks for those that come after them, and is null where there are no more."""

    items: list[LaunchShape]
    cursor: str | None


class Hit(BaseModel):
    """A launch or a job that a search has found; `why` says by what."""

    kind: Literal["launch", "job"]
    gid: UUID
    uid: UUID | None
    index: int | None
    project: int
    user: int
    algorithm: str
    status: str
    why: str


class CancelShape(BaseModel):
    """Result of a cancel, as numbers of jobs: those that ended at once, those that are `Cancelling` until their workflow has ended, those
    that had ended before. `launches` counts launches that ended before they were cut into jobs."""

    cancelled: int
    cancelling: int
    ended: int
    launches: int = 0


class SplitShape(BaseModel):
    """Result of a retry that splits batches. `gid` is the launch that has their media in `jobs` jobs of one medium each; null if there were
    no such batches. It is `new`, or was there unfinished. `queued` is how many jobs of one medium are queued again under their old uid."""

    gid: UUID | None
    jobs: int
    new: bool
    queued: int


class FailedShape(BaseModel):
    """What failed of a launch, to be launched again: the media of its jobs that ended `Failed`, `Error`, `Rejected`, `Deleted` or `Lost`,
    in their order, and what these ran with."""

    algorithm: str
    project: int
    user: int
    media_ids: list[int]
    extra_params: list[Parameter]


class SlotsShape(BaseModel):
    """Slots of a cluster that a user's algorithm uses now: so many unfinished workflows, of which so many are running; the `oldest` of them
    began then."""

    cluster: str
    project: int
    user: int
    algorithm: str
    slots: int
    running: int
    launches: int
    oldest: datetime


class OutdatedShape(BaseModel):
    """Jobs that ran something else than their algorithm would run now. `ran` are the digests of their manifests, `registered` is that of
    the manifest that is registered now: where both are the same, parameters differ."""

    algorithm: str
    ran: list[str]
    registered: str


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
    Since `held_at` nothing is created or ended there, because of `held_reason`. `token_expires_at` is null where its token does not say
    when it ends, or is renewed.
    """

    id: int
    name: str
    organization: int | None
    host: str | None
    port: int
    path: str
    cert: str
    token_source: TokenSource | None
    token_expires_at: datetime | None
    namespace: str
    service_account: str | None
    default: bool
    finalizer: bool
    token_in_clear: bool
    logs: bool
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

    @property
    def capacity(self) -> int:
        """How many unfinished workflows it may have now: what its pace allows, where that is less than `max_active`."""
        return min(self.max_active, self.window or FIRST) if self.pace else self.max_active


class ProjectShape(ProjectSpec):
    """A project with its settings, its own limits by cluster name, and its numbers of unfinished workflows and queued jobs."""

    id: int
    max_active: dict[str, int]
    active: int
    queued: int
    paused_at: datetime | None
    paused_reason: str
