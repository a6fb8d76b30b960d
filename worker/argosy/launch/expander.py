"""The launches of one worker process, each in turns, so that none waits for what is asked of the API server, or for a larger one."""

from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError

from argosy.launch.expand import Launching, advance, postpone, take
from argosy.launch.lanes import Lane
from argosy.loops import reason_of, surviving
from argosy.metrics import LOOP_ERRORS
from argosy.store import launches

_ASKING, _ASKING_OF_ONE = 16, 2
"""Media queries that a process asks at a time, and those of one project: they wait on somebody else, who may hang."""

_CUTTING, _CUTTING_OF_ONE = 4, 2
"""Launches that a process cuts at a time, and those of one project, a batch of each in turn: a large one holds up no small one."""

log = structlog.stdlib.get_logger(__name__)


class Expander:
    """Expands the launches of a worker process in threads of their own, so that none waits for what is asked of the API server.

    What finds no room stays in the database, where housekeeping finds it. Claims are renewed by a thread that does nothing else.

    Args:
        stage: What to work with.
        submit: Wakes a cluster's submitter.
    """

    def __init__(self, stage: Launching, submit: Callable[[int], None]) -> None:
        self._stage, self._submit = stage, submit
        self._held: dict[UUID, launches.Claim] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._asking = Lane("ask", _ASKING, _ASKING_OF_ONE, self._ask)
        self._cutting = Lane("cut", _CUTTING, _CUTTING_OF_ONE, self._cut)
        Thread(target=self._keep, name="launch-claims", daemon=True).start()

    def start(self, gid: UUID) -> None:
        """Have a launch expanded.

        Raises:
            NotFound: It is not in the database.
        """
        with self._stage.engine.begin() as connection:
            standing = launches.standing(connection, gid)
        if standing is not None:
            (self._asking if standing.asks else self._cutting).put(standing.project, gid)

    def stop(self) -> None:
        """Begin nothing more, and hand back what is under way: a query may hang for longer than this process may still live."""
        self._stopping.set()
        self._asking.stop()
        self._cutting.stop()
        self._give_back(list(self._held.values()))

    def _ask(self, gid: UUID) -> bool:
        claim = self._turn(gid)
        if claim is not None and not self._cutting.put(claim.project, gid):
            self._give_back([claim])
        return False

    def _cut(self, gid: UUID) -> bool:
        return self._turn(gid) is not None

    def _turn(self, gid: UUID) -> launches.Claim | None:
        """One turn at a launch; the claim where there is to be another."""
        going = None
        try:
            claim = self._held.get(gid) or take(self._stage, gid)
            if claim is None:
                return None
            self._hold(claim)
            going = self._advance(claim)
        except OperationalError as error:
            log.warning("database away, launch waits", gid=str(gid), reason=reason_of(error))
        finally:
            if going is None:
                self._forget(gid)
        if going is not None and self._stopping.is_set():
            self._give_back([going])
            return None
        return going

    def _advance(self, claim: launches.Claim) -> launches.Claim | None:
        """The outermost loop of one launch: what fails in it hurts no other, and is tried again with the others' right of way."""
        try:
            turn = advance(self._stage, claim)
        except OperationalError:
            raise
        except Exception as error:
            LOOP_ERRORS.labels("launch").inc()
            log.exception("defect, launch waits", gid=str(claim.gid))
            postpone(self._stage, claim, f"failed unexpectedly ({type(error).__name__}); see the worker's log")
            return None
        if turn.claim is not None:
            self._hold(turn.claim)
        self._wake(turn.clusters)
        return turn.claim

    def _hold(self, claim: launches.Claim) -> None:
        with self._lock:
            self._held[claim.gid] = claim

    def _forget(self, gid: UUID) -> None:
        with self._lock:
            self._held.pop(gid, None)

    def _give_back(self, claims: Sequence[launches.Claim]) -> None:
        for claim in claims:
            self._forget(claim.gid)
        with surviving("launch", "claims on launches run out by themselves"), self._stage.engine.begin() as connection:
            launches.release(connection, claims)

    def _wake(self, clusters: Sequence[int]) -> None:
        with surviving("wake", "wake-ups wait"):
            for cluster_id in clusters:
                self._submit(cluster_id)

    def _keep(self) -> None:
        """Renew the claims for as long as this process lives, however long a page of media takes."""
        lease = self._stage.settings.claim_lease
        while not self._stopping.wait(lease / 4):
            with self._lock:
                held = list(self._held.values())
            if held:
                with surviving("launch", "claims on launches not renewed"), self._stage.engine.begin() as connection:
                    launches.renew(connection, held, lease)
