"""How text from outside is written for people at a terminal. Pure.

Names and messages come from tenants and their containers. They are shown without control characters, so that no manifest can move the
cursor or colour the reader's terminal.
"""

from argosy.telling import ranges as ranges
from argosy.telling import span as span
from argosy.telling import took as took
from argosy.telling import used as used

COLOURS = {
    "Succeeded": "green",
    "Failed": "red",
    "Error": "red",
    "Rejected": "red",
    "Deleted": "magenta",
    "Lost": "magenta",
    "Cancelled": "magenta",
    "Cancelling": "magenta",
    "Running": "cyan",
    "Pending": "yellow",
    "Submitting": "yellow",
    "rejected": "red",
    "cancelled": "magenta",
    "expanded": "green",
    "ok": "green",
    "warning": "yellow",
    "failed": "red",
}
"""Colour of a status; other statuses have no colour."""


SHORT = 12
"""Letters of a digest that people compare."""


def counted_jobs(count: int) -> str:
    """A number of jobs: `1 job`, `2 jobs`."""
    return f"{count} job{'s' * (count != 1)}"


def plain(text: str) -> str:
    """Text from outside on one line: white space and control characters become single spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def printable(text: str) -> str:
    """Text from outside with its blanks and tabs; what could steer a terminal becomes U+FFFD."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


def cut(text: str, length: int) -> str:
    """At most so many characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
