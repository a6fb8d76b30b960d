"""What the shell completes: ids of the newest launches and jobs, names of algorithms and clusters.

Somebody presses a key and waits: where the database cannot be asked, nothing is completed, and nothing is said.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from argosy.cli.boundary import line_of
from argosy.cli.session import client

if TYPE_CHECKING:
    from argosy.client import Client

_NEWEST = 50
"""Launches, and jobs, among which an id is completed."""


def identifiers(incomplete: str) -> list[str]:
    """Ids of launches and jobs that begin so."""
    return _offered(incomplete, _identifiers)


def algorithms(incomplete: str) -> list[str]:
    """Names of algorithms that begin so."""
    return _offered(incomplete, lambda opened: [each.name for each in opened.algorithms()])


def clusters(incomplete: str) -> list[str]:
    """Names of clusters that begin so."""
    return _offered(incomplete, lambda opened: [each.name for each in opened.clusters()])


def _identifiers(opened: "Client") -> list[str]:
    launches = [str(each.gid) for each in opened.launches(limit=_NEWEST)]
    return [*launches, *(str(each.uid) for each in opened.list(limit=_NEWEST, nodes=False))]


def _offered(incomplete: str, ask: "Callable[[Client], Sequence[str]]") -> list[str]:
    try:
        with client(remind=False) as opened:
            return [word for word in ask(opened) if word.startswith(incomplete)]
    except Exception as error:
        if line_of(error) is None:
            raise
        return []
