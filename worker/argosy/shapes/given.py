"""Input from callers, as pydantic models: registrations, and the launch that the Dramatiq message carries.

Unknown fields are refused (`extra="forbid"`), so that a misspelt field is not ignored. Values are limited to what PostgreSQL and JSON can
store, so that every mistake is reported before a transaction begins.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict
from unicodedata import category
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from argosy.batches import JobUids, distinct
from argosy.inputs import refused
from argosy.labels import OWN_ACCOUNT, SECRET_PREFIX
from argosy.shapes.mails import EmailSpec

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

_BIGINT = 1 << 63
_DEEPEST = 32


def _storable(value: object, depth: int = 0) -> object:
    """The value itself, if PostgreSQL and JSON can store it."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("contains a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("contains half a character (a lone surrogate)") from error
    elif isinstance(value, bytes):
        if b"\x00" in value:  # pydantic takes bytes for text
            raise ValueError("contains a NUL character")
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
    elif isinstance(value, int):
        if not -_BIGINT <= value < _BIGINT:
            raise ValueError("a whole number has 64 bits at most; write it as text")
    elif isinstance(value, dict | list | tuple):
        if depth == _DEEPEST:
            raise ValueError(f"is nested more than {_DEEPEST} deep")
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _storable(part, depth + 1)
    return value


def _uuid(value: object) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        raise ValueError("must be an id: a UUID, or its text") from None


def _reference(value: object) -> UUID:
    """A job that is named by its launch and its index there: GID/17."""
    gid, slash, index = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash:
        return _uuid(value)
    if not (index.isascii() and index.isdigit() and len(index) < 10):
        raise ValueError("after the slash comes the index of a job in its launch, as in GID/17")
    return JobUids(_uuid(gid), int(index) + 1)[int(index)]


def uuid_of(value: UUID | str) -> UUID:
    """An id that a method has taken as `AnyId` or `Ref`: `checked` has made it a UUID already."""
    return value if isinstance(value, UUID) else UUID(value)


def _token(value: str) -> str:
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("holds a line end, a blank or another character that an HTTP header cannot hold")
    return value


def _given(value: str) -> str:
    if not value:
        raise ValueError("is empty; leave it out if there is none")
    return value


