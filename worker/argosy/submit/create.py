"""One create, and what became of it: the outcome that is recorded.

What an answer proves is decided in kube/answers.py. What proves nothing is resolved by creating the *same name* again; a taken name is read
and compared, and adopted when it is ours; taken and then gone means that it existed (P1).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine

from argosy.access import Reached
from argosy.crypto import open_token
from argosy.errors import ArgosyError, Conflict, SealBroken
from argosy.failpoints import failpoint
from argosy.kube import answers
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import (
    LABEL_ATTEMPT,
    LABEL_GID,
    LABEL_INSTALLATION,
    LABEL_MANAGED_BY,
    LABEL_UID,
    MANAGED_BY,
    SECRET_KEY,
)
from argosy.manifest import Rendered, Renderer
from argosy.recovery.custody import Custody
from argosy.settings import Settings
from argosy.store import claims, queue, secrets
from argosy.submit.breaker import DOWN, Breaker

MARGIN = 1.0
"""Seconds that a request ends before its lease does."""

_LONGEST_AGAIN = 15.0
"""Seconds between two tries of an unclear create at most; the first waits 1 s, and each next one twice as long."""

_TRIES = 10
"""Unclear tries after which a refusal is believed: an apiserver gives a request up after a minute, ten tries take longer."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A job in this worker's hands until `deadline` (monotonic seconds); `batch` numbers the claims of a pass."""

    waiting: claims.Waiting
    renderer: Renderer
    rendered: Rendered
    deadline: float
    batch: int

    def key(self) -> tuple[UUID, int, int]:
        """Fields that every record of it carries."""
        return self.waiting.uid, self.waiting.number, self.waiting.epoch


@dataclass
class Pass:
    """One pass over one cluster's queue; `created` is set when no creator works any more.

    `secrets_made` says after which claim batch a launch's Secret was made or found. It speaks for jobs of that batch and before, which have
    kept it there since; before a later one all jobs may have ended, the Secret may have gone, and a retry may have brought a new token.
    """

    reached: Reached
    custody: Custody
    breaker: Breaker
    claimed: asyncio.Queue[Claimed | None]
    outcomes: asyncio.Queue[queue.Outcome | None] = field(default_factory=asyncio.Queue)
    created: asyncio.Event = field(default_factory=asyncio.Event)
    secrets: dict[UUID, asyncio.Lock] = field(default_factory=dict)
    secrets_made: dict[UUID, int] = field(default_factory=dict)
    batches: int = 0

    @property
    def name(self) -> str:
        """The cluster's."""
        return self.reached.cluster.name


