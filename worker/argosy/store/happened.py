"""The tables of what happened to launches and jobs, of who is told, and of what failed containers wrote."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from argosy.store import columns
from argosy.store.registered import Base


class Event(Base, table=True):
    """Something that happened to a launch (`uid` null), an attempt of a job, one of its nodes, or a cluster (`gid` null). Triggers write it
    in the transaction of the change, whatever code made that (migration 0011). What happens to one thing again, with a message that is
    alike (`argosy.alike`), is counted in `times`."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_gid_last_at", "gid", "last_at", postgresql_where=text("gid IS NOT NULL")),
        Index("ix_event_cluster_id_last_at", "cluster_id", "last_at", postgresql_where=text("gid IS NULL")),
        Index(
            "uq_event_launch",
            "gid",
            "kind",
            "likeness",
            unique=True,
            postgresql_where=text("uid IS NULL AND gid IS NOT NULL"),
        ),
        Index(
            "uq_event_job",
            "uid",
            "attempt",
            "node_id",
            "kind",
            "likeness",
            unique=True,
            postgresql_where=text("uid IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    xact: int = Field(
        sa_column=Column(BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint"))
    )
    at: datetime = columns.made_at()
    last_at: datetime = columns.made_at()
    times: int = columns.integer(1)
    kind: str = Field(sa_column=Column(Text, nullable=False))
    gid: UUID | None = Field(default=None)
    uid: UUID | None = Field(default=None)
    attempt: int | None = Field(default=None)
    node_id: str = columns.string()
    cluster_id: int | None = Field(default=None)
    actor: str = columns.string()
    message: str = columns.string()
    detail: dict[str, Any] = columns.mapping()
    likeness: int = Field(sa_column=Column(BigInteger, nullable=False))


class Outbox(Base, table=True):
    """Somebody who is to be told how a launch ended, or, without a `gid`, who gets a caller's mail. `key` names the end; while it is `open`
    it is sent, or tried again. `project` is here because no project may take all the time there is."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("gid", "key", "kind", "recipient"),
        Index("ix_outbox_open", "next_try_at", postgresql_where=text("open")),
        Index("ix_outbox_due", "kind", "project", "next_try_at", "id", postgresql_where=text("open")),
        Index("ix_outbox_mail", "created_at", postgresql_where=text("gid IS NULL")),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    gid: UUID | None = Field(default=None, sa_column=Column(ForeignKey("argosy.launch.gid", ondelete="CASCADE")))
    project: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    recipient: str = Field(sa_column=Column(Text, nullable=False))
    key: str = Field(sa_column=Column(Text, nullable=False))
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    token_sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    open: bool = columns.flag(True)
    tries: int = columns.integer(0)
    reason: str = columns.string()
    next_try_at: datetime = columns.made_at()
    created_at: datetime = columns.made_at()
    sent_at: datetime | None = columns.time()


class ContainerLog(Base, table=True):
    """The last lines of a container that failed, so that the reason outlives its pod. `cut`: there was more before them. `gid` is there to
    count a launch's; rows of an older release have none."""

    __tablename__ = "container_log"
    __table_args__ = (
        ForeignKeyConstraint(["uid", "attempt"], ["argosy.attempt.uid", "argosy.attempt.number"], ondelete="CASCADE"),
        Index("ix_container_log_gid", "gid", "attempt"),
    )

    uid: UUID = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    node_id: str = Field(sa_column=Column(Text, primary_key=True))
    gid: UUID | None = Field(default=None)
    container: str = Field(sa_column=Column(Text, primary_key=True))
    exit_code: int | None = Field(default=None)
    cut: bool
    text: str = Field(sa_column=Column(Text, nullable=False))
