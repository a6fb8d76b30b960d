"""The tables of launches, jobs, attempts and nodes.

A job is what was requested. It never changes, except its flags and the number of its newest attempt. An *attempt* is one try of a job and
has the state, so a retry is a new row, and the old row stays as it ended. The state is a column of the attempt only: two copies could
disagree.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field

from argosy.states import ACTIVE, State
from argosy.store import columns, happened
from argosy.store.conditions import AGE, ALIKE, DELAYED, FAILED, GID_NODE, READY, UIDS_NODE, in_states, retry_due
from argosy.store.registered import Base

metadata = happened.Event.metadata
"""Metadata of all tables, those of `registered` and `happened` too."""


class Launch(Base, table=True):
    """One request. It is `accepted` at first, `resolved` when everything that a job needs is frozen here, `expanded` when all jobs have
    rows. Before that it may become `rejected` or `cancelled`.

    A worker that works on it has a claim: until `next_try_at` nobody else may claim it, and each new claim has a higher epoch. `woken_at`
    is when housekeeping last sent a wake-up for it; those with the oldest come first, so that launches that make no progress do not block
    others. `expanded_jobs` of its `jobs` have rows; a launch that is cancelled or rejected half-way keeps these. With `skip_done`, media
    that are done already are left out when it is resolved: `skipped` says how many. `inputs_digest` is the hash of its manifest and
    parameters. One that has the media of another's failed batches names that as `parent_gid`. While it
    is `waiting`, it is not begun, because `after_gid` has not ended.
    """

    __tablename__ = "launch"
    __table_args__ = (
        CheckConstraint("state IN ('accepted', 'resolved', 'expanded', 'rejected', 'cancelled')", name="state"),
        Index("ix_launch_unexpanded", "woken_at", postgresql_where=text("state IN ('accepted', 'resolved')")),
        Index("ix_launch_project_created_at", "project", "created_at"),
        Index("ix_launch_untold", "created_at", postgresql_where=text("untold")),
        Index("ix_launch_created_at", "created_at"),
        Index("ix_launch_gid_node", text(f"({GID_NODE})")),
        Index("ix_launch_inputs", "project", "inputs_digest", postgresql_where=text("inputs_digest IS NOT NULL")),
        Index("ix_launch_parent", "parent_gid", postgresql_where=text("parent_gid IS NOT NULL")),
        CheckConstraint("NOT waiting OR state = 'accepted' AND after_gid IS NOT NULL", name="waiting"),
        Index("ix_launch_waiting", "after_gid", postgresql_where=text("waiting")),
        # Finds launches, the newest first; others' and those of other algorithms are skipped without a look at their rows.
        Index("ix_launch_found", "project", text(AGE), "gid", "user_id", "algorithm_name"),
        Index(
            "ix_launch_parameters",
            "parameters",
            postgresql_using="gin",
            postgresql_ops={"parameters": "jsonb_path_ops"},
        ),
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
    webhook: str | None = Field(default=None, sa_column=Column(Text))
    untold: bool = columns.flag(False)
    token_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    token_wiped: bool = columns.flag(False)
    secret_id: UUID = Field(sa_column=Column(Uuid, nullable=False, server_default=text("gen_random_uuid()")))
    hidden: bool = columns.flag(False)
    state: str = columns.string("accepted")
    reason: str = columns.string()
    tries: int = columns.integer(0)
    next_try_at: datetime = columns.made_at()
    woken_at: datetime = columns.made_at()
    claim_worker: str | None = Field(default=None, sa_column=Column(Text))
    claim_epoch: int = columns.integer(0)
    algorithm_id: int | None = Field(default=None)
    placement_id: int | None = Field(default=None, foreign_key="argosy.placement.id")
    priority: int = columns.integer(0)
    manifest: str | None = Field(default=None, sa_column=Column(Text))
    parameters: list[list[str]] | None = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    files_per_job: int | None = Field(default=None)
    parent_gid: UUID | None = Field(default=None, sa_column=Column(Uuid))
    after_gid: UUID | None = Field(default=None, sa_column=Column(Uuid))
    after_if: str = columns.string("ok")
    cancel_with: bool = columns.flag(False)
    waiting: bool = columns.flag(False)
    manifest_digest: str | None = Field(default=None, sa_column=Column(Text))
    inputs_digest: str | None = Field(default=None, sa_column=Column(Text))
    skip_done: bool = columns.flag(False)
    skipped: int = columns.integer(0)
    max_attempts: int = columns.integer(1)
    retry_backoff: float = columns.seconds(10)
    pending_deadline: float | None = columns.maybe_seconds()
    run_deadline: float | None = columns.maybe_seconds()
    jobs: int = columns.integer(0)
    expanded_jobs: int = columns.integer(0)
    created_at: datetime = columns.made_at()
    expanded_at: datetime | None = columns.time()


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
    attempt: int = columns.integer(1)
    cancel_requested: bool = columns.flag(False)
    hidden: bool = columns.flag(False)
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))


class EarlyCancel(Base, table=True):
    """A cancel of one job that has no row yet. When the job is cut, it is inserted as cancelled, and this row is deleted."""

    __tablename__ = "early_cancel"

    gid: UUID = Field(sa_column=Column(ForeignKey("argosy.launch.gid", ondelete="CASCADE"), primary_key=True))
    ordinal: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    hidden: bool = columns.flag(False)


class Attempt(Base, table=True):
    """One try of a job: at most one workflow, for ever. Its row outlives the workflow and is the proof that it existed.

    `cluster_id` is fixed by the claim; while an attempt is queued, it is set only if the placement allows just one cluster. `stop_at` is
    when its workflow is to be ended: the pending deadline, and from `began_at` on (its first pod ran) the run deadline. `overdue` says
    which of them has passed. `unread` says that its workflow is to be read once, because the row may have missed what happened to it.
    `state_at` is when its state began, as a trigger writes it; null while it is queued for the first time.
    `exit_code` is that of what failed; `resources` is what its pods used, as Argo counts it (seconds of a CPU, of 100 MiB of memory).
    `listed`: it is its job's newest attempt, and the job is not hidden; a trigger on `job` keeps it so. `revision` is the number of the
    `Revision` that it runs; 0 for what its launch was frozen with.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint(in_states(State), name="state"),
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
        Index(
            "ix_attempt_active", "cluster_id", "project", "user_id", "state", postgresql_where=text(in_states(ACTIVE))
        ),
        Index(
            "ix_attempt_stop_at",
            "cluster_id",
            "stop_at",
            postgresql_where=text(f"stop_at IS NOT NULL AND {in_states(ACTIVE)}"),
        ),
        Index("ix_attempt_unread", "cluster_id", postgresql_where=text("unread")),
        # Makes one index lookup each of: is anything of a launch unfinished, and has anything of it ended lately.
        Index("ix_attempt_gid", "gid", "finished_at"),
        Index("ix_attempt_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_attempt_retry_due", "finished_at", postgresql_where=text(retry_due())),
        # Finds and counts jobs by state, the newest launch first. The cluster is the last column: what is on another one is skipped without
        # a look at its row.
        Index(
            "ix_attempt_found",
            "project",
            "state",
            text(AGE),
            "gid",
            "uid",
            "cluster_id",
            postgresql_where=text("listed"),
        ),
        # The same of those that failed alike.
        Index(
            "ix_attempt_alike",
            text(ALIKE),
            "project",
            "state",
            text(AGE),
            "gid",
            "uid",
            postgresql_where=text(f"listed AND {in_states(FAILED)}"),
        ),
    )

    uid: UUID = Field(sa_column=Column(ForeignKey("argosy.job.uid", ondelete="CASCADE"), primary_key=True))
    number: int = Field(primary_key=True)
    seq: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), nullable=False))
    gid: UUID
    project: int = Field(sa_column=Column(BigInteger, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    algorithm_id: int = Field(sa_column=Column(Integer, nullable=False))
    priority: int = columns.integer(0)
    placement_id: int = Field(foreign_key="argosy.placement.id")
    cluster_id: int | None = Field(default=None, foreign_key="argosy.cluster.id")
    state: str = columns.string("queued")
    message: str = columns.string()
    name: str | None = Field(default=None, sa_column=Column(Text))
    digest: str | None = Field(default=None, sa_column=Column(Text))
    k8s_uid: str | None = Field(default=None, sa_column=Column(Text))
    claim_worker: str | None = Field(default=None, sa_column=Column(Text))
    claim_epoch: int = columns.integer(0)
    lease_until: datetime | None = columns.time()
    quiet_at: datetime | None = columns.time()
    not_before: datetime | None = columns.time()
    tries: int = columns.integer(0)
    retries_left: int = columns.integer(0)
    progress: str = columns.string()
    queued_at: datetime = columns.made_at()
    submitted_at: datetime | None = columns.time()
    run_deadline: float | None = columns.maybe_seconds()
    began_at: datetime | None = columns.time()
    stop_at: datetime | None = columns.time()
    overdue: str = columns.string()
    unread: bool = columns.flag(False)
    state_at: datetime | None = columns.time()
    exit_code: int | None = Field(default=None)
    resources: dict[str, int] = columns.mapping()
    started_at: datetime | None = columns.time()
    finished_at: datetime | None = columns.time()
    as_of: datetime = columns.made_at()
    listed: bool = columns.flag(True)
    revision: int = columns.integer(0)


class Node(Base, table=True):
    """One entry of a workflow's `status.nodes`, as last seen; `pod` and `host` are where it ran, `boundary` is the id of the node
    that it belongs to."""

    __tablename__ = "node"
    __table_args__ = (
        ForeignKeyConstraint(["uid", "attempt"], ["argosy.attempt.uid", "argosy.attempt.number"], ondelete="CASCADE"),
    )

    uid: UUID = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    node_id: str = Field(sa_column=Column(Text, primary_key=True))
    task: str = columns.string()
    type: str = columns.string()
    phase: str = columns.string()
    message: str = columns.string()
    children: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    exit_code: int | None = Field(default=None)
    started_at: datetime | None = columns.time()
    finished_at: datetime | None = columns.time()
    pod: str = columns.string()
    host: str = columns.string()
    resources: dict[str, int] = columns.mapping()
    boundary: str = columns.string()


class Bulk(Base, table=True):
    """Work on all jobs that a filter chose when it was prepared. `counts` are these by status; it has `begun` when it was confirmed."""

    __tablename__ = "bulk"
    __table_args__ = (Index("ix_bulk_created_at", "created_at"),)

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True, server_default=text("gen_random_uuid()")))
    verb: str = Field(sa_column=Column(Text, nullable=False))
    chosen: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    user: int = Field(sa_column=Column("user_id", BigInteger, nullable=False))
    projects: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False))
    priority: int | None = Field(default=None)
    counts: dict[str, int] = Field(sa_column=Column(JSONB, nullable=False))
    begun: bool = columns.flag(False)
    created_at: datetime = columns.made_at()


