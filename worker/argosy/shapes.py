"""What crosses the wire, as pydantic models: the REST reference's JSON and the Dramatiq message.

Names and nesting are the REST reference's (`id` of a job is its workflow's name, `task` of a node its display name); what argosy adds
stands beside them. What comes in is closed (`extra="forbid"`): a misspelt field is refused, not ignored.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

MediaId = Annotated[int, Field(ge=0, lt=1 << 63)]
Id = Annotated[int, Field(ge=0, lt=1 << 63)]


def _no_nul(value: object) -> object:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("contains a NUL character")
    return value


Text = Annotated[str, BeforeValidator(_no_nul)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Labels = dict[Name, Annotated[Text, Field(max_length=200)]]
Deadline = Annotated[float, Field(gt=0, le=366 * 86400)] | None
Limit = Annotated[int, Field(ge=0, le=100_000)]


PARAMETERS_LIMIT = 256 * 1024
"""Bytes of all parameters of a launch together, names and values. A cluster takes no object over 1.5 MB, and says so in ways that look like
a failure of the cluster: one launch with a parameter of 1,600,000 characters was created again and again, for ever."""


class In(BaseModel):
    """Base of what comes in."""

    model_config = ConfigDict(extra="forbid")


class Parameter(In):
    """A parameter of an algorithm or a launch; a number or boolean becomes text as JSON shows it."""

    name: Name
    value: Annotated[str | int | float | bool | None, BeforeValidator(_no_nul)] = None


class LaunchRequest(In):
    """A launch, as the Dramatiq message on queue `launch` carries it (version 1).

    `media_ids` or `media_query`, or neither for all media of the project. `token_sealed` is the user's API token in a libsodium sealed
    box to the workers' public key, base64. `priority` orders a user's own jobs, higher first; it takes nothing from other tenants.
    """

    version: Literal[1] = 1
    gid: UUID
    project: Id
    user: Id
    algorithm_name: Name
    media_ids: list[MediaId] | None = None
    media_query: Annotated[Text, Field(max_length=16_384)] | None = None
    extra_params: list[Parameter] = []
    success_email_spec: dict[str, Any] | None = None
    failure_email_spec: dict[str, Any] | None = None
    token_sealed: str | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

    @field_validator("gid")
    @classmethod
    def _time_based(cls, gid: UUID) -> UUID:
        if gid.version != 1:
            raise ValueError("must be a version-1 UUID")
        return gid

    @field_validator("token_sealed")
    @classmethod
    def _base64(cls, sealed: str | None) -> str | None:
        try:
            b64decode(sealed or "", validate=True)
        except Base64Error as error:
            raise ValueError("must be base64 of a libsodium sealed box") from error
        return sealed

    @field_validator("extra_params")
    @classmethod
    def _bounded(cls, parameters: list[Parameter]) -> list[Parameter]:
        size = sum(len(f"{parameter.name}{parameter.value}".encode()) for parameter in parameters)
        if size > PARAMETERS_LIMIT:
            raise ValueError(f"have {size} bytes, and all parameters of a launch together may have {PARAMETERS_LIMIT}")
        return parameters

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.media_ids is not None and self.media_query is not None:
            raise ValueError("give media_ids or media_query, not both")
        return self


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
    """What a cancel came to, in jobs: ended on the spot, `Cancelling` until their workflow has ended, ended before; and in `launches` that
    end before they were cut into jobs."""

    cancelled: int
    cancelling: int
    ended: int
    launches: int = 0


class AlgorithmSpec(In):
    """What registers an algorithm; `cluster` is a JobCluster's id, null for the default one.

    Instead of one cluster, `clusters` lists several, or `cluster_labels` says what they must carry: then the healthy one with the largest
    part of its slots free takes the next job.

    A job that ends `Error` or `Lost` is tried again by itself until it has had `max_attempts`, first after `retry_backoff` seconds, then
    after twice as long each time. A job whose first pod has not run after `pending_deadline` seconds, or that runs longer than
    `run_deadline` from then on, is ended.
    """

    name: Name
    project: Id
    user: Id
    manifest: Text
    files_per_job: Annotated[int, Field(ge=1, le=1_000_000)]
    description: Text = ""
    cluster: int | None = None
    categories: list[Text] = []
    parameters: list[Parameter] = []
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    retry_backoff: Annotated[float, Field(ge=0, le=3600)] = 10.0
    clusters: list[int] = []
    cluster_labels: Labels = {}
    pending_deadline: Deadline = None
    run_deadline: Deadline = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if sum((self.cluster is not None, bool(self.clusters), bool(self.cluster_labels))) > 1:
            raise ValueError("give one of cluster, clusters and cluster_labels")
        return self


class AlgorithmShape(AlgorithmSpec):
    """A registered algorithm; `paused_at` where nothing of it is submitted at present."""

    id: int
    paused_at: datetime | None
    paused_reason: str


class ClusterSpec(In):
    """What registers a JobCluster. `host` null means the cluster that argosy runs in; `token` is never shown again.

    `max_active` bounds its unfinished workflows, `project_max_active` those of each project; the deadlines cap the algorithms'. With `pace`
    it is given as many as it keeps up with, below that bound.
    """

    name: Name
    host: Annotated[Text, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    cert: Text = ""
    token: Text = Field(default="", repr=False)
    organization: int | None = None
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "argosy"
    service_account: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] | None = None
    default: bool = False
    finalizer: bool = True
    token_in_clear: bool = False
    max_active: Limit = 500
    project_max_active: Limit | None = None
    pending_deadline: Deadline = None
    run_deadline: Deadline = None
    pace: bool = True
    labels: Labels = {}

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.host is not None and not self.token:
            raise ValueError("token: required field is missing")
        if self.host is not None and not self.cert:
            raise ValueError("cert: required field is missing (the CA of the cluster's API server, PEM)")
        return self


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


class ProjectSpec(In):
    """How a project is treated: its part of the slots relative to others', and the most queued jobs that it may have.

    A job costs 1/weight of virtual time, a float: a weight near 0 would make one job cost so much that nobody else's moves it any more.
    """

    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    max_queued: Annotated[int, Field(ge=0)] | None = None


class ProjectShape(ProjectSpec):
    """A project as argosy treats it, its own limits by cluster name, and what it has there: unfinished workflows and queued jobs."""

    id: int
    max_active: dict[str, int]
    active: int
    queued: int
    paused_at: datetime | None
    paused_reason: str
