"""The shapes on the wire, with the names of the REST reference: components of its document, and classes of the platform's clients.

Answers that are long are written from rows as plain dictionaries: a model for each of a hundred jobs with its nodes takes four times as
long. Their models here are for the document, and the tests hold them against what is sent.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from argosy.labels import workflow_name
from argosy.shapes.given import Id, In, Name, Text
from argosy.shapes.mails import EmailSpec
from argosy.shapes.shown import AlgorithmShape, ClusterShape
from argosy.states import State, platform_status, rest_status
from argosy.store.live import EarlyJob
from argosy.store.manifests import digest_of

HIDDEN = "********"
"""Stands for a credential in answers; where it comes back, it means unchanged."""


class AlgorithmParameter(In):
    """A parameter of an algorithm or a launch."""

    name: Name
    value: JsonValue = None


class JobNode(BaseModel):
    """A step of a job's workflow. All children are in the job's `nodes`."""

    id: str
    task: str
    status: str
    start_time: datetime | None
    stop_time: datetime | None
    children: list[str]


class Job(BaseModel):
    """A job: one batch of media. `status` has the platform's words, `state` the true one; it is known to be so until `as_of`."""

    uid: str
    gid: str
    id: str
    project: int
    user: int
    alg_id: int | None
    status: str
    state: str
    message: str
    start_time: datetime | None
    stop_time: datetime | None
    media_ids: list[int]
    attempt: int
    cluster: str | None
    as_of: datetime
    nodes: list[JobNode]


class JobSpec(In):
    """Launches an algorithm: on `media_ids`, or on those of `media_query` (with media_ids null or empty), or on all of the project. The
    same request with the same `gid` is one launch. `priority` orders your own jobs, higher first. With `skip_done`, media on which the
    algorithm has succeeded already are left out. It begins when launch `after` has ended: with `after_if` `ok`, it is rejected unless that
    one succeeded as a whole; with `cancel_with`, it is cancelled with that one. `webhook` gets a signed POST when all jobs have
    ended."""

    algorithm_name: Name
    media_ids: Annotated[list[Id], Field(fail_fast=True)] | None = None
    media_query: Text | None = None
    extra_params: Annotated[list[AlgorithmParameter], Field(fail_fast=True)] | None = None
    success_email_spec: EmailSpec | None = None
    failure_email_spec: EmailSpec | None = None
    gid: Text | None = None
    priority: int = Field(default=0, ge=-100, le=100)
    skip_done: bool = False
    after: Text | None = None
    after_if: Literal["ok", "any"] = "ok"
    cancel_with: bool = False
    webhook: Text | None = None


class Algorithm(BaseModel):
    """A registered algorithm. `manifest` is where its text is."""

    id: int
    project: int
    user: int
    name: str
    description: str
    manifest: str
    cluster: int | None
    files_per_job: int
    categories: list[str]
    parameters: list[AlgorithmParameter]


class _AlgorithmFields(In):
    """What is read-only in an algorithm may be sent, as it is: clients send back what they have read. Hosted templates are not supported:
    their fields may be empty only."""

    id: int | None = None
    project: int | None = None
    user: Id | None = None
    description: Text | None = None
    cluster: Id | None = None
    categories: Annotated[list[Text], Field(fail_fast=True)] | None = None
    parameters: Annotated[list[AlgorithmParameter], Field(fail_fast=True)] | None = None
    extended_info: dict[str, JsonValue] | None = None
    headers: list[JsonValue] | None = None
    template: int | None = None
    tparams: list[JsonValue] | None = None
    rendered: Text | None = None


class AlgorithmSpec(_AlgorithmFields):
    """Registers an algorithm. `manifest` is the URL that SaveAlgorithmManifest answered."""

    name: Name
    manifest: Text
    files_per_job: int


class AlgorithmUpdateSpec(_AlgorithmFields):
    """Changes what is given and leaves the rest."""

    name: Name | None = None
    manifest: Text | None = None
    files_per_job: int | None = None


