"""Values that grow from call to call until the controller, which all tenants share, has no memory left. Pure.

`x: "{{inputs.parameters.x}}{{inputs.parameters.x}}"` doubles x with every call, and Argo lets templates call themselves a hundred times
deep (T4). What is followed is how often a text holds what its template was given: passed on by a call, gathered from items, or handed back
by a template that only calls others. What a container puts out is bounded by Argo and begins anew.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from argosy.manifest.calls import Call, Template, calls, templates
from argosy.manifest.document import Document, Path
from argosy.manifest.parts import mapping
from argosy.manifest.texts import tags, texts
from argosy.manifest.variables import LEAVES, outputs

MOST_TAGS = 100
"""The most variables in one text."""

MOST_OF_A_POD = 1000
"""Variables of one template of a pod."""

MOST_DOUBLINGS = 8
"""How often a value may have been doubled by calls, one inside of the other."""

_ALL = 16
"""What a text that takes all inputs at once is counted as."""

_WORD = re.compile(r"\b(?:inputs|steps|tasks|item|workflow)\b")
_GLOBAL = re.compile(r"\bworkflow\s*\??\.\s*outputs\b")
_WHOLE = re.compile(r"\binputs\s*(?:\Z|[^\s.?\w])|\binputs\s*\??\.\s*parameters\s*(?:\Z|[^\s.?\[\w])")


def growing(document: Document) -> Iterator[tuple[Path, str]]:
    """The calls with which a value would have been multiplied too often."""
    found = list(calls(document))
    back = _hand_back(document, found)
    global_ = any(
        "globalName" in each for template in templates(document) if template.path in back for each in outputs(template)
    )
    own = {template.path: _level(_defaults(template)) for template in templates(document)}
    edges: dict[Path, list[tuple[Path, int]]] = defaultdict(list)
    doubling: list[Call] = []
    for call in found:
        if call.target is None:
            continue
        level = _level(_passed(document, call)) + own.get(call.target, 0)
        if global_ and level and any(_GLOBAL.search(str(value)) for _, value in (call.arguments or {}).values()):
            level = MOST_DOUBLINGS + 1  # whatever was made of it comes back by its global name
        edges[call.caller].append((call.target, level))
        if call.target in back:
            edges[call.target].append((call.caller, back[call.target]))
        if level or back.get(call.target):
            doubling.append(call)
    for template in templates(document):
        if (
            LEAVES & template.body.keys()
            and sum(text.count("{{") for _, text in texts((), template.body)) > MOST_OF_A_POD
        ):
            yield (
                template.path,
                f"has more than {MOST_OF_A_POD} variables; hand them on as a file, or as one variable of JSON",
            )
    if doubling and _too_deep(edges):
        for call in doubling:
            yield (
                call.path,
                "passes its inputs more than once, and so do the calls around it: the value would grow without limit",
            )


def _passed(document: Document, call: Call) -> int:
    """How often the longest of a call's values may hold what the caller was given."""
    holder: Any = document.body
    for step in call.path:
        holder = holder[step]
    lists = (
        {name: holder.get(name) for name in ("withItems", "withParam", "withSequence")}
        if isinstance(holder, dict)
        else {}
    )
    of_items = max((_count(text) for _, text in texts((), lists)), default=0)
    values = [str(value) for _, value in (call.arguments or {}).values()]
    return max((_count(value) * (max(of_items, 1) if "item" in value else 1) for value in values), default=0)


def _defaults(template: Template) -> int:
    """How often the values that a template gives its own inputs may hold what its caller was given: those of an inline one are filled in
    together with the call."""
    given = [parameter.get(key) for _, parameter in template.parameters() for key in ("value", "default")]
    return max((_count(value) for value in given if isinstance(value, str)), default=0)


def _hand_back(document: Document, found: Sequence[Call]) -> dict[Path, int]:
    """The templates whose outputs hold what they were given, and how often it was doubled."""
    made = {template.path: _outputs(template) for template in templates(document)}
    direct = {path for path, given in made.items() if any("inputs" in text or "workflow" in text for text in given)}
    callers: dict[Path, set[Path]] = defaultdict(set)
    for call in found:
        if call.target is not None and any(_WORD.search(text) for text in made.get(call.caller, ())):
            callers[call.target].add(call.caller)
    left = list(direct)
    while left:
        for caller in callers[left.pop()] - direct:
            direct.add(caller)
            left.append(caller)
    return {path: _level(max(map(_count, made[path]))) for path in direct if made[path]}


def _outputs(template: Template) -> list[str]:
    """The texts that a template's output parameters are made of; the name of a variable and an expression as one in braces."""
    given = mapping(template.body.get("outputs")).get("parameters")
    found = [(path[-1], text) for path, text in texts((), given)]
    return [text if key == "value" else f"{{{{={text}}}}}" for key, text in found if key in _MADE_OF]


_NUMBER = re.compile(r"\b(?:asInt|asFloat|int|float|len)\([^()]*\)")
"""What is a number is no longer for being made of a long text."""

_MADE_OF = ("value", "parameter", "expression")


def _count(text: str) -> int:
    """How many variables a text holds that what a template was given may stand for."""
    return sum(_in_tag(tag[2:-2].strip()) for _, tag in tags(text))


def _in_tag(inside: str) -> int:
    words = len(_WORD.findall(_NUMBER.sub("0", inside)))
    if _WHOLE.search(inside):
        return _ALL * words
    return words if inside.startswith("=") else min(words, 1)


def _level(times: int) -> int:
    """How often something that is there so many times was doubled."""
    return max(times - 1, 0).bit_length()


def _too_deep(edges: Mapping[Path, Sequence[tuple[Path, int]]]) -> bool:
    """Whether calls that lie one inside of the other double a value more often than is allowed. Each template is looked at as often as
    that at most."""
    best = dict.fromkeys(edges, 0)
    left = list(edges)
    while left:
        at = left.pop()
        for target, level in edges.get(at, ()):
            count = best[at] + level
            if count > MOST_DOUBLINGS:
                return True
            if count > best.get(target, -1):
                best[target] = count
                left.append(target)
    return False
