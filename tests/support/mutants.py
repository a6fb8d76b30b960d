"""Manifests with one or two mistakes, made from good ones by a seed: what an author's slip, or a bad copy, does."""

import copy
import random
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, Any]
"""A mapping or list, and the key or index of what is in it."""

_VALUES: list[Any] = [
    "", "x", "a b", "{{inputs.parameters.none}}", "{{workflow.nothing}}", "{{steps.none.outputs.result}}", "{{item}}", "5 GB", "-",
    0, -1, 7, 1.5, 99999999999, True, None, [], {}, ["a"], {"a": "b"},
]  # fmt: skip


def mutant(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """One manifest with a mistake or two."""
    made = copy.deepcopy(body)
    for _ in range(chance.choice((1, 1, 1, 2))):
        places = list(_places(made["spec"]))
        if places:
            chance.choice(_MISTAKES)(made, *chance.choice(places), chance)
    return made


def _places(value: Any) -> Iterator[Place]:
    for key, item in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _lose(_: Any, holder: Any, key: Any, chance: random.Random) -> None:
    del holder[key]


def _misspell(_: Any, holder: Any, key: Any, chance: random.Random) -> None:
    if isinstance(holder, dict) and len(key) > 2:
        at = chance.randrange(len(key) - 1)
        holder[key[:at] + key[at + 1] + key[at] + key[at + 2 :]] = holder.pop(key)


def _replace(_: Any, holder: Any, key: Any, chance: random.Random) -> None:
    holder[key] = copy.deepcopy(chance.choice(_VALUES))


def _twice(_: Any, holder: Any, key: Any, chance: random.Random) -> None:
    if isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(holder[key]))


def _rename(body: Any, holder: Any, key: Any, chance: random.Random) -> None:
    """Something has another name than those who speak of it think."""
    named = [(where, "name") for where, at in _places(body["spec"]) if at == "name" and isinstance(where, dict)]
    where, at = chance.choice(named or [(holder, key)])
    where[at] = f"{where[at]}{chance.choice(('2', '_2', '.2', ' 2'))}"


def _elsewhere(body: Any, holder: Any, key: Any, chance: random.Random) -> None:
    """A part stands in another place of the same kind."""
    places = [(where, at) for where, at in _places(body["spec"]) if type(where[at]) is type(holder[key])]
    where, at = chance.choice(places)
    where[at] = copy.deepcopy(holder[key])


def _added(body: Any, holder: Any, key: Any, chance: random.Random) -> None:
    """A field of another mapping stands in this one, too."""
    mappings = [where for where, _ in _places(body["spec"]) if isinstance(where, dict)]
    into, of = chance.choice(mappings), chance.choice(mappings)
    name = chance.choice(sorted(of))
    into.setdefault(name, copy.deepcopy(of[name]))


_MISTAKES = [_lose, _lose, _misspell, _replace, _replace, _twice, _rename, _elsewhere, _added]
