"""Values that grow on their way from template to template, until the controller that all share has no memory left. Pure.

`x: "{{inputs.parameters.x}}{{inputs.parameters.x}}"` doubles x with every call, and Argo lets templates call themselves a hundred times
deep (T4).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

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
    if doubling and _too_deep(edges):
        for call in doubling:
            yield (
                call.path,
                "passes its inputs more than once, and so do the calls around it: the value would grow without an end",
            )


def _too_deep(edges: Mapping[Path, Sequence[tuple[Path, bool]]]) -> bool:
    """Whether more doubling calls lie one inside of the other than are allowed. Each template is looked at as often as that at most."""
    best = dict.fromkeys(edges, 0)
    left = list(edges)
    while left:
        at = left.pop()
        for target, doubles in edges.get(at, ()):
            count = best[at] + doubles
            if count > MOST_DOUBLINGS:
                return True
            if count > best.get(target, -1):
                best[target] = count
                left.append(target)
    return False