class Creator:
    """Creates workflows in one pass.

    Args:
        run: The pass.
        engine: Where it is written down that a launch has a Secret.
        settings: Keys of launch tokens.
        installation: Label of our objects.
        stopping: Whether nothing is to be sent any more.
    """

    def __init__(
        self, run: Pass, engine: Engine, settings: Settings, installation: str, stopping: Callable[[], bool]
    ) -> None:
        self._run, self._engine, self._settings = run, engine, settings
        self._installation, self._stopping = installation, stopping
        self._workflows = Workflows(run.reached.connection)

    async def create(self, job: Claimed) -> queue.Outcome:
        """Try to create a job's workflow, once. The next try is another claim's, which looks at the row again: what the tracker has seen in
        the meantime, and what was then removed from the cluster, is never created a second time."""
        waiting, rendered = job.waiting, job.rendered
        body = rendered.terminated() if waiting.cancel_requested else rendered.body
        try:
            if job.renderer.uses_secret:
                await self._ensure_secret(job)
            failpoint("submit.sending")
            # The last check before the bytes leave: a claim that ran out is somebody else's by now.
            left = job.deadline - time.monotonic()
            if left < MARGIN or self._run.breaker.hold is not None or self._stopping():
                return _back(job, self._run.breaker.why, self._run.breaker.hold or 0.0)
            metadata = await self._workflows.create(body, timeout=left)
            failpoint("submit.created")
            return queue.Created(*job.key(), rendered.name, rendered.digest, metadata["uid"])
        except answers.NameTaken as error:
            if error.name not in ("", rendered.name):
                return await self._refused(job, error)
            return await self._adopt(job)
        except answers.Unclear as error:
            return await self._doubt(job, error)
        except answers.Wait as error:
            seconds = error.retry_after or 1.0
            await self._run.breaker.wait(f"the cluster asks to wait: {error}", seconds)
            return _back(job, self._run.breaker.why, seconds)
        except answers.ClusterDown as error:
            await self._run.breaker.failed(f"cluster {error.health}: {error}")
            return _back(job, self._run.breaker.why, DOWN)
        except Conflict as error:
            return _back(job, str(error), DOWN)
        except (answers.KubeError, SealBroken) as error:
            return await self._refused(job, error)

    async def _doubt(self, job: Claimed, error: answers.Unclear) -> queue.Outcome:
        """It may have been created, whatever the answer's sender and code. Where the answer says something about the whole cluster, that
        is left alone all the same."""
        if error.retry_after is not None:
            await self._run.breaker.wait(f"asked to wait: {error}", error.retry_after)
        elif error.health is not answers.Health.UNREACHABLE:
            await self._run.breaker.failed(f"cluster {error.health}: {error}")
        wait = min(2.0 ** min(job.waiting.tries, 4), _LONGEST_AGAIN)
        return queue.Unresolved(*job.key(), str(error), max(wait, self._run.breaker.hold or 0.0), unclear=True)

    async def _refused(self, job: Claimed, error: ArgosyError) -> queue.Outcome:
        """No create of this can be accepted any more. One that was sent before, and never clearly answered, may have been."""
        waiting = job.waiting
        if waiting.stale:
            if waiting.tries < _TRIES and not isinstance(error, answers.NeverFits):
                return queue.Unresolved(*job.key(), str(error), DOWN)
            try:
                return self._found(await self._workflows.get(job.rendered.name), job)
            except answers.Missing:
                log.info("refused, and no earlier create of it arrived", workflow=job.rendered.name)
            except answers.KubeError as unread:
                return queue.Unresolved(*job.key(), f"{error}; and it cannot be read: {unread}", DOWN)
        # Where the launch's token cannot be opened, nothing was asked of the cluster.
        asked = isinstance(error, answers.KubeError)
        return queue.Ended(*job.key(), "rejected", f"the workflow cannot be created: {error}", asked)

    async def _adopt(self, job: Claimed) -> queue.Outcome:
        """The name is taken: by this attempt's own workflow, whose answer was lost, or by a stranger."""
        try:
            return self._found(await self._workflows.get(job.rendered.name), job)
        except answers.Missing:
            return queue.Ended(
                *job.key(), "lost", "its workflow existed and was removed before anybody saw how it ended"
            )
        except answers.KubeError as error:
            return queue.Unresolved(*job.key(), f"the name is taken and cannot be read: {error}", DOWN)

    def _found(self, found: dict[str, Any], job: Claimed) -> queue.Outcome:
        """Whose it is, the labels tell (P1). Its digest need not be this one: settings and renderer may have changed since."""
        labels = found["metadata"].get("labels") or {}
        wanted = {
            LABEL_INSTALLATION: self._installation,
            LABEL_UID: str(job.waiting.uid),
            LABEL_ATTEMPT: str(job.waiting.number),
        }
        if wanted.items() <= labels.items():
            uid = found["metadata"]["uid"]
            return queue.Created(*job.key(), job.rendered.name, job.rendered.digest, uid, answered=2)
        return queue.Ended(
            *job.key(),
            "rejected",
            f"the name {job.rendered.name} is taken by an object that is not this attempt's; remove it and retry",
        )

    async def _ensure_secret(self, job: Claimed) -> None:
        """The launch's token on this cluster, before its first workflow there; written down before it is made."""
        run, gid = self._run, job.waiting.gid
        async with run.secrets.setdefault(gid, asyncio.Lock()):
            if run.secrets_made.get(gid, 0) >= job.batch:
                return
            batch = run.batches  # of which all claims are committed, so that their jobs keep what is found or made now
            sealed = await asyncio.to_thread(secrets.intend, self._engine, gid, run.reached.cluster.id)
            failpoint("submit.securing")
            labels = {
                LABEL_INSTALLATION: self._installation,
                LABEL_GID: str(gid),
                LABEL_MANAGED_BY: MANAGED_BY,
            }
            data = {SECRET_KEY: open_token(sealed, self._settings.token_private_key)}
            await Secrets(run.reached.connection).ensure(job.renderer.secret_name, labels, data)
            run.secrets_made[gid] = batch


def _back(job: Claimed, reason: str, seconds: float) -> queue.Outcome:
    """Not now: to the queue where the create surely did not happen, else it stays `submitting`, to be resolved."""
    if job.waiting.stale:
        return queue.Unresolved(
            *job.key(), reason or "taken over from a worker that did not finish it", max(seconds, 1.0)
        )
    return queue.Returned(*job.key(), reason, seconds)
