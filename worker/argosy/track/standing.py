"""The state of one cluster that the parts of its tracker share (follow.py, write.py, upkeep.py)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection as Database
from sqlalchemy import Engine

from argosy.errors import ArgosyError
from argosy.store import leases
from argosy.store.database import transact

P = ParamSpec("P")
T = TypeVar("T")


class Resumed(ArgosyError):
    """The cluster must be listed again: a hold began or ended, or another database server answers."""


@dataclass(frozen=True)
class Tracked:
    """Which cluster is tracked, under which lease."""

    cluster_id: int
    name: str
    lease: str
    epoch: int


@dataclass
class Standing:
    """One cluster under its lease.

    Args:
        engine: Where the rows are.
        tracked: Which cluster.
        up: Whether it answers.
        held: Why the cluster is held; empty if it is not.
        whole: Whether it was listed completely.
        missing: Number of workflows that rows name and that were not in the last list.
        contact: When it last sent something (monotonic seconds; 0: never).
        pulse: When the list or watch last showed a sign of life (monotonic seconds).
    """

    engine: Engine
    tracked: Tracked
    up: bool = False
    held: str = ""
    whole: bool = False
    missing: int = 0
    contact: float = 0.0
    pulse: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """The cluster's."""
        return self.tracked.name

    @property
    def cluster_id(self) -> int:
        """The cluster's."""
        return self.tracked.cluster_id

    async def ask(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read rows."""
        return await transact(self.engine, work, *args, **kwargs)

    async def write(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Change rows, as the holder of the cluster's lease.

        Raises:
            Fenced: Another tracker holds it.
        """

        def fenced(database: Database) -> T:
            self.fence(database)
            return work(database, *args, **kwargs)

        return await transact(self.engine, fenced)

    def fence(self, database: Database) -> None:
        """The first statement of every transaction that changes rows.

        Raises:
            Fenced: Another tracker holds the lease.
        """
        leases.fence(database, self.tracked.lease, self.tracked.epoch)
