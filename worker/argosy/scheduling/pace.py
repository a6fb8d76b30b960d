"""How many unfinished workflows a cluster is given. Pure.

Argo slows down when it is flooded: of 1,200 workflows created at once the first ended after 37 s, with 150 at a time after 6 s, and all
of them equally late (P7). So a cluster has a window: it grows by a step while the controller takes up what it gets, and
is halved when the apiserver pushes back or workflows lie untouched.
"""

FIRST = 40
"""The window of a cluster that was never measured: on two cores its first workflow ends about as early as a single one would (1.6 s with
30 at a time, after 5 s with 100), and beyond twice as many Argo gains nothing."""

LEAST = 20
"""Larger than the number of unclear creates that opens the breaker (submit/breaker.py), so that one tenant's cannot fill the window."""

STEP = 25
"""By how much a full window grows at each look."""

LATE = 7.0
"""Seconds after which a created workflow that Argo has not looked at counts as piled up."""

_PILE = 0.25
"""Part of the window that may be piled up before it is halved."""


def grown(window: int, active: int, late: int) -> int:
    """The window after a look at the cluster.

    Args:
        window: As it is.
        active: Unfinished workflows.
        late: Those of them that Argo has not taken up in `LATE` seconds.
    """
    if late > window * _PILE:
        return halved(window)
    if late == 0 and active >= window - STEP:
        return window + STEP
    return window


def halved(window: int) -> int:
    """The window after the apiserver has pushed back."""
    return max(window // 2, LEAST)
