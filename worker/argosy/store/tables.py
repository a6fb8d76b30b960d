"""The tables, all in the schema `argosy`, because the database is shared with the API server.

A job is what was asked for and never changes but for its flags; an *attempt* is one try of it and carries the state machine, so that a
retry is a new row and the old one stays as it ended. The state is a column of the attempt alone: two copies could disagree.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from argosy.states import ACTIVE, State

SCHEMA = "argosy"

GID_NODE = "substring(uuid_send(gid) from 12 for 5)"
"""SQL: the end of a launch's gid."""

UIDS_NODE = "substring(sha256(uuid_send(gid)) from 4 for 5)"
"""SQL: the end of the uids of its jobs, whatever their number (batches.py)."""

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


READY = "state = 'queued' AND not_before IS NULL"
"""An attempt that may be claimed now; one that is to wait is left out until a claim finds its time come."""

DELAYED = "state = 'queued' AND not_before IS NOT NULL"
"""An attempt that waits for its time."""

RETRY_DUE = "retries_left > 0 AND state IN ('error', 'lost')"
"""An attempt that is to be followed by another one without anybody asking."""


def _in(states: frozenset[State]) -> str:
    return "state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


def _now() -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()))


def _time() -> Any:
    return Field(default=None, sa_column=Column(DateTime(timezone=True)))


def _text(default: str = "") -> Any:
    return Field(default=default, sa_column=Column(Text, nullable=False, server_default=default))


def _id() -> Any:
    """A key that the database gives on insert."""
    return Field(default=None, primary_key=True)


def _int(default: int) -> Any:
    return Field(default=default, sa_column=Column(Integer, nullable=False, server_default=str(default)))


def _seconds(default: float) -> Any:
    return Field(default=default, sa_column=Column(Float, nullable=False, server_default=str(default)))


def _maybe_seconds() -> Any:
    return Field(default=None, sa_column=Column(Float))


def _labels() -> Any:
    return Field(default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default="{}"))


def _flag(default: bool) -> Any:
    return Field(default=default, sa_column=Column(Boolean, nullable=False, server_default=str(default).lower()))


class Base(SQLModel):
    """Base of the tables; their metadata is their own, so that the API server's models stay out of our migrations."""

    metadata = metadata


class Installation(Base, table=True):
    """The one row that names this installation: the label on all its objects, so that two can share a cluster. `timeline` is that of the
    database server which was seen last, `doubted_at` when another one was: what runs on the clusters is looked at anew since then."""

    __tablename__ = "installation"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    timeline: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    doubted_at: datetime | None = _time()


class Cluster(Base, table=True):
    """A registered JobCluster. Removed ones stay as rows without credentials, because finished attempts name them. `identity` and `epoch`
    are those of the mark that the cluster itself bears (kube/marks.py); while it is held, nothing is created or ended there."""

    __tablename__ = "cluster"
    __table_args__ = (
        Index("uq_cluster_name", "name", unique=True, postgresql_where=text("removed_at IS NULL")),
        Index(
            "uq_cluster_identity",
            "identity",
            unique=True,
            postgresql_where=text("identity <> '' AND removed_at IS NULL"),
        ),
        Index(
            "uq_cluster_default", "is_default", unique=True, postgresql_where=text("is_default AND removed_at IS NULL")
        ),
    )

    id: int = _id()
    name: str = Field(sa_column=Column(Text, nullable=False))
    organization: int | None = Field(default=None, sa_column=Column(BigInteger))
    host: str | None = Field(default=None, sa_column=Column(Text))
    port: int = _int(443)
    cert: str = _text()
    token_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    credential_version: int = _int(1)
    namespace: str = _text("argosy")
    service_account: str | None = Field(default=None, sa_column=Column(Text))
    is_default: bool = _flag(False)
    finalizer: bool = _flag(True)
    token_in_clear: bool = _flag(False)
    labels: dict[str, str] = _labels()
    max_active: int = _int(500)
    project_max_active: int | None = Field(default=None)
    pending_deadline: float | None = _maybe_seconds()
    run_deadline: float | None = _maybe_seconds()
    pace: bool = _flag(True)
    pace_window: int | None = Field(default=None)
    slowed_at: datetime | None = _time()
    open_until: datetime | None = _time()
    open_reason: str = _text()
    open_tries: int = _int(0)
    virtual_time: float = _seconds(0)
    paused_at: datetime | None = _time()
    paused_reason: str = _text()
    identity: str = _text()
    epoch: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    beat_at: datetime | None = _time()
    held_at: datetime | None = _time()
    held_reason: str = _text()
    health: str = _text("unknown")
    health_message: str = _text()
    health_since: datetime = _now()
    as_of: datetime | None = _time()
    kubernetes_version: str = _text()
    argo_version: str = _text()
    created_at: datetime = _now()
    removed_at: datetime | None = _time()


