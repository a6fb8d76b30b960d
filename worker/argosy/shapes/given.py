"""Input from callers, as pydantic models: registrations, and the launch that the Dramatiq message carries.

Unknown fields are refused (`extra="forbid"`), so that a misspelt field is not ignored. Values are limited to what PostgreSQL and JSON can
store, so that every mistake is reported before a transaction begins.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from ipaddress import ip_address
from math import isfinite
from typing import Annotated, Literal, Self, TypedDict
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from argosy.batches import distinct
from argosy.labels import OWN_ACCOUNT, SECRET_PREFIX

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


def _token(value: str) -> str:
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("holds a line end, a blank or another character that an HTTP header cannot hold")
    return value


def _host(value: str) -> str:
    if "/" in value or "[" in value:
        raise ValueError("write the name or address alone, without https://, a path or brackets")
    if value.count(":") == 1:
        raise ValueError(
            f"write the name or address alone; the port is a field of its own: port={value.partition(':')[2]}"
        )
    try:
        good = bool(ip_address(value)) if ":" in value else _HOST.fullmatch(value) is not None
    except ValueError:
        good = False
    if not good:
        raise ValueError("is neither a host name nor an IP address")
    return value


def _address(value: str) -> str:
    if (found := _URL.fullmatch(value)) is None:
        raise ValueError(
            "write https://HOST, https://HOST:PORT or either with a path, without a user, a query or a '#'"
        )
    _host(found["name"] or found["address"])
    if int(found["port"] or 1) not in range(1, 65536):
        raise ValueError(f"there is no port {found['port']}")
    return value.rstrip("/")


def _certificates(value: str) -> str:
    if "PRIVATE KEY-----" in value:
        raise ValueError("holds a private key, which was not kept; give the certificate of the CA alone")
    # Remove everything outside of ASCII: it is a comment or a byte order mark, and TLS libraries refuse it.
    return value if value.isascii() else "\n".join(_CERTIFICATE.findall(value)) or "-"


def _dns_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("a name there has lower-case letters, digits and '-' (inside) only, at most 63")
    return value


def _dns_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name there has lower-case letters, digits, '-' and '.' (inside) only, at most 253")
    return value


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_URL = re.compile(
    r"https://(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")

Id = Annotated[int, Field(ge=0, lt=_BIGINT)]
MediaId = Id
Row = Annotated[int, Field(ge=0, lt=1 << 31)]
"""Id of a row that argosy has numbered."""
Number = Annotated[int, Field(ge=0, lt=1 << 31)]
"""How many."""
Text = Annotated[str, BeforeValidator(_storable)]
Json = Annotated[dict[str, JsonValue], BeforeValidator(_storable)]
Token = Annotated[Text, AfterValidator(_token)]
Key = Text | Row
"""Name or id."""
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Labels = dict[Name, Annotated[Text, Field(max_length=200)]]
Deadline = Annotated[float, Field(gt=0, le=366 * 86400)] | None
Limit = Annotated[int, Field(ge=0, le=100_000)]


PARAMETERS_MOST = 1000
"""The most parameters of a launch: each of its workflows contains all of them, and Argo's controller processes each."""

PARAMETERS_LIMIT = 256 * 1024
"""The most bytes of all parameters of a launch together, names and values. A cluster accepts no object over 1.5 MB, and its answer looks
like a failure of the cluster: without this limit, workflows with a parameter of 1,600,000 characters were created again and again, for
ever."""


class In(BaseModel):
    """Base class of all input."""

    model_config = ConfigDict(extra="forbid")


class Parameter(In):
    """A parameter of an algorithm or a launch. A number or boolean becomes text in JSON's form."""

    name: Name
    value: Annotated[str | int | float | bool | None, BeforeValidator(_storable)] = None


class Sender(BaseModel):
    """What a launch message that cannot be used says of where it comes from."""

    gid: UUID
    project: Id
    user: Id
    algorithm_name: Text = ""


