"""Foreign text before it is kept or shown: what a server, a library or a pod said. Pure.

Two faults taught it. PostgreSQL takes no NUL and no lone surrogate, and a text that holds one aborted the transaction that was to
record it. And libraries copy what they could not send into their exceptions: a token with a line end stood in a launch's reason and in
the log (`Illegal header value b'Token …'`).
"""

import json
import re
from collections.abc import Iterable

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f]")

STRUCK = "…"
"""Stands where a secret stood, and at the end of a text that was cut."""


def clean(text: str, secrets: Iterable[str] = (), limit: int = 2000) -> str:
    """A text that PostgreSQL can keep and anybody may read.

    NUL and lone surrogates become U+FFFD; other control characters go, but for tab and newline. Give it the whole text: what was cut
    before may end in half a secret, which nobody recognises.

    Args:
        text: What was said.
        secrets: Our own secrets that it may repeat, as they are or as a library shows them (escaped); empty ones are ignored.
        limit: Characters that are left at most.
    """
    shapes = sorted({shape for secret in secrets for shape in _shapes(secret)}, key=len, reverse=True)
    text = _CONTROL.sub("", _UNKEEPABLE.sub("\ufffd", _strike(text, shapes)))
    # Once more: without its control characters a text may spell what it did not before.
    text = _strike(text, shapes)
    return text if len(text) <= limit else text[: limit - 1] + STRUCK


def _strike(text: str, shapes: Iterable[str]) -> str:
    for shape in shapes:
        text = text.replace(shape, STRUCK)
    return text


def _shapes(secret: str) -> set[str]:
    """How a secret may stand in a text: as it is, without the blanks around it, or as JSON or Python shows it."""
    raw = secret.encode("utf-8", "surrogatepass")
    shapes = {secret, secret.strip(), json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(raw)[2:-1]}
    shapes |= {shape.replace("\\", "\\\\").replace("'", "\\'") for shape in shapes}
    return {shape for shape in shapes if shape.strip()}
