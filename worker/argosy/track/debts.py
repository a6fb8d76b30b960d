"""Open work on one cluster ("debts"): workflows to terminate, finalizers to remove. Each is tried again until the cluster has confirmed it.

Debts are kept in memory only: every list finds them again from the rows and the objects, so none is lost if a tracker dies. They are done
in a task of their own, so that a cluster that does not answer patches does not delay the writing of states. Debts that stay are visible in
`argosy_debts` and `argosy_debt_oldest_age_seconds`; while a finalizer stays, Kubernetes does not delete its object.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.workflows import Workflows
from argosy.metrics import DEBT_AGE, DEBTS

RETRY = 2.0
"""Seconds between two tries."""

_AT_ONCE = 16
"""Debts done at the same time."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Debt:
    """The debt on one object. `finalizers` are the object's finalizers as last seen, if ours is to be removed, else None. `since` is
    monotonic."""

    name: str
    k8s_uid: str
    terminate: bool
    finalizers: tuple[str, ...] | None
    version: str
    why: str
    since: float
    gid: UUID | None


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
        gid: UUID | None = None,
    ) -> None:
        """Add a debt, or add to the debt that the object has already.

        Args:
            name: Name of the workflow.
            k8s_uid: Its uid.
            terminate: It is to be ended.
            finalizers: Its finalizers, ours among them, if ours is to be removed.
            version: The resourceVersion at which it had these finalizers.
            why: The state of its attempt that is the reason to end it.
            gid: Its launch, where that is known, for the log.
        """
        old = self._owed.get(k8s_uid)
        since = old.since if old else time.monotonic()
        self._owed[k8s_uid] = _Debt(
            name,
            k8s_uid,
            terminate or bool(old and old.terminate),
            finalizers,
            version,
            why,
            since,
            gid or (old.gid if old else None),
        )
        self._news.set()

    def end(self, workflows: Sequence[tuple[str, str, str]]) -> None:
        """Add debts to terminate workflows, given as (name, k8s uid, the state that is the reason, or empty). Those that were terminated
        already are left out."""
        self._terminated &= {k8s_uid for _, k8s_uid, _ in workflows}
        for name, k8s_uid, why in workflows:
            if k8s_uid not in self._terminated and k8s_uid not in self._owed:
                self.owe(name, k8s_uid, terminate=True, why=why)

    async def run(self) -> None:
        """Do the debts until cancelled. Debts that are left then are found by the next tracker of the cluster, and leave the gauges of this
        one."""
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
        """Try each debt once. If the cluster is down or asks to wait, the round ends."""
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
                    log.warning(
                        "debt not paid yet", cluster=self._cluster, workflow=debt.name, gid=debt.gid, reason=str(error)
                    )

        await asyncio.gather(*(payer() for _ in range(_AT_ONCE)))

    async def _pay(self, debt: _Debt) -> None:
        # An object that is gone needs nothing any more.
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
