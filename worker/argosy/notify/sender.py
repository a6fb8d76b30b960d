"""Delivers what is in the outbox, side by side, so that a receiver that hangs delays only its own project's notifications."""

import asyncio
from collections import Counter

import structlog
from sqlalchemy import Engine

from argosy.errors import NotConfigured
from argosy.loops import surviving
from argosy.metrics import NOTIFICATIONS
from argosy.notify.webhook import Undelivered, Webhooks
from argosy.settings import Settings
from argosy.store import outbox
from argosy.store.database import transact

_AT_ONCE = 20
"""Deliveries under way in one process."""

_SPARE = 8
"""Of these, kept for projects that have nothing under way: receivers that hang are to delay nobody else's."""

_LOOK, _AGAIN = 1.0, 0.1
"""Seconds between two looks into the outbox: usually, and after one that found something."""

log = structlog.stdlib.get_logger(__name__)


class Sender:
    """Sends notifications that are due, for ever.

    Args:
        engine: Where the outbox is.
        settings: Key and hosts of webhooks.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._busy: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until cancelled. What was under way then is sent again by whoever looks next, with the same id."""
        webhooks = Webhooks(self._settings)
        try:
            while True:
                found = 0
                with surviving("notifications", "notifications not sent"):
                    found = await self._look(webhooks)
                await asyncio.sleep(_AGAIN if found else _LOOK)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await webhooks.close()

    async def _look(self, webhooks: Webhooks) -> int:
        """Begin to send what is due and has a place. Returns how much that is."""
        busy = [project for project, count in self._busy.items() if count]
        free = _AT_ONCE - len(self._tasks)
        if free <= 0:
            return 0
        due = await transact(self._engine, outbox.claim, free, busy, free > _SPARE)
        for notification in due:
            self._busy[notification.project] += 1
            task = asyncio.create_task(self._send(webhooks, notification))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(due)

    async def _send(self, webhooks: Webhooks, notification: outbox.Notification) -> None:
        """Catch every error of one delivery: it is tried again when its claim has run out."""
        try:
            with surviving("notifications", "notification not sent", gid=str(notification.gid)):
                await self._deliver(webhooks, notification)
        finally:
            self._busy[notification.project] -= 1

    async def _deliver(self, webhooks: Webhooks, notification: outbox.Notification) -> None:
        try:
            await webhooks.deliver(notification)
        except (Undelivered, NotConfigured) as error:
            final = isinstance(error, Undelivered) and error.final
            given_up = await transact(self._engine, outbox.failed, notification, str(error), final)
            NOTIFICATIONS.labels(notification.kind, "given_up" if given_up else "failed").inc()
            log.warning(
                "notification not taken",
                gid=str(notification.gid),
                reason=str(error),
                tries=notification.tries,
                given_up=given_up,
            )
            return
        await transact(self._engine, outbox.sent, notification)
        NOTIFICATIONS.labels(notification.kind, "sent").inc()
