"""One create, and the outcome of it that is recorded.

What an answer proves is decided in kube/answers.py. An unclear create is resolved by creating the *same name* again. If the name is taken,
the object is read and compared, and adopted if it is ours. If the name was taken and the object is then gone, the workflow existed (P1).
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
from argosy.metrics import ADOPTIONS, SUBMIT_SECONDS
from argosy.recovery.custody import Custody
from argosy.settings import Settings
from argosy.store import claims, queue, secrets
from argosy.submit.breaker import DOWN, Breaker

MARGIN = 1.0
"""Seconds that a request ends before its lease does."""

_LONGEST_AGAIN = 15.0
"""The most seconds between two tries of an unclear create. The wait starts at 1 s and doubles."""

_TRIES = 10
"""After this many unclear tries a refusal is believed. They take longer than the minute after which an apiserver gives up a request."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Claimed:
    """A job that this worker has claimed from `claimed_at` until `deadline` (monotonic seconds). `batch` is the number of its claim in the
    pass."""

    waiting: claims.Waiting
    renderer: Renderer
    rendered: Rendered
    claimed_at: float
    deadline: float
    batch: int

    def told(self, cluster: str) -> dict[str, Any]:
        """What every line of the log about it carries."""
        waiting = self.waiting
        return {"workflow": self.rendered.name, "gid": waiting.gid, "project": waiting.project, "cluster": cluster}

    def key(self) -> tuple[UUID, int, int]:
        """The fields that every outcome of it has."""
        return self.waiting.uid, self.waiting.number, self.waiting.epoch


@dataclass
class Pass:
    """One pass over one cluster's queue. `created` is set when all creators have ended.

    `secrets_made` says after which claim batch a launch's Secret was made or found. This holds for jobs of that batch and of earlier ones:
    they are unfinished, so the Secret stays. Before a later batch all jobs may have ended: the Secret may have been deleted, and a retry
    may have brought a new token.
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
        engine: Where it is recorded that a launch has a Secret.
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
        """Try once to create a job's workflow. The next try needs another claim, which reads the row again: so a workflow that the tracker
        has seen meanwhile, and that was then removed from the cluster, is not created a second time."""
        waiting, rendered = job.waiting, job.rendered
        body = rendered.terminated() if waiting.cancel_requested else rendered.body
        try:
            if job.renderer.uses_secret:
                await self._ensure_secret(job)
            failpoint("submit.sending")
            # The last check before the request is sent: if the claim ran out, another worker may have it.
            left = job.deadline - time.monotonic()
            if left < MARGIN or self._run.breaker.hold is not None or self._stopping():
                return _back(job, self._run.breaker.why, self._run.breaker.hold or 0.0)
            with SUBMIT_SECONDS.labels(self._run.name).time():
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
            await self._run.breaker.wait("the cluster asks to wait", error, seconds)
            return _back(job, f"the cluster asks to wait: {error}", seconds)
        except answers.ClusterDown as error:
            await self._run.breaker.failed(f"cluster {error.health}", error)
            return _back(job, f"cluster {error.health}: {error}", DOWN)
        except Conflict as error:
            return _back(job, str(error), DOWN)
        except (answers.KubeError, SealBroken) as error:
            return await self._refused(job, error)

    async def _doubt(self, job: Claimed, error: answers.Unclear) -> queue.Outcome:
        """The workflow may have been created, whoever sent the answer and whatever its code. If the answer says something about the whole
        cluster, the breaker is opened too."""
        if error.retry_after is not None:
            await self._run.breaker.wait("the cluster asks to wait", error, error.retry_after)
        elif error.health is not answers.Health.UNREACHABLE:
            await self._run.breaker.failed(f"cluster {error.health}", error)
        wait = min(2.0 ** min(job.waiting.tries, 4), _LONGEST_AGAIN)
        return queue.Unresolved(*job.key(), str(error), max(wait, self._run.breaker.hold or 0.0), unclear=True)

    async def _refused(self, job: Claimed, error: ArgosyError) -> queue.Outcome:
        """The cluster refuses this workflow. But an earlier create of it, whose answer was unclear, may have been accepted."""
        waiting = job.waiting
        if waiting.stale:
            if waiting.tries < _TRIES and not isinstance(error, answers.NeverFits):
                return queue.Unresolved(*job.key(), str(error), DOWN)
            try:
                return self._found(await self._workflows.get(job.rendered.name), job)
            except answers.Missing:
                log.info("refused, and no earlier create of it arrived", **job.told(self._run.name))
            except answers.KubeError as unread:
                return queue.Unresolved(*job.key(), f"{error}; and it cannot be read: {unread}", DOWN)
        # If the launch's token could not be opened, the cluster was not asked.
        asked = isinstance(error, answers.KubeError)
        return queue.Ended(*job.key(), "rejected", f"the workflow cannot be created: {error}", asked)

    async def _adopt(self, job: Claimed) -> queue.Outcome:
        """The name is taken: by this attempt's own workflow, if the answer to its create was lost, or by another object."""
        try:
            return self._found(await self._workflows.get(job.rendered.name), job)
        except answers.Missing:
            return queue.Ended(
                *job.key(), "lost", "its workflow existed and was removed before anybody saw how it ended"
            )
        except answers.KubeError as error:
            return queue.Unresolved(*job.key(), f"the name is taken and cannot be read: {error}", DOWN)

    def _found(self, found: dict[str, Any], job: Claimed) -> queue.Outcome:
        """The labels say whose object it is (P1). Its digest may differ from this one: settings and renderer may have changed since."""
        labels = found["metadata"].get("labels") or {}
        wanted = {
            LABEL_INSTALLATION: self._installation,
            LABEL_UID: str(job.waiting.uid),
            LABEL_ATTEMPT: str(job.waiting.number),
        }
        if wanted.items() <= labels.items():
            uid = found["metadata"]["uid"]
            ADOPTIONS.labels(self._run.name, "worker").inc()
            return queue.Created(*job.key(), job.rendered.name, job.rendered.digest, uid, answered=2)
        return queue.Ended(
            *job.key(),
            "rejected",
            f"the name {job.rendered.name} is taken by an object that is not this attempt's; remove it and retry",
        )

    async def _ensure_secret(self, job: Claimed) -> None:
        """Make the Secret with the launch's token on this cluster, before its first workflow there. The database records it first."""
        run, gid = self._run, job.waiting.gid
        async with run.secrets.setdefault(gid, asyncio.Lock()):
            if run.secrets_made.get(gid, 0) >= job.batch:
                return
            batch = run.batches  # its claims are committed, so their jobs keep the Secret from being deleted
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
    """Try later: back to the queue if the create surely did not happen; else the attempt stays `submitting`, to be resolved."""
    if job.waiting.stale:
        return queue.Unresolved(
            *job.key(), reason or "taken over from a worker that did not finish it", max(seconds, 1.0)
        )
    return queue.Returned(*job.key(), reason, seconds)
