"""Values that grow on their way from template to template, until the controller that all share has no memory left. Pure.

`x: "{{inputs.parameters.x}}{{inputs.parameters.x}}"` doubles x with every call, and Argo lets templates call themselves a hundred times
deep (T4).
"""

import re
from collections import defaultdict
from collections.abc import Iterator

from argosy.manifest.calls import Call, calls
from argosy.manifest.document import Document, Path

MOST_TAGS = 100
"""Variables of one text."""

MOST_DOUBLINGS = 4
"""Calls, one inside of the other, that pass a value which holds the caller's inputs more than once."""

_INPUT = re.compile(r"\{\{\s*=?\s*inputs\.parameters")


def growing(document: Document) -> Iterator[tuple[Path, str]]:
    """The calls with which a value would have been multiplied too often."""
    edges: dict[Path, list[tuple[Path, bool]]] = defaultdict(list)
    doubling: list[Call] = []
    for call in calls(document):
        doubles = any(len(_INPUT.findall(str(value))) > 1 for _, value in (call.arguments or {}).values())
        if call.target is not None:
            edges[call.caller].append((call.target, doubles))
        if doubles:
            doubling.append(call)
    for call in doubling:
        if _deepest(edges, call.caller) > MOST_DOUBLINGS:
            yield (
                call.path,
                "passes its inputs more than once, and so do the calls around it: the value would grow without an end",
            )


def _deepest(edges: dict[Path, list[tuple[Path, bool]]], start: Path) -> int:
    """How many doubling calls lie one inside of the other from a template on, counted to one more than is allowed."""
    best = {start: 0}
    left = [start]
    while left:
        at = left.pop()
        for target, doubles in edges[at]:
            count = best[at] + doubles
            if count > best.get(target, -1):
                best[target] = count
                left.append(target)
                if count > MOST_DOUBLINGS:
                    return count
    return max(best.values())
