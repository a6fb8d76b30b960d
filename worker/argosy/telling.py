"""How times, media and resources are written for people, at a terminal and on the page. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def span(seconds: float) -> str:
    """A length of time in at most two units: 4s, 2m 05s, 3h 10m, 2d 4h."""
    left = max(0, int(seconds))
    if left < 60:
        return f"{left}s"
    if left < 3_600:
        return f"{left // 60}m {left % 60:02}s"
    if left < 86_400:
        return f"{left // 3_600}h {left % 3_600 // 60:02}m"
    return f"{left // 86_400}d {left % 86_400 // 3_600}h"


def age(when: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit: 2m; empty for never."""
    if when is None:
        return ""
    seconds = max(0, int((now - when).total_seconds()))
    return next((f"{seconds // size}{unit}" for size, unit in _UNITS if seconds >= size), f"{seconds}s")


def ago(when: datetime | None, now: datetime) -> str:
    """As `age`, followed by "ago": 2m ago."""
    return f"{age(when, now)} ago" if when is not None else ""


def took(start: datetime | None, stop: datetime | None, now: datetime) -> str:
    """The time from start to stop, or until now; empty if it has not begun."""
    return span(((stop or now) - start).total_seconds()) if start is not None else ""


def ranges(media: Sequence[int]) -> str:
    """Media ids in their order, with runs shortened: 1-3,7. `arguments.media` reads this format."""
    breaks = [0, *(at for at, (left, right) in enumerate(pairwise(media), 1) if right != left + 1), len(media)]
    runs = [media[start:stop] for start, stop in pairwise(breaks) if start < stop]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def used(resources: Mapping[str, int]) -> dict[str, str]:
    """What pods used, by resource, in Argo's units."""
    return {name: f"{seconds} s" + " of 100 MiB" * (name == "memory") for name, seconds in sorted(resources.items())}
