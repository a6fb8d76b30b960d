"""The client of a command. It is opened late, so that nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from socket import gethostname
from typing import TYPE_CHECKING

from argosy.cli import output

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


def user() -> str:
    """Who runs this command; by number where the user has no name, as in most containers."""
    try:
        return getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@contextmanager
def _fitting(opened: Client) -> Iterator[None]:
    """Where the schema lacks something: say which releases it and this argosy are of.

    Raises:
        NotConfigured: This argosy may not run on it.
    """
    from sqlalchemy.exc import ProgrammingError

    from argosy.store import schema

    try:
        yield
    except ProgrammingError as error:
        if isinstance(error.orig, schema.LACKING):
            schema.check(opened.engine)
        raise


@contextmanager
def client(remind: bool = True) -> Iterator[Client]:
    """The client of one command. If a cluster is held, every command says so at its end, on standard error.

    Args:
        remind: Whether to say that clusters are held; False for commands that are about holds.

    Raises:
        NotConfigured: A setting is missing or cannot be used.
    """
    from argosy.client import Client
    from argosy.store.actor import acting

    opened = Client()
    try:
        with acting(f"{user()}@{gethostname()}"), _fitting(opened):
            yield opened
        for name, why in opened.held().items() if remind else ():
            output.note(f"cluster {name} is held, nothing is created or ended there: {why}")
    finally:
        opened.close()
