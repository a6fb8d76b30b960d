"""Every error that argosy raises on purpose, in one class tree.

Every place that handles errors (command line, HTTP, Dramatiq message, answer of a cluster) prints an expected error as one clear line, but
must not do so with a bug. So what derives from `ArgosyError` is an answer to the caller; anything else is a bug and keeps its traceback. A
message says what is wrong, where, and what to do about it.
"""

from collections.abc import Sequence


class ArgosyError(Exception):
    """Base class of every error that argosy raises on purpose."""


class InvalidRequest(ArgosyError):
    """The caller's input cannot work; nothing was changed."""


class NotFound(ArgosyError):
    """The named thing does not exist."""


class NoDefaultCluster(NotFound):
    """The algorithm names no cluster, and no default one is registered; a launch message waits for one.

    Args:
        algorithm: Its name.
    """

    def __init__(self, algorithm: str) -> None:
        super().__init__(
            f"no default cluster is registered, and algorithm {algorithm!r} names none; see: argosy cluster add --help, "
            "or make one the default: argosy cluster update NAME --default"
        )


class Conflict(ArgosyError):
    """The request contradicts what is already there, e.g. a name that is taken."""


class ManifestError(InvalidRequest):
    """A manifest cannot be run as it is.

    Args:
        problem: What is wrong and what to do.
        line: 1-based line in the manifest, where known.
        column: 1-based column in the manifest, where known.
        others: What else is wrong with it.
        warning: The manifest can be run; this only informs its author.
    """

    def __init__(
        self,
        problem: str,
        line: int | None = None,
        column: int | None = None,
        others: "Sequence[ManifestError]" = (),
        warning: bool = False,
    ) -> None:
        self.problem, self.line, self.column, self.others, self.warning = problem, line, column, others, warning
        where = "" if line is None else f"line {line}" + ("" if column is None else f", column {column}") + ": "
        more = f" (and {len(others)} more; argosy algorithm lint shows all)" if others else ""
        super().__init__(f"manifest: {where}{problem}{more}")


class MediaSourceError(ArgosyError):
    """The API server's media list could not be read; the launch waits and is tried again."""


class SealBroken(ArgosyError):
    """A sealed value cannot be opened with the configured keys."""


class NotConfigured(ArgosyError):
    """A setting that this command needs is missing."""


class NotAllowed(NotConfigured):
    """The database's user lacks a right; nothing was changed."""


class Fenced(ArgosyError):
    """This holder's lease or claim was taken over; nothing that it does afterwards may be written."""


class QueueFull(ArgosyError):
    """The project has as many queued jobs as it may; nothing was written, the same launch may be tried later."""
