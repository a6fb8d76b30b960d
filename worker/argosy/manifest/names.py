"""Names in a manifest: their form, and that none is there twice; graphs of names that wait for each other. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from argosy.manifest.document import Path, shorten
from argosy.manifest.parts import items
from argosy.manifest.variables import Finding, ordered

NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")
ANY = re.compile(r".*", re.DOTALL)


def unique(path: Path, value: Any, form: re.Pattern[str], what: str, skip: Collection[str] = ()) -> Iterator[Finding]:
    """What is wrong with the names of the mappings of a list.

    Args:
        path: Where the list is.
        value: The list.
        form: What a name looks like.
        what: What they are names of, for the messages: "a template".
        skip: Names that may be there twice.
    """
    yield from unique_of(list(items(path, value)), form, what, skip)


def unique_of(
    found: list[tuple[Path, dict[str, Any]]], form: re.Pattern[str], what: str, skip: Collection[str] = ()
) -> Iterator[Finding]:
    """The same, of mappings with their paths."""
    seen: Counter[str] = Counter()
    for path, each in found:
        name = each.get("name")
        yield from _named(path, name, form, what)
        seen[str(name)] += 1
        if isinstance(name, str) and seen[name] > 1 and name not in skip:
            yield (*path, "name"), f'{what} named "{shorten(name)}" is there already'


def _named(path: Path, name: Any, form: re.Pattern[str], what: str) -> Iterator[Finding]:
    if name is None or name == "":
        yield path, '"name" is missing'
    elif isinstance(name, str) and not form.fullmatch(name):
        letters = 'letters, digits and "-"' if form is NAME else 'letters, digits, "-" and "_"'
        yield (*path, "name"), f'"{shorten(name)}": the name of {what} has {letters} only, at most 128'


def graph(graph: Mapping[str, list[str]], path: Path, names: Collection[Any]) -> Iterator[Finding]:
    """Who waits for a name that is not there, and who wait for each other.

    Args:
        graph: Each name, with the names that it waits for.
        path: Where a finding is.
        names: The names that are there.
    """
    for name, others in graph.items():
        for other in others:
            if other not in names:
                yield path, f'{shorten(name)} waits for "{shorten(other)}", which is not there'
    known = {name: [other for other in others if other in graph] for name, others in graph.items()}
    if circle := sorted(graph.keys() - set(ordered(known))):
        yield path, f"these wait for each other: {', '.join(map(shorten, circle[:5]))}"
