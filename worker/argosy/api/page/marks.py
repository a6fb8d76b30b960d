"""How states look: a shape and a word beside each colour. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ORDER = (
    "Failed", "Error", "Rejected", "Lost", "Deleted", "Running", "Pending", "Submitting", "Cancelling", "Queued", "Cancelled", "Succeeded",
)  # fmt: skip
"""Statuses as they are listed: what needs somebody comes first."""

_TONES = {
    "Failed": "bad", "Error": "bad", "Rejected": "bad", "Lost": "odd", "Deleted": "odd",
    "Running": "busy", "Pending": "soon", "Submitting": "soon", "Queued": "wait",
    "Cancelling": "off", "Cancelled": "off", "Succeeded": "good",
    "Skipped": "off", "Omitted": "off", "Suspended": "soon",
    "accepted": "wait", "resolved": "wait", "waiting": "wait", "expanded": "busy", "rejected": "bad", "cancelled": "off",
    "ok": "good", "paused": "off", "held": "odd", "unknown": "wait",
}  # fmt: skip

TONES = ("bad", "odd", "busy", "soon", "wait", "off", "good")
"""Each has a colour in the stylesheet and a shape in the sprite of the layout."""


def tone(status: str) -> str:
    """The tone of a job's, node's or launch's status, or a cluster's health; what is not known is bad, as any health but `ok`."""
    return _TONES.get(status, "bad")


def ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts by status, those that need somebody first."""
    known = [(status, counts[status]) for status in ORDER if counts.get(status)]
    return known + [(status, count) for status, count in counts.items() if count and status not in ORDER]


@dataclass(frozen=True)
class BarPart:
    """A piece of a bar of counts, in thousandths of its width."""

    status: str
    count: int
    x: float
    width: float


def parts(counts: Mapping[str, int]) -> Iterator[BarPart]:
    """The pieces of a bar: what ended well from the left, what failed beside it, then what runs and what waits. Each that is there can be
    seen, however small its part is."""
    shown = [(status, counts[status]) for status in _ALONG if counts.get(status)]
    total = sum(count for _, count in shown)
    least = min(8.0, 1000 / max(len(shown), 1))
    widths = [max(1000 * count / total, least) for _, count in shown]
    scale, x = 1000 / sum(widths) if widths else 1, 0.0
    for (status, count), width in zip(shown, widths, strict=True):
        yield BarPart(status, count, round(x, 1), round(width * scale, 1))
        x += width * scale


_ALONG = (
    "Succeeded", "Failed", "Error", "Rejected", "Lost", "Deleted", "Cancelled", "Cancelling", "Running", "Pending", "Submitting", "Queued",
)  # fmt: skip
