"""The client behind a command, opened late: nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.settings import Settings


def configured() -> Settings:
    """The settings of this process.

    Raises:
        NotConfigured: A setting is missing or cannot be used.
    """
    from argosy.settings import load

    return load()


@contextmanager
def client() -> Iterator[Client]:
    """The client of one command.

    Raises:
        NotConfigured: A setting is missing or cannot be used.
    """
    from argosy.client import Client

    opened = Client()
    try:
        yield opened
    finally:
        opened.close()
