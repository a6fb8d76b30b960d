"""The tables of what is registered, and the base class of all tables. They are in the schema `argosy`, because the database is shared with
the API server."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from argosy.store import columns

SCHEMA = "argosy"

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


class Base(SQLModel):
    """Base class of the tables. It has metadata of its own, so that our migrations do not include the API server's models."""

    metadata = metadata


class Installation(Base, table=True):
    """The one row that names this installation. Its id is a label on all its objects, so that two installations can share a cluster.
    `timeline` is that of the database server that was seen last. `doubted_at` is when all clusters were last held because commits may have
    been lost. `serves` is the newest migration that code must know to run on this schema (store/schema.py). `keys_mark` and `token_key` say
    by which keys it seals (store/sealed.py)."""

    __tablename__ = "installation"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    timeline: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    doubted_at: datetime | None = columns.time()
    serves: str = columns.string()
    keys_mark: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    token_key: str | None = Field(default=None, sa_column=Column(Text))


class Process(Base, table=True):
    """A running process of argosy. It renews `seen_at` every few seconds (store/processes.py)."""

    __tablename__ = "process"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    host: str = Field(sa_column=Column(Text, nullable=False))
    pid: int
    version: str = Field(sa_column=Column(Text, nullable=False))
    revision: str = Field(sa_column=Column(Text, nullable=False))
    started_at: datetime = columns.made_at()
    seen_at: datetime = columns.made_at()
    trouble: str = columns.string()
    error: str = columns.string()
    error_at: datetime | None = columns.time()


class Cluster(Base, table=True):
    """A registered JobCluster. The row of a removed one stays, without credentials, because finished attempts name it. `path` comes before
    that of its Kubernetes API, where a proxy serves several. `token_source` is a `TokenSource`, or empty where the token itself is kept;
    `token_expires_at` is when that one ends, if it says so. `identity` and `epoch` are those of the mark on the cluster (kube/marks.py).
    While a cluster is held, nothing is created or ended there."""

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

    id: int = columns.key()
    name: str = Field(sa_column=Column(Text, nullable=False))
    organization: int | None = Field(default=None, sa_column=Column(BigInteger))
    host: str | None = Field(default=None, sa_column=Column(Text))
    port: int = columns.integer(443)
    path: str = columns.string()
    cert: str = columns.string()
    token_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    token_source: dict[str, Any] = columns.mapping()
    token_expires_at: datetime | None = columns.time()
    credential_version: int = columns.integer(1)
    namespace: str = columns.string("argosy")
    service_account: str | None = Field(default=None, sa_column=Column(Text))
    is_default: bool = columns.flag(False)
    finalizer: bool = columns.flag(True)
    token_in_clear: bool = columns.flag(False)
    logs: bool = columns.flag(True)
    argo_server: str = columns.string()
    argo_server_ca: str = columns.string()
    policy: dict[str, Any] = columns.mapping()
    labels: dict[str, str] = columns.mapping()
    max_active: int = columns.integer(500)
    project_max_active: int | None = Field(default=None)
    pending_deadline: float | None = columns.maybe_seconds()
    run_deadline: float | None = columns.maybe_seconds()
    pace: bool = columns.flag(True)
    pace_window: int | None = Field(default=None)
    slowed_at: datetime | None = columns.time()
    open_until: datetime | None = columns.time()
    open_reason: str = columns.string()
    open_tries: int = columns.integer(0)
    virtual_time: float = columns.seconds(0)
    paused_at: datetime | None = columns.time()
    paused_reason: str = columns.string()
    identity: str = columns.string()
    epoch: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    beat_at: datetime | None = columns.time()
    held_at: datetime | None = columns.time()
    held_reason: str = columns.string()
    health: str = columns.string("unknown")
    health_message: str = columns.string()
    health_since: datetime = columns.made_at()
    as_of: datetime | None = columns.time()
    kubernetes_version: str = columns.string()
    argo_version: str = columns.string()
    created_at: datetime = columns.made_at()
    removed_at: datetime | None = columns.time()


