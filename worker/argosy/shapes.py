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
    box to the workers' public key, base64.
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
    """What a cancel came to, in jobs: ended on the spot, `Cancelling` until their workflow has ended, ended before."""

    cancelled: int
    cancelling: int
    ended: int


class AlgorithmSpec(In):
    """What registers an algorithm; `cluster` is a JobCluster's id, null for the default one.

    A job that ends `Error` or `Lost` is tried again by itself until it has had `max_attempts`, first after `retry_backoff` seconds, then
    after twice as long each time.
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


class AlgorithmShape(AlgorithmSpec):
    """A registered algorithm."""

    id: int


class ClusterSpec(In):
    """What registers a JobCluster. `host` null means the cluster that argosy runs in; `token` is never shown again."""

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
    max_active: Annotated[int, Field(ge=0, le=100_000)] = 500

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.host is not None and not self.token:
            raise ValueError("token: required field is missing")
        if self.host is not None and not self.cert:
            raise ValueError("cert: required field is missing (the CA of the cluster's API server, PEM)")
        return self


class ClusterShape(BaseModel):
    """A registered JobCluster, its token left out."""

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
    health: str
    health_message: str
    health_since: datetime
    as_of: datetime | None
    kubernetes_version: str
    argo_version: str