class Stray(Base, table=True):
    """A workflow of ours on a cluster that no row knows, for the row that may come later (store/strays.py)."""

    __tablename__ = "stray"

    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    k8s_uid: str = Field(sa_column=Column(Text, primary_key=True))
    uid: UUID = Field(sa_column=Column(Uuid, nullable=False, index=True))
    number: int
    gid: UUID | None = Field(default=None, sa_column=Column(Uuid, index=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    noted_at: datetime = _now()


class Algorithm(Base, table=True):
    """A registered algorithm. Launches copy what they need, so it can change or go at any time."""

    __tablename__ = "algorithm"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("files_per_job >= 1", name="files_per_job"),
        CheckConstraint("max_attempts >= 1", name="max_attempts"),
    )

    id: int = _id()
    project: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    description: str = _text()
    cluster_id: int | None = Field(default=None, foreign_key="argosy.cluster.id")
    cluster_ids: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default="{}"))
    cluster_labels: dict[str, str] = _labels()
    files_per_job: int
    manifest: str = _text()
    categories: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    parameters: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    max_attempts: int = _int(1)
    retry_backoff: float = _seconds(10)
    pending_deadline: float | None = _maybe_seconds()
    run_deadline: float | None = _maybe_seconds()
    paused_at: datetime | None = _time()
    paused_reason: str = _text()
    created_at: datetime = _now()


class Project(Base, table=True):
    """How a tenant is treated; one without a row has weight 1, no cap and is not paused."""

    __tablename__ = "project"
    __table_args__ = (
        CheckConstraint("weight >= 0.001", name="weight"),
        CheckConstraint("max_queued >= 0", name="max_queued"),
    )

    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    weight: float = _seconds(1)
    max_queued: int | None = Field(default=None)
    paused_at: datetime | None = _time()
    paused_reason: str = _text()


class ProjectLimit(Base, table=True):
    """The most unfinished workflows of a project on a cluster, where that is not the cluster's own `project_max_active`."""

    __tablename__ = "project_limit"
    __table_args__ = (CheckConstraint("max_active >= 0", name="max_active"),)

    project: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    max_active: int


class Placement(Base, table=True):
    """Which clusters may take a job: those that are listed, or those that carry the labels. One row for each distinct choice."""

    __tablename__ = "placement"
    __table_args__ = (UniqueConstraint("cluster_ids", "labels"),)

    id: int = _id()
    cluster_ids: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default="{}"))
    labels: dict[str, str] = _labels()


class Turn(Base, table=True):
    """Whose turn it is on a cluster: the virtual time at which a user's last claimed job was paid for (see fair.py)."""

    __tablename__ = "turn"

    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    project: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, primary_key=True, autoincrement=False))
    tag: float = Field(sa_column=Column(Float, nullable=False))


