"""Open work on one cluster: workflows to end, finalizers to take off; tried again until the cluster has confirmed it.

A debt is kept in memory only, because every list finds it again from the rows and the objects: a tracker that dies forgets none. They are
paid beside the writing of states, so that a cluster that hangs on patches holds up nobody's status. A debt that stays is seen in
`argosy_debts` and `argosy_debt_oldest_age_seconds`; a finalizer that stays holds its object for ever.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.workflows import Workflows
from argosy.metrics import DEBT_AGE, DEBTS

RETRY = 2.0
"""Seconds between two tries."""

_AT_ONCE = 16
"""Debts paid at the same time."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Debt:
    """On one object; `finalizers` are those it was last seen with, where ours is to go. `since` is monotonic."""

    name: str
    k8s_uid: str
    terminate: bool
    finalizers: tuple[str, ...] | None
    version: str
    why: str
    since: float


class Debts:
    """The debts on one cluster.

    Args:
        workflows: The cluster's.
        cluster: Its name.
        up: Whether it answers at present; if not, nothing is tried.
    """

    def __init__(self, workflows: Workflows, cluster: str, up: Callable[[], bool]) -> None:
        self._workflows, self._cluster, self._up = workflows, cluster, up
        self._owed: dict[str, _Debt] = {}
        self._terminated: set[str] = set()
        self._news = asyncio.Event()

    def owe(
        self,
        name: str,
        k8s_uid: str,
        *,
        terminate: bool = False,
        finalizers: tuple[str, ...] | None = None,
        version: str = "",
        why: str = "",
    ) -> None:
        """Add a debt, or to one.

        Args:
            name: Name of the workflow.
            k8s_uid: Its uid.
            terminate: It is to be ended.
            finalizers: Those it has, ours among them, where that is to go.
            version: The resourceVersion with which it was seen so.
            why: The state of its attempt that it is to be ended for.
        """
        old = self._owed.get(k8s_uid)
        since = old.since if old else time.monotonic()
        self._owed[k8s_uid] = _Debt(
            name, k8s_uid, terminate or bool(old and old.terminate), finalizers, version, why, since
        )
        self._news.set()

    def end(self, workflows: Sequence[tuple[str, str, str]]) -> None:
        """Owe the end of (name, k8s uid, the state that it is ended for or empty), those already told left out."""
        self._terminated &= {k8s_uid for _, k8s_uid, _ in workflows}
        for name, k8s_uid, why in workflows:
            if k8s_uid not in self._terminated and k8s_uid not in self._owed:
                self.owe(name, k8s_uid, terminate=True, why=why)

    async def run(self) -> None:
        """Pay until cancelled; what is owed then is another tracker's to find, and no longer in this one's gauges."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY if self._owed else None):
                        await self._news.wait()
                self._news.clear()
                if self._up():
                    await self._pay_all()
                self._measure()
        finally:
            self._owed.clear()
            self._measure()

    async def _pay_all(self) -> None:
        """One try at each; a cluster that is down or asks to wait ends the round."""
        waiting = iter(list(self._owed.values()))
        going_on = True

        async def payer() -> None:
            nonlocal going_on
            for debt in waiting:
                if not going_on:
                    return
                try:
                    await self._pay(debt)
                except (answers.ClusterDown, answers.Wait) as error:
                    log.warning("debts wait", cluster=self._cluster, count=len(self._owed), reason=str(error))
                    going_on = False
                except answers.KubeError as error:
                    log.warning("debt not paid yet", cluster=self._cluster, workflow=debt.name, reason=str(error))

        await asyncio.gather(*(payer() for _ in range(_AT_ONCE)))

    async def _pay(self, debt: _Debt) -> None:
        # Nothing is owed on an object that is gone.
        with suppress(answers.Missing, answers.OtherObject):
            if debt.terminate:
                failpoint("track.terminating")
                await self._workflows.terminate(debt.name, debt.k8s_uid, debt.why)
                self._terminated.add(debt.k8s_uid)
                self._settle(debt, replace(debt, terminate=False))
            if debt.finalizers is not None:
                failpoint("track.releasing")
                await self._workflows.release(debt.name, debt.k8s_uid, list(debt.finalizers), debt.version)
                failpoint("track.released")
        self._settle(debt, None)

    def _settle(self, paid: _Debt, rest: _Debt | None) -> None:
        """Keep what is left of a debt, unless it has grown meanwhile."""
        now = self._owed.get(paid.k8s_uid)
        if now is None or now.since != paid.since or now.finalizers != paid.finalizers:
            return
        if rest is None or (rest.finalizers is None and not rest.terminate):
            del self._owed[paid.k8s_uid]
        else:
            self._owed[paid.k8s_uid] = rest

    def _measure(self) -> None:
        now = time.monotonic()
        for kind, of_kind in (
            ("terminate", [debt for debt in self._owed.values() if debt.terminate]),
            ("release", [debt for debt in self._owed.values() if debt.finalizers is not None]),
        ):
            DEBTS.labels(self._cluster, kind).set(len(of_kind))
            DEBT_AGE.labels(self._cluster, kind).set(max((now - debt.since for debt in of_kind), default=0.0))