class AlgorithmManifestSpec(In):
    """A manifest that was uploaded to the platform."""

    name: Text
    upload_url: Text


class AlgorithmManifest(BaseModel):
    """Where a manifest is kept."""

    url: str


class JobCluster(BaseModel):
    """A registered cluster. Its token is never shown."""

    id: int
    name: str
    organization: int | None
    host: str | None
    port: int
    cert: str
    token: str


class JobClusterSpec(In):
    """Registers a cluster, or changes what is given of one. A token that is hidden in an answer and comes back means unchanged."""

    id: int | None = None
    organization: int | None = None
    name: Name | None = None
    host: Text | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    cert: Text | None = None
    token: Text | None = None


class MessageResponse(BaseModel):
    """What was done."""

    message: str


class CreateResponse(BaseModel):
    """What was made."""

    id: int
    message: str
    object: dict[str, JsonValue]


class CreateListResponse(BaseModel):
    """What was launched: the uids of the jobs; none where they are not known yet."""

    id: list[str]
    message: str
    object: list[dict[str, JsonValue]]


class BadRequestResponse(BaseModel):
    """Why a request was refused."""

    message: str
    details: list[str] | None = None


class User(BaseModel):
    """Who calls, as the platform says it."""

    model_config = ConfigDict(extra="allow")

    id: int


def manifest_url(project: int, digest: str) -> str:
    """Where a kept manifest is, on this server."""
    return f"/v1/Manifest/{project}/{digest}"


def job(row: Any, nodes: list[Any], true_status: bool) -> dict[str, Any]:
    """A job's row, with the rows of its nodes."""
    state = State(row.state)
    told = rest_status(state, row.cancel_requested)
    return {
        "uid": str(row.uid),
        "gid": str(row.gid),
        "id": row.name or workflow_name(row.uid, row.number),
        "project": row.project,
        "user": row.user_id,
        "alg_id": row.algorithm_id,
        "status": told if true_status else platform_status(state),
        "state": told,
        "message": row.message,
        "start_time": row.started_at,
        "stop_time": row.finished_at,
        "media_ids": row.media_ids,
        "attempt": row.number,
        "cluster": row.cluster,
        "as_of": row.as_of,
        "nodes": _nodes(nodes),
    }


def _nodes(rows: list[Any]) -> list[dict[str, Any]]:
    """The platform's page fails on a child that is not among the nodes, so such an edge is left out."""
    known = {row.node_id for row in rows}
    return [
        {
            "id": row.node_id,
            "task": row.task,
            "status": row.phase,
            "start_time": row.started_at,
            "stop_time": row.finished_at,
            "children": [child for child in row.children if child in known],
        }
        for row in rows
    ]


def early_job(found: EarlyJob, true_status: bool) -> dict[str, Any]:
    """A job that has no row."""
    return {
        "uid": str(found.uid),
        "gid": str(found.gid),
        "id": workflow_name(found.uid, 1),
        "project": found.project,
        "user": found.user,
        "alg_id": None,
        "status": found.status if true_status else "Running" if found.status == "Queued" else "Failed",
        "state": found.status,
        "message": found.reason,
        "start_time": None,
        "stop_time": None,
        "media_ids": [],
        "attempt": 0,
        "cluster": None,
        "as_of": found.created_at,
        "nodes": [],
    }


def algorithm(found: AlgorithmShape) -> dict[str, Any]:
    """A registered algorithm."""
    return {
        "id": found.id,
        "project": found.project,
        "user": found.user,
        "name": found.name,
        "description": found.description,
        "manifest": manifest_url(found.project, digest_of(found.manifest)),
        "cluster": found.cluster,
        "files_per_job": found.files_per_job,
        "categories": found.categories,
        "parameters": [
            {"name": each.name, "value": "" if each.value is None else each.value} for each in found.parameters
        ],
    }


def cluster(found: ClusterShape) -> dict[str, Any]:
    """A registered cluster."""
    shown = {name: getattr(found, name) for name in ("id", "name", "organization", "host", "port", "cert")}
    return shown | {"token": HIDDEN}