class Launch(Base, table=True):
    """One request. `accepted` as it came, `resolved` when everything a job needs is frozen here, then `expanded`, `rejected` or, where
    it was cancelled before that, `cancelled`.

    Who works on it holds its claim: until `next_try_at` nobody else may, and each new claim has a higher epoch. `woken_at` is when it was
    last waited for, so that those which get no further do not hide the others. `expanded_jobs` of its `jobs` have rows; a launch that is
    cancelled or rejected half-way keeps those.
    """

    __tablename__ = "launch"
    __table_args__ = (
        CheckConstraint("state IN ('accepted', 'resolved', 'expanded', 'rejected', 'cancelled')", name="state"),
        Index("ix_launch_unexpanded", "woken_at", postgresql_where=text("state IN ('accepted', 'resolved')")),
        Index("ix_launch_project_created_at", "project", "created_at"),
        Index("ix_launch_created_at", "created_at"),
        Index("ix_launch_gid_node", text(f"({GID_NODE})")),
        Index("ix_launch_uids_node", text(f"({UIDS_NODE})")),
        Index(
            "ix_launch_expanded_at", text("expanded_at DESC"), "gid", postgresql_where=text("expanded_at IS NOT NULL")
        ),
        Index(
            "ix_launch_project_expanded_at",
            "project",
            text("expanded_at DESC"),
            "gid",
            postgresql_where=text("expanded_at IS NOT NULL"),
        ),
    )

    gid: UUID = Field(primary_key=True)
    project: int = Field(sa_column=Column(BigInteger, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    algorithm_name: str = Field(sa_column=Column(Text, nullable=False))
    request_digest: str = Field(sa_column=Column(Text, nullable=False))
    media_query: str | None = Field(default=None, sa_column=Column(Text))
    media_ids: list[int] | None = Field(default=None, sa_column=Column(ARRAY(BigInteger)))
    extra_params: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    success_email: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    failure_email: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    token_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    token_wiped: bool = _flag(False)
    hidden: bool = _flag(False)
    state: str = _text("accepted")
    reason: str = _text()
    tries: int = _int(0)
    next_try_at: datetime = _now()
    woken_at: datetime = _now()
    claim_worker: str | None = Field(default=None, sa_column=Column(Text))
    claim_epoch: int = _int(0)
    algorithm_id: int | None = Field(default=None)
    placement_id: int | None = Field(default=None, foreign_key="argosy.placement.id")
    priority: int = _int(0)
    manifest: str | None = Field(default=None, sa_column=Column(Text))
    parameters: list[list[str]] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    files_per_job: int | None = Field(default=None)
    max_attempts: int = _int(1)
    retry_backoff: float = _seconds(10)
    pending_deadline: float | None = _maybe_seconds()
    run_deadline: float | None = _maybe_seconds()
    jobs: int = _int(0)
    expanded_jobs: int = _int(0)
    created_at: datetime = _now()
    expanded_at: datetime | None = _time()


class Job(Base, table=True):
    """One batch of a launch. `created_at` is the transaction's time: jobs that were cut together share it; the ordinal orders them."""

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("gid", "ordinal"),)

    uid: UUID = Field(primary_key=True)
    gid: UUID = Field(sa_column=Column(ForeignKey("argosy.launch.gid"), nullable=False))
    ordinal: int
    project: int = Field(sa_column=Column(BigInteger, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    media_ids: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False))
    attempt: int = _int(1)
    cancel_requested: bool = _flag(False)
    hidden: bool = _flag(False)
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))


class EarlyCancel(Base, table=True):
    """A cancel of one job of a launch that has no job rows yet; the expansion obeys and removes it."""

    __tablename__ = "early_cancel"

    gid: UUID = Field(sa_column=Column(ForeignKey("argosy.launch.gid", ondelete="CASCADE"), primary_key=True))
    ordinal: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    hidden: bool = _flag(False)


