"""The launches of one worker process, each expanded in steps, so that no launch waits for a media query or a larger launch of another
one."""

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
"""The most media queries that a process makes at the same time, and the most of one project: they wait for the API server, which may
hang."""

_CUTTING, _CUTTING_OF_ONE = 4, 2
"""The most launches that a process cuts at the same time, and the most of one project. It cuts one batch of each in turn, so that a large
launch does not delay a small one."""

log = structlog.stdlib.get_logger(__name__)


class Expander:
    """Expands the launches of a worker process in its own threads, so that no launch waits for a media query of another one.

    A launch for which a lane has no room stays in the database, where housekeeping finds it. A thread of its own renews the claims.

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
        """Begin nothing more, and release the claims that are held: a query may hang for longer than this process is allowed to live."""
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
        """One step of a launch. Returns the claim if there is another step."""
        going = None
        try:
            claim = self._held.get(gid) or take(self._stage, gid)
            if claim is None:
                return None
            self._hold(claim)
            going = self._advance(claim)
        except OperationalError as error:
            log.warning("database away, launch is tried again later", gid=str(gid), reason=reason_of(error))
        finally:
            if going is None:
                self._forget(gid)
        if going is not None and self._stopping.is_set():
            self._give_back([going])
            return None
        return going

    def _advance(self, claim: launches.Claim) -> launches.Claim | None:
        """Catch every error of one launch, so that it does not affect the others. The launch is tried again later."""
        try:
            turn = advance(self._stage, claim)
        except OperationalError:
            raise
        except Exception as error:
            LOOP_ERRORS.labels("launch").inc()
            log.exception("defect, launch is tried again later", gid=str(claim.gid))
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
        with surviving("launch", "claims on launches not released"), self._stage.engine.begin() as connection:
            launches.release(connection, claims)

    def _wake(self, clusters: Sequence[int]) -> None:
        with surviving("wake", "wake-ups not sent"):
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
