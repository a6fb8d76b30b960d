"""Named places at which a test ends or freezes this process, because a crash falls between two statements and nowhere else.

`ARGOSY_FAILPOINTS="submit.created=kill,track.writing=stop@3"`: at the first (third, with `@3`) time that the process comes by, it sends
itself SIGKILL or SIGSTOP. Nearly free when the variable is not set. Each name is a promise that a kill there loses nothing and
doubles nothing; `tests/faults/test_kills.py` goes through all of them.
"""

import os
import signal
from itertools import count

from argosy.errors import NotConfigured

NAMES = frozenset(
    {
        "launch.accepted",  # a message's launch is committed, its wake-up not sent
        "launch.resolved",  # the frozen launch is committed, its jobs are not
        "launch.expanding",  # the jobs are written and not committed
        "launch.expanded",  # the jobs are committed, the submit wake-up not sent
        "submit.claiming",  # the claim is written and not committed; the cluster's row is locked
        "submit.claimed",  # the claim is committed, nothing was sent
        "submit.securing",  # the Secret is written down and not made
        "submit.sending",  # right before the claim's deadline is checked for the last time
        "submit.created",  # the create was answered, its record is not written
        "submit.recording",  # the record is written and not committed
        "submit.recorded",  # the record is committed
        "track.listed",  # all pages were read, nothing is written
        "track.writing",  # states and nodes are written and not committed
        "track.written",  # they are committed, what follows from them on the cluster is not done
        "track.terminating",  # before a workflow is told to end
        "track.releasing",  # before the finalizer is taken off
        "track.released",  # after it
        "cancel.requesting",  # a cancel is written and not committed
        "cancel.requested",  # it is committed
    }
)

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _parse(text: str) -> dict[str, tuple[signal.Signals, int]]:
    wanted = {}
    for part in filter(None, text.split(",")):
        name, _, rest = part.partition("=")
        action, _, nth = rest.partition("@")
        if name not in NAMES or action not in _ACTIONS or not (nth or "1").isdigit():
            raise NotConfigured(
                f"ARGOSY_FAILPOINTS: {part!r}: write NAME=kill or NAME=stop@N, NAME one of {sorted(NAMES)}"
            )
        wanted[name] = (_ACTIONS[action], int(nth or "1"))
    return wanted


_wanted = _parse(os.environ.get("ARGOSY_FAILPOINTS", ""))
_hits = {name: count(1) for name in _wanted}


def failpoint(name: str) -> None:
    """Die or freeze here, if that is what was asked for.

    Args:
        name: One of `NAMES`.

    Raises:
        LookupError: It is not: a misspelt one would be silently nothing.
    """
    if name not in NAMES:
        raise LookupError(f"failpoint {name!r} is not in failpoints.NAMES")
    if name in _wanted:
        number, nth = _wanted[name]
        if next(_hits[name]) == nth:
            # To this very thread, which would run on for a while if the signal went to its process.
            signal.raise_signal(number)
