"""When a cluster is left alone, and who says so: one worker's hand on the breaker that all share in the cluster's row (store/pacing.py).

An answer that asks to wait, or proves the cluster to be away, stops everybody at once. An answer that proves nothing does so only where
several tenants' creates are unclear, or many in a row: one tenant's workflow that the cluster chokes on must not stop the others, its job
backs off alone (P7). Where the database is away nobody can be told; this pass ends all the same.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from argosy.store import pacing
from argosy.store.database import transact

DOWN = 5.0
"""Seconds of delay for a job that the cluster refused, or that was in hand when the cluster failed."""

_FAILING_TENANTS = 3
"""Tenants whose creates were unclear since the last clear answer, from which on the cluster is taken for failed."""

_FAILING_CREATES = 16
"""Unclear creates in a row, of whomever, from which on it is."""

log = structlog.stdlib.get_logger(__name__)


@dataclass
class Breaker:
    """As one pass over one cluster's queue sees it.

    Args:
        engine: Where the cluster's row is.
        cluster_id: Which.
        name: The cluster's, for people.
        unclear: Creates of each tenant without a clear answer since the last clear one; kept from pass to pass.
        probe: Whether the cluster had failed, and the one job of this pass is to show whether it still does.
        hold: Seconds for which the cluster is to be left alone; None where it is not.
        why: The reason.
        closed: Whether the probe was answered, so that there may be more to do.
    """

    engine: Engine
    cluster_id: int
    name: str
    unclear: Counter[int]
    probe: bool = False
    hold: float | None = None
    why: str = ""
    closed: bool = False

    async def answered(self) -> None:
        """A create got a clear answer."""
        self.unclear.clear()
        if self.probe:
            self.closed = await self._note(pacing.close, self.cluster_id)

    async def doubted(self, project: int, reason: str) -> None:
        """A create of this tenant may or may not have happened."""
        if self.hold is not None:
            return
        self.unclear[project] += 1
        if self.probe or len(self.unclear) >= _FAILING_TENANTS or self.unclear.total() >= _FAILING_CREATES:
            self.unclear.clear()
            await self.failed(f"creates get no clear answer: {reason}")
        elif self.unclear[project] == 1:
            await self._note(pacing.slow, self.cluster_id)

    async def failed(self, why: str) -> None:
        """Have all workers leave the cluster alone until a probe is answered."""
        await self._open(why, DOWN, pacing.failed, self.cluster_id, why, self.probe)

    async def wait(self, why: str, seconds: float) -> None:
        """Have them leave it alone for as long as it asked for."""
        await self._open(why, seconds, pacing.wait, self.cluster_id, why, seconds)

    async def _open(self, why: str, seconds: float, write: Callable[..., None], *what: object) -> None:
        if self.hold is None:
            self.hold, self.why = seconds, why
            log.warning("cluster is left alone", cluster=self.name, reason=why)
            await self._note(write, *what)

    async def _note(self, write: Callable[..., None], *what: object) -> bool:
        try:
            await transact(self.engine, write, *what)
        except OperationalError as error:
            log.warning("database away, how the cluster is was not noted", cluster=self.name, reason=str(error.orig))
            return False
        return True