def _webhook(value: str) -> str:
    try:
        url = urlsplit(value)
        good = url.scheme in {"https", "http"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not (good and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("must be a URL like https://example.org/path")
    if url.username is not None or url.password is not None or url.fragment:
        raise ValueError("holds a user, a password or a fragment, which nobody would get")
    return value


def _line(value: str) -> str:
    if any(category(each) in ("Cc", "Zl", "Zp") for each in value):
        raise ValueError("a name holds no line end, tabulator or other control character")
    return value


Id = Annotated[int, Field(ge=0, lt=_BIGINT)]
MediaId = Id
Row = Annotated[int, Field(ge=0, lt=1 << 31)]
"""Id of a row that argosy has numbered."""
Number = Annotated[int, Field(ge=0, lt=1 << 31)]
"""How many."""
AnyId = Annotated[UUID | str, PlainValidator(_uuid)]
"""An id, as a UUID or its text."""
Ref = Annotated[UUID | str, PlainValidator(_reference)]
"""Id of a job or launch, as a UUID or its text; of a job also GID/17, the launch's id and the index."""
Text = Annotated[str, BeforeValidator(_storable)]
Json = Annotated[dict[str, JsonValue], BeforeValidator(_storable)]
Token = Annotated[Text, AfterValidator(_token)]
LaunchToken = Annotated[Token, AfterValidator(_given)]
Key = Text | Row
"""Name or id."""
Webhook = Annotated[Text, Field(max_length=2000), AfterValidator(_webhook)]

Name = Annotated[Text, Field(min_length=1, max_length=200), AfterValidator(_line)]
Labels = dict[Name, Annotated[Text, Field(max_length=200)]]
Deadline = Annotated[float, Field(gt=0, le=366 * 86400)] | None
Limit = Annotated[int, Field(ge=0, le=100_000)]


PARAMETERS_MOST = 1000
"""The most parameters of a launch: each of its workflows contains all of them, and Argo's controller processes each."""

PARAMETERS_LIMIT = 256 * 1024
"""The most bytes of all parameters of a launch together, names and values. A cluster accepts no object over 1.5 MB, and its answer looks
like a failure of the cluster: without this limit, workflows with a parameter of 1,600,000 characters were created again and again, for
ever."""


class _Checked(ModelMetaclass):
    """Whoever makes an input by hand gets an error of ours, as whoever hands in its fields."""

    def __call__(self, *args: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            raise refused(error, fields=getattr(self, "model_fields", ())) from None


class In(BaseModel, metaclass=_Checked):
    """Base class of all input. Raises InvalidRequest where a field cannot be used."""

    model_config = ConfigDict(extra="forbid")


class Parameter(In):
    """A parameter of an algorithm or a launch. A number or boolean becomes text in JSON's form."""

    name: Name
    value: Annotated[str | int | float | bool | None, BeforeValidator(_storable)] = None


class Origin(BaseModel):
    """What a launch message that cannot be used says of where it comes from; of project 0 and user 0 where it does not say it."""

    gid: UUID
    project: Id = 0
    user: Id = 0
    algorithm_name: Text = ""

    @field_validator("project", "user", "algorithm_name", mode="wrap")
    @classmethod
    def _if_readable(cls, value: object, read: ValidatorFunctionWrapHandler, field: ValidationInfo) -> object:
        try:
            return read(value)
        except ValidationError:
            return cls.model_fields[str(field.field_name)].default


def _bounded(parameters: list[Parameter]) -> list[Parameter]:
    if len(parameters) > PARAMETERS_MOST:
        raise ValueError(f"are {len(parameters)}, and a launch may have {PARAMETERS_MOST}")
    size = sum(len(f"{parameter.name}{parameter.value}".encode()) for parameter in parameters)
    if size > PARAMETERS_LIMIT:
        raise ValueError(f"have {size} bytes, and all parameters of a launch together may have {PARAMETERS_LIMIT}")
    return parameters


ExtraParams = Annotated[list[Parameter], Field(fail_fast=True), AfterValidator(_bounded)]


class Parameters(In):
    """Parameters of a launch or a retry."""

    extra_params: ExtraParams = []


class LaunchRequest(In):
    """A launch, as it is in a Dramatiq message on queue `launch` (version 1).

    It has `media_ids` or `media_query`, or neither for all media of the project; a medium that is named twice counts once. `token_sealed`
    is the user's API token in a libsodium sealed box for the workers' public key, base64. `priority` orders a user's own jobs, higher
    first; it does not affect other tenants. With `skip_done`, media on which the algorithm has Succeeded already are left out.

    It waits until all jobs of launch `after` of the same project have ended, which must be there before. With `after_if` `ok`, it is
    rejected unless all these Succeeded. With `cancel_with`, a cancel of the other launch cancels it too, as long as it waits.

    `webhook` is told when all its jobs have ended, and again after a retry if that ends otherwise; so is who gets `success_email_spec`, or
    `failure_email_spec` for every other end.
    """

    version: Literal[1] = 1
    gid: UUID
    project: Id
    user: Id
    algorithm_name: Name
    media_ids: Annotated[list[MediaId], Field(fail_fast=True)] | None = None
    media_query: Annotated[Text, Field(max_length=16_384)] | None = None
    extra_params: ExtraParams = []
    success_email_spec: EmailSpec | None = None
    failure_email_spec: EmailSpec | None = None
    token_sealed: str | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    skip_done: bool = False
    after: UUID | None = None
    after_if: Literal["ok", "any"] = "ok"
    cancel_with: bool = False
    webhook: Webhook | None = None

    @field_validator("gid")
    @classmethod
    def _time_based(cls, gid: UUID) -> UUID:
        if gid.version != 1:
            raise ValueError("must be a version-1 UUID")
        return gid

    @field_validator("media_ids")
    @classmethod
    def _distinct(cls, media_ids: list[int] | None) -> list[int] | None:
        return media_ids and distinct(media_ids)

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

    @model_validator(mode="after")
    def _after_another(self) -> Self:
        if self.after == self.gid:
            raise ValueError("after: a launch cannot run after itself")
        if self.after is None and (self.cancel_with or self.after_if != "ok"):
            raise ValueError("after_if and cancel_with say something only together with after")
        return self


class AlgorithmSpec(In):
    """The fields of an algorithm. `cluster` is a JobCluster's id, null for the default one.

    Instead of one cluster, `clusters` lists several, or `cluster_labels` says which labels they must have: then the healthy one with the
    largest part of its slots free takes the next job.

    A job that ends `Error` or `Lost` is retried automatically until it has had `max_attempts` attempts, first after `retry_backoff`
    seconds, then after twice as long each time. A job is ended if its first pod has not run after `pending_deadline` seconds, or if it runs
    longer than `run_deadline` seconds from then on.
    """

    name: Name
    project: Id
    user: Id
    manifest: Text
    files_per_job: Annotated[int, Field(ge=1, le=1_000_000)]
    description: Text = ""
    cluster: Row | None = None
    categories: list[Text] = []
    parameters: list[Parameter] = []
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    retry_backoff: Annotated[float, Field(ge=0, le=3600)] = 10.0
    clusters: list[Row] = []
    cluster_labels: Labels = {}
    pending_deadline: Deadline = None
    run_deadline: Deadline = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if sum((self.cluster is not None, bool(self.clusters), bool(self.cluster_labels))) > 1:
            raise ValueError("give one of cluster, clusters and cluster_labels")
        return self


class AlgorithmFields(TypedDict, total=False):
    """The fields of `AlgorithmSpec`, as keywords."""

    name: Name
    project: Id
    user: Id
    manifest: Text
    files_per_job: int
    description: Text
    cluster: Row | None
    categories: list[Text]
    parameters: list[Parameter]
    max_attempts: int
    retry_backoff: float
    clusters: list[Row]
    cluster_labels: Labels
    pending_deadline: Deadline
    run_deadline: Deadline


PROFILES = ("restricted", "baseline", "trusted")
"""The strictest profile comes first."""

Names = Annotated[list[Name], Field(max_length=1000)]


class Policy(In):
    """What a cluster's owner allows manifests to do there (T2).

    `profile` says how far those who write manifests are trusted. The lists name what others own and manifests may use: Secrets,
    ServiceAccounts, PersistentVolumeClaims, priority classes, node labels by key, taints by key, WorkflowTemplates, domains of pods' labels
    and annotations. `storage_classes` says which class to take for which that manifests name; where it is empty, they may name any.
    `registries` are whole parts of images' names up to a slash (`nvcr.io`, `docker.io/library`); where it is empty, images may come from
    anywhere. Secrets and the ServiceAccount of argosy itself are on no list.
    """

    profile: Literal["restricted", "baseline", "trusted"] = "restricted"
    secrets: Names = []
    service_accounts: Names = []
    volume_claims: Names = []
    priority_classes: Names = []
    storage_classes: Annotated[dict[Name, Name], Field(max_length=1000)] = {}
    node_labels: Names = []
    tolerations: Names = []
    templates: Names = []
    metadata_domains: Names = []
    registries: Names = []

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        for name in self.secrets:
            if name.startswith(SECRET_PREFIX):
                raise ValueError(f"secrets: {name!r}: no manifest may use a Secret of argosy")
        if OWN_ACCOUNT in self.service_accounts:
            raise ValueError(f"service_accounts: {OWN_ACCOUNT!r}: no manifest may run as argosy")
        for field in type(self).model_fields:
            if isinstance(names := getattr(self, field), list) and any("*" in name for name in names):
                raise ValueError(
                    f"{field}: names stand for themselves, and * for nothing; list each, or choose profile trusted"
                )
        return self
