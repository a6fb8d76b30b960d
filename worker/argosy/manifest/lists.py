"""Lists that a loop takes from a parameter: what holds for a list in the manifest holds for one in a value, too. Pure.

Argo reads the value as JSON once it is filled in, and keeps a copy of the whole list for each of its items (T4).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from argosy.manifest.calls import calls, holders, templates, workflow_parameters
from argosy.manifest.checks import strange_items
from argosy.manifest.document import Document, Path, shorten

_FROM_A_PARAMETER = re.compile(r"\b(?:inputs|workflow)\b")


def loops_over_parameters(document: Document) -> bool:
    """Whether a loop takes its list from a parameter."""
    given = (holder.get("withParam") for template in templates(document) for _, holder in holders(template))
    return any(isinstance(each, str) and "{{" in each and _FROM_A_PARAMETER.search(each) for each in given)


def lists(document: Document) -> Iterator[tuple[Path, str]]:
    """The manifest's own values that are lists which may not be looped over, where a loop takes one from a parameter."""
    if not loops_over_parameters(document):
        return
    places: list[tuple[Path, Any]] = []
    for place, parameter in workflow_parameters(document):
        places.append(((*place, "value"), parameter.get("value")))
    for template in templates(document):
        for place, parameter in template.parameters():
            places += [((*place, key), parameter.get(key)) for key in ("value", "default")]
    for call in calls(document):
        places += (call.arguments or {}).values()
    for path, value in places:
        if why := _why(value):
            yield path, why


def strange_lists(document: Document, values: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The same of a launch's values, by the names of the parameters."""
    if loops_over_parameters(document):
        for name, value in values:
            if why := _why(value):
                yield f'parameter "{shorten(name)}": {why}'


def _why(value: Any) -> str:
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return ""
    try:
        return strange_items(orjson.loads(value))
    except orjson.JSONDecodeError:
        return ""