class LaunchRequest(In):
    """A launch, as it is in a Dramatiq message on queue `launch` (version 1).

    It has `media_ids` or `media_query`, or neither for all media of the project; a medium that is named twice counts once. `token_sealed`
    is the user's API token in a libsodium sealed box for the workers' public key, base64. `priority` orders a user's own jobs, higher
    first; it does not affect other tenants.
    """

    version: Literal[1] = 1
    gid: UUID
    project: Id
    user: Id
    algorithm_name: Name
    media_ids: Annotated[list[MediaId], Field(fail_fast=True)] | None = None
    media_query: Annotated[Text, Field(max_length=16_384)] | None = None
    extra_params: Annotated[list[Parameter], Field(fail_fast=True)] = []
    success_email_spec: Json | None = None
    failure_email_spec: Json | None = None
    token_sealed: str | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

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

    @field_validator("extra_params")
    @classmethod
    def _bounded(cls, parameters: list[Parameter]) -> list[Parameter]:
        if len(parameters) > PARAMETERS_MOST:
            raise ValueError(f"are {len(parameters)}, and a launch may have {PARAMETERS_MOST}")
        size = sum(len(f"{parameter.name}{parameter.value}".encode()) for parameter in parameters)
        if size > PARAMETERS_LIMIT:
            raise ValueError(f"have {size} bytes, and all parameters of a launch together may have {PARAMETERS_LIMIT}")
        return parameters

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.media_ids is not None and self.media_query is not None:
            raise ValueError("give media_ids or media_query, not both")
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


class ClusterSpec(In):
    """The fields of a JobCluster. `host` null means the cluster that argosy runs in; `token` is never shown again.

    `argo_server` is the address of an Argo Server that argosy may ask with the same token, `argo_server_ca` its CA, empty for the system's.
    `max_active` limits its unfinished workflows, `project_max_active` those of each project; the deadlines are upper limits of the
    algorithms' deadlines. With `pace` it gets only as many workflows as its Argo keeps up with, at most `max_active`.
    """

    name: Name
    host: Annotated[Text, AfterValidator(_host)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    cert: Annotated[Text, AfterValidator(_certificates)] = ""
    token: Token = Field(default="", repr=False)
    organization: Id | None = None
    namespace: Annotated[Text, AfterValidator(_dns_label)] = "argosy"
    service_account: Annotated[Text, AfterValidator(_dns_name)] | None = None
    default: bool = False
    finalizer: bool = True
    token_in_clear: bool = False
    argo_server: Annotated[Text, Field(max_length=1000), AfterValidator(lambda url: url and _address(url))] = ""
    argo_server_ca: Annotated[Text, AfterValidator(_certificates)] = ""
    policy: Policy = Policy()
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
        if self.argo_server_ca and not self.argo_server:
            raise ValueError("argo_server: required field is missing (a CA for it is given)")
        return self


class ClusterFields(TypedDict, total=False):
    """The fields of `ClusterSpec`, as keywords."""

    name: Name
    host: Text | None
    port: int
    cert: Text
    token: Token
    organization: Id | None
    namespace: Text
    service_account: Text | None
    default: bool
    finalizer: bool
    token_in_clear: bool
    argo_server: Text
    argo_server_ca: Text
    policy: Policy
    max_active: Limit
    project_max_active: Limit | None
    pending_deadline: Deadline
    run_deadline: Deadline
    pace: bool
    labels: Labels


class ProjectSpec(In):
    """A project's settings: its part of the slots relative to other projects, and the most queued jobs that it may have.

    A job costs 1/weight of virtual time, which is a float: with a weight near 0 one job would cost so much that adding the cost of other
    projects' jobs would not change the number any more.
    """

    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    max_queued: Number | None = None


class ProjectFields(TypedDict, total=False):
    """The fields of `ProjectSpec`, as keywords."""

    weight: float
    max_queued: Number | None