class BulkItem(Base, table=True):
    """A job of a `Bulk`, as it was then: its newest attempt and that one's state. `key` is its uid; or the gid of a launch without jobs.
    `why` is null until it was its turn, empty if it was done, and else says why not."""

    __tablename__ = "bulk_item"
    __table_args__ = (Index("ix_bulk_item_open", "bulk_id", "gid", "key", postgresql_where=text("why IS NULL")),)

    bulk_id: UUID = Field(sa_column=Column(ForeignKey("argosy.bulk.id", ondelete="CASCADE"), primary_key=True))
    gid: UUID = Field(primary_key=True)
    key: UUID = Field(primary_key=True)
    number: int
    state: str = Field(sa_column=Column(Text, nullable=False))
    why: str | None = Field(default=None, sa_column=Column(Text))


class LaunchSecret(Base, table=True):
    """A Secret that a launch has, or may have, on a cluster. The row is written before the Secret is made, and deleted when the Secret is
    surely gone. It may belong to a launch that the database has lost."""

    __tablename__ = "launch_secret"

    gid: UUID = Field(primary_key=True)
    cluster_id: int = Field(foreign_key="argosy.cluster.id", primary_key=True)
    deleting: bool = columns.flag(False)


class Lease(Base, table=True):
    """The holder of work that only one process may do. The epoch grows with each new holder and fences the former one."""

    __tablename__ = "lease"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    holder: str = columns.string()
    epoch: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    until: datetime = columns.made_at()