class Stray(Base, table=True):
    """A workflow of ours on a cluster whose attempt has no row. The row may be written later and then finds it here (store/strays.py)."""

    __tablename__ = "stray"

    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    k8s_uid: str = Field(sa_column=Column(Text, primary_key=True))
    uid: UUID = Field(sa_column=Column(Uuid, nullable=False, index=True))
    number: int
    gid: UUID | None = Field(default=None, sa_column=Column(Uuid, index=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    noted_at: datetime = columns.made_at()


class Algorithm(Base, table=True):
    """A registered algorithm. Launches copy what they need, so it can be changed or removed at any time."""

    __tablename__ = "algorithm"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("files_per_job >= 1", name="files_per_job"),
        CheckConstraint("max_attempts >= 1", name="max_attempts"),
    )

    id: int = columns.key()
    project: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    description: str = columns.string()
    cluster_id: int | None = Field(default=None, foreign_key="argosy.cluster.id")
    cluster_ids: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default="{}"))
    cluster_labels: dict[str, str] = columns.mapping()
    files_per_job: int
    manifest: str = columns.string()
    categories: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    parameters: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False, server_default="[]"))
    max_attempts: int = columns.integer(1)
    retry_backoff: float = columns.seconds(10)
    pending_deadline: float | None = columns.maybe_seconds()
    run_deadline: float | None = columns.maybe_seconds()
    paused_at: datetime | None = columns.time()
    paused_reason: str = columns.string()
    created_at: datetime = columns.made_at()


class Revision(Base, table=True):
    """What a retry's attempts run in place of what their launch was frozen with: the algorithm as it was registered then, or other
    parameters. The fields are those of a launch."""

    __tablename__ = "revision"

    gid: UUID = Field(sa_column=Column(ForeignKey("argosy.launch.gid", ondelete="CASCADE"), primary_key=True))
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    algorithm_id: int
    placement_id: int = Field(foreign_key="argosy.placement.id")
    manifest: str = Field(sa_column=Column(Text, nullable=False))
    manifest_digest: str = Field(sa_column=Column(Text, nullable=False))
    extra_params: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    parameters: list[list[str]] = Field(sa_column=Column(JSONB, nullable=False))
    inputs_digest: str = Field(sa_column=Column(Text, nullable=False, index=True))
    pending_deadline: float | None = columns.maybe_seconds()
    run_deadline: float | None = columns.maybe_seconds()
    created_at: datetime = columns.made_at()


class Project(Base, table=True):
    """The settings of a tenant. One without a row has weight 1, no cap and is not paused."""

    __tablename__ = "project"
    __table_args__ = (
        CheckConstraint("weight >= 0.001", name="weight"),
        CheckConstraint("max_queued >= 0", name="max_queued"),
    )

    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    weight: float = columns.seconds(1)
    max_queued: int | None = Field(default=None)
    paused_at: datetime | None = columns.time()
    paused_reason: str = columns.string()


class ProjectLimit(Base, table=True):
    """The most unfinished workflows of a project on a cluster, if it is not the cluster's `project_max_active`."""

    __tablename__ = "project_limit"
    __table_args__ = (CheckConstraint("max_active >= 0", name="max_active"),)

    project: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    max_active: int


class Placement(Base, table=True):
    """Which clusters may take a job: those that are listed, or those that carry the labels. One row for each distinct choice."""

    __tablename__ = "placement"
    __table_args__ = (UniqueConstraint("cluster_ids", "labels"),)

    id: int = columns.key()
    cluster_ids: list[int] = Field(sa_column=Column(ARRAY(Integer), nullable=False, server_default="{}"))
    labels: dict[str, str] = columns.mapping()


class Turn(Base, table=True):
    """How much virtual time a user has paid on a cluster, as of the user's last claimed job. It decides whose turn it is (see fair.py)."""

    __tablename__ = "turn"

    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    project: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, primary_key=True, autoincrement=False))
    tag: float = Field(sa_column=Column(Float, nullable=False))


class Manifest(Base, table=True):
    """A manifest that was uploaded through the gateway, by the hash of its text. An algorithm that is registered with it has a copy."""

    __tablename__ = "manifest"

    project: int = Field(sa_column=Column(BigInteger, primary_key=True))
    digest: str = Field(sa_column=Column(Text, primary_key=True))
    text: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = columns.made_at()


class ApiToken(Base, table=True):
    """A token of the gateway's own, as the hash of its text. `projects` and `organizations` null mean all. `sealed` is the platform's
    token that launches get."""

    __tablename__ = "api_token"

    id: int = columns.key()
    digest: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    role: str = Field(sa_column=Column(Text, nullable=False))
    projects: list[int] | None = Field(default=None, sa_column=Column(ARRAY(BigInteger)))
    organizations: list[int] | None = Field(default=None, sa_column=Column(ARRAY(BigInteger)))
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    expires_at: datetime | None = columns.time()
    revoked_at: datetime | None = columns.time()
    created_at: datetime = columns.made_at()