class Attempt(Base, table=True):
    """One try of a job: at most one workflow, for ever. Its row outlives the workflow and is the proof that it existed.

    `cluster_id` is fixed by the claim; while a job is queued it says only where it must run if its placement leaves no choice. `stop_at`
    is when its workflow is to be ended: the pending deadline, from `began_at` on (its first pod ran) the run deadline; `overdue` says why
    it was. `unread` where its workflow is to be read once more, because its row may have missed what happened to it.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint(_in(frozenset(State)), name="state"),
        Index(
            "ix_attempt_queue",
            "placement_id",
            "project",
            "user_id",
            "algorithm_id",
            text("priority DESC"),
            "seq",
            postgresql_where=text(READY),
        ),
        Index("ix_attempt_delayed", "placement_id", "not_before", postgresql_where=text(DELAYED)),
        Index("ix_attempt_active", "cluster_id", "project", "user_id", "state", postgresql_where=text(_in(ACTIVE))),
        Index(
            "ix_attempt_stop_at",
            "cluster_id",
            "stop_at",
            postgresql_where=text(f"stop_at IS NOT NULL AND {_in(ACTIVE)}"),
        ),
        Index("ix_attempt_unread", "cluster_id", postgresql_where=text("unread")),
        # Whether anything of a launch is unfinished, or ended lately, is one look each.
        Index("ix_attempt_gid", "gid", "finished_at"),
        Index("ix_attempt_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_attempt_retry_due", "finished_at", postgresql_where=text(RETRY_DUE)),
    )

    uid: UUID = Field(sa_column=Column(ForeignKey("argosy.job.uid", ondelete="CASCADE"), primary_key=True))
    number: int = Field(primary_key=True)
    seq: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), nullable=False))
    gid: UUID
    project: int = Field(sa_column=Column(BigInteger, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    algorithm_id: int = Field(sa_column=Column(Integer, nullable=False))
    priority: int = _int(0)
    placement_id: int = Field(foreign_key="argosy.placement.id")
    cluster_id: int | None = Field(default=None, foreign_key="argosy.cluster.id")
    state: str = _text("queued")
    message: str = _text()
    name: str | None = Field(default=None, sa_column=Column(Text))
    digest: str | None = Field(default=None, sa_column=Column(Text))
    k8s_uid: str | None = Field(default=None, sa_column=Column(Text))
    claim_worker: str | None = Field(default=None, sa_column=Column(Text))
    claim_epoch: int = _int(0)
    lease_until: datetime | None = _time()
    quiet_at: datetime | None = _time()
    not_before: datetime | None = _time()
    tries: int = _int(0)
    retries_left: int = _int(0)
    progress: str = _text()
    queued_at: datetime = _now()
    submitted_at: datetime | None = _time()
    run_deadline: float | None = _maybe_seconds()
    began_at: datetime | None = _time()
    stop_at: datetime | None = _time()
    overdue: str = _text()
    unread: bool = _flag(False)
    started_at: datetime | None = _time()
    finished_at: datetime | None = _time()
    as_of: datetime = _now()


class Node(Base, table=True):
    """One entry of a workflow's `status.nodes`, as last seen."""

    __tablename__ = "node"
    __table_args__ = (
        ForeignKeyConstraint(["uid", "attempt"], ["argosy.attempt.uid", "argosy.attempt.number"], ondelete="CASCADE"),
    )

    uid: UUID = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    node_id: str = Field(sa_column=Column(Text, primary_key=True))
    task: str = _text()
    type: str = _text()
    phase: str = _text()
    message: str = _text()
    children: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    exit_code: int | None = Field(default=None)
    started_at: datetime | None = _time()
    finished_at: datetime | None = _time()


class LaunchSecret(Base, table=True):
    """A Secret that a launch has, or may have, on a cluster: written before it is made, removed when it is surely gone. One that was found
    there may be of a launch that the database has lost."""

    __tablename__ = "launch_secret"

    gid: UUID = Field(primary_key=True)
    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    deleting: bool = _flag(False)


class Lease(Base, table=True):
    """Who does a thing that only one may do. The epoch grows with each change of holder and fences the former one."""

    __tablename__ = "lease"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    holder: str = _text()
    epoch: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    until: datetime = _now()
