"""When a worker opens the circuit breaker of a cluster. The breaker itself is in the cluster's row, so that all workers share it
(store/pacing.py).

An answer that asks to wait, or proves that the cluster is down, opens it at once. An unclear answer opens it only if the creates of several
tenants were unclear, or many in a row: if only one tenant's workflow makes the cluster fail, only its job is delayed, and the other tenants
go on (P7). If the database is away, the breaker cannot be written; this pass ends anyway.
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
"""The cluster counts as failed if the creates of this many tenants were unclear since the last clear answer."""

_FAILING_CREATES = 16
"""It also counts as failed after this many unclear creates in a row, of any tenants."""

log = structlog.stdlib.get_logger(__name__)


def _words(why: str, said: object) -> str:
    return f"{why}: {said}"[:500]


@dataclass
class Breaker:
    """The breaker, as one pass over one cluster's queue sees it.

    Args:
        engine: Where the cluster's row is.
        cluster_id: Which.
        name: The cluster's name, for logs.
        unclear: For each tenant, the number of unclear creates since the last clear answer; kept from pass to pass.
        probe: Whether the cluster had failed and the one job of this pass is the probe.
        hold: Seconds for which this pass opened the breaker; None if it did not.
        why: The reason, as the jobs of all tenants may have it; only the job whose create was answered has the cluster's words.
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
            await self.failed("creates get no clear answer", reason)
        elif self.unclear[project] == 1:
            await self._note(pacing.slow, self.cluster_id)

    async def failed(self, why: str, said: object) -> None:
        """Open the breaker until a probe is answered. What the cluster said is for operators: it may be about another tenant (T10)."""
        words = _words(why, said)
        await self._open(why, words, DOWN, pacing.failed, self.cluster_id, words, self.probe)

    async def wait(self, why: str, said: object, seconds: float) -> None:
        """Open the breaker for as long as the cluster asked for."""
        words = _words(why, said)
        await self._open(why, words, seconds, pacing.wait, self.cluster_id, words, seconds)

    async def _open(self, why: str, words: str, seconds: float, write: Callable[..., None], *what: object) -> None:
        if self.hold is None:
            self.hold, self.why = seconds, why
            log.warning("nothing is submitted to the cluster for a while", cluster=self.name, reason=words)
            await self._note(write, *what)

    async def _note(self, write: Callable[..., None], *what: object) -> bool:
        try:
            await transact(self.engine, write, *what)
        except OperationalError as error:
            log.warning("database away, the breaker was not written", cluster=self.name, reason=str(error.orig))
            return False
        return True
