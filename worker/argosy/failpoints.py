"""Named places at which a test kills or freezes this process: a test of a crash must choose exactly between which two statements it
happens.

With `ARGOSY_FAILPOINTS="submit.created=kill,track.writing=stop@3"`, the process sends itself SIGKILL or SIGSTOP when it reaches the place
for the first time (with `@3`, for the third time). It costs almost nothing if the variable is not set. At each place, a kill must neither
lose nor repeat any work; `tests/faults/test_kills.py` tests all of them.
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
        "submit.securing",  # the Secret's row is committed, the Secret is not made
        "submit.sending",  # right before the claim's deadline is checked for the last time
        "submit.created",  # the create was answered, its record is not written
        "submit.recording",  # the record is written and not committed
        "submit.recorded",  # the record is committed
        "track.listed",  # all pages were read, nothing is written
        "track.writing",  # states and nodes are written and not committed
        "track.written",  # they are committed, the changes on the cluster that follow are not made
        "track.terminating",  # before a workflow is told to end
        "track.releasing",  # before the finalizer is removed
        "track.released",  # after it
        "notify.taken",  # the receiver has taken a notification, its record is not written
        "cancel.requesting",  # a cancel is written and not committed
        "cancel.requested",  # it is committed
        "bulk.doing",  # some jobs of many are done and not committed
        "bulk.done",  # they are committed, and there are more
        "secrets.resealing",  # secrets are sealed anew and not committed
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
    """Kill or freeze this process here, if `ARGOSY_FAILPOINTS` says so.

    Args:
        name: One of `NAMES`.

    Raises:
        LookupError: It is not one of them: a misspelt name would silently have no effect.
    """
    if name not in NAMES:
        raise LookupError(f"failpoint {name!r} is not in failpoints.NAMES")
    if name in _wanted:
        number, nth = _wanted[name]
        if next(_hits[name]) == nth:
            # Send it to this thread: if the signal went to the process, the thread would run on for a while.
            signal.raise_signal(number)
