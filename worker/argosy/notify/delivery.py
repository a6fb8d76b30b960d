"""What every kind of notification has in common: how it is delivered, and how that fails."""

from typing import Protocol

from argosy.errors import ArgosyError
from argosy.store.outbox import Notification


class Undelivered(ArgosyError):
    """A receiver did not take a notification. `final`: and never will."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Delivery(Protocol):
    """Delivers one kind of notification, until it is closed."""

    kind: str

    async def deliver(self, notification: Notification) -> str:
        """Deliver one notification. Returns what was not as it should be; empty if nothing.

        Raises:
            Undelivered: The receiver did not take it, or may not be called.
            NotConfigured: A setting is missing.
        """

    async def close(self) -> None:
        """Close the connections."""
