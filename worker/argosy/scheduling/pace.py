"""How many unfinished workflows a cluster may have. Pure.

Argo becomes slow when it gets too many workflows at once: of 1,200 workflows created at once the first ended after 37 s, with 150 at a time
after 6 s; the last ended at the same time (P7). So a cluster has a window: it grows by a step while the controller processes new workflows
quickly, and is halved when the apiserver asks to wait or workflows stay unprocessed.
"""

FIRST = 40
"""The first window of a cluster. With it, on two cores, the first workflow ends about as early as a single one would (after 1.6 s with 30
at a time, after 5 s with 100). Argo gains nothing beyond twice this."""

LEAST = 20
"""Larger than the number of unclear creates that opens the breaker (submit/breaker.py), so that one tenant's cannot fill the window."""

STEP = 25
"""By how much a full window grows at each check."""

LATE = 7.0
"""Seconds after which a created workflow that Argo has not processed counts as late."""

_PILE = 0.25
"""Part of the window that may be late before the window is halved."""


def grown(window: int, active: int, late: int) -> int:
    """The window after a check of the cluster.

    Args:
        window: The present window.
        active: Unfinished workflows.
        late: Those of them that Argo has not processed within `LATE` seconds.
    """
    if late > window * _PILE:
        return halved(window)
    if late == 0 and active >= window - STEP:
        return window + STEP
    return window


def halved(window: int) -> int:
    """The window after the cluster has shown that it is overloaded."""
    return max(window // 2, LEAST)
