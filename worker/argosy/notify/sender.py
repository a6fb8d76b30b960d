"""Delivers what is in the outbox, side by side, so that a receiver that hangs delays only its own project's notifications; and each kind by
itself, so that a mail server that hangs delays no webhook."""

import asyncio
from collections import Counter

import structlog
from sqlalchemy import Engine

from argosy.errors import NotConfigured
from argosy.failpoints import failpoint
from argosy.loops import surviving
from argosy.metrics import NOTIFICATIONS
from argosy.notify.delivery import Delivery, Undelivered
from argosy.notify.mail import Mails
from argosy.notify.webhook import Webhooks
from argosy.settings import Settings
from argosy.store import outbox
from argosy.store.database import transact

_AT_ONCE = 20
"""Deliveries of a kind under way in one process."""

_SPARE = 8
"""Of these, kept for projects that have nothing under way: receivers that hang are to delay nobody else's."""

_LOOK, _AGAIN = 1.0, 0.1
"""Seconds between two looks into the outbox: usually, and after one that found something."""

log = structlog.stdlib.get_logger(__name__)


class Sender:
    """Sends notifications that are due, for ever.

    Args:
        engine: Where the outbox is.
        settings: Of webhooks and mails.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    async def run(self) -> None:
        """Send until cancelled. What was under way then is sent again by whoever looks next, with the same id."""
        async with asyncio.TaskGroup() as tasks:
            for delivery in (Webhooks(self._settings), Mails(self._settings)):
                tasks.create_task(_Lane(self._engine, delivery).run())


class _Lane:
    """Sends one kind of notification."""

    def __init__(self, engine: Engine, delivery: Delivery) -> None:
        self._engine, self._delivery = engine, delivery
        self._busy: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            while True:
                found = 0
                with surviving("notifications", "notifications not sent"):
                    found = await self._look()
                await asyncio.sleep(_AGAIN if found else _LOOK)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._delivery.close()

    async def _look(self) -> int:
        """Begin to send what is due and has a place. Returns how much that is."""
        busy = [project for project, count in self._busy.items() if count]
        free = _AT_ONCE - len(self._tasks)
        if free <= 0:
            return 0
        due = await transact(self._engine, outbox.claim, self._delivery.kind, free, busy, free > _SPARE)
        for notification in due:
            self._busy[notification.project] += 1
            task = asyncio.create_task(self._send(notification))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(due)

    async def _send(self, notification: outbox.Notification) -> None:
        """Catch every error of one delivery: it is tried again when its claim has run out."""
        try:
            with surviving("notifications", "notification not sent", key=notification.key):
                await self._deliver(notification)
        finally:
            self._busy[notification.project] -= 1

    async def _deliver(self, notification: outbox.Notification) -> None:
        try:
            note = await self._delivery.deliver(notification)
        except (Undelivered, NotConfigured) as error:
            await self._failed(notification, str(error), isinstance(error, Undelivered) and error.final)
            return
        except Exception as error:
            # Recorded, or it would be tried every minute for ever.
            await self._failed(notification, f"a defect of argosy ({type(error).__name__}); its log has more")
            raise
        failpoint("notify.taken")
        await transact(self._engine, outbox.sent, notification, note)
        NOTIFICATIONS.labels(notification.kind, "sent").inc()

    async def _failed(self, notification: outbox.Notification, reason: str, final: bool = False) -> None:
        given_up = await transact(self._engine, outbox.failed, notification, reason, final)
        NOTIFICATIONS.labels(notification.kind, "given_up" if given_up else "failed").inc()
        log.warning(
            "notification not taken", key=notification.key, reason=reason, tries=notification.tries, given_up=given_up
        )
