"""What Argo does to the text of a template before it runs: it fills in parameters and evaluates items and conditions.

No expression language: `{{=…}}`, and conditions that are more than one comparison of literals, are not simulated.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from argosy.errors import ArgosyError

Json = dict[str, Any]
Scope = Mapping[str, str]

_TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_WORD = r"""("[^"]*"|'[^']*'|[^\s"'<>=!]*)"""
_COMPARISON = re.compile(rf"\s*{_WORD}\s*(==|!=|<=|>=|<|>)\s*{_WORD}\s*")


class NotSimulated(ArgosyError):
    """The workflow needs something that is not simulated; it ends in phase Error."""


class InvalidSpec(ArgosyError):
    """Argo would refuse the workflow, too; it ends in phase Failed, message `invalid spec: …`."""


def substitute(document: Any, scope: Scope) -> Any:
    """A copy of a JSON document in whose strings every `{{name}}` that the scope knows is replaced."""
    text = orjson.dumps(document).decode()
    if "{{" not in text:
        return document
    return orjson.loads(_TAG.sub(lambda match: _replacement(match, scope), text))


def check_resolved(document: Any, where: str) -> None:
    """Raise for a `{{name}}` that nothing replaced."""
    if match := _TAG.search(orjson.dumps(document).decode()):
        raise NotSimulated(f"{where}: {match[0]}")


def text_of(value: Any) -> str:
    """A parameter's value as a string: YAML authors write numbers and booleans, too."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def inputs(template: Json, arguments: Json, where: str) -> dict[str, str]:
    """The values of a template's input parameters: from the arguments, or the template's own."""
    given = {item["name"]: item for item in arguments.get("parameters") or []}
    values = {}
    for parameter in template.get("inputs", {}).get("parameters") or []:
        name = parameter["name"]
        source = given.get(name, {})
        if "valueFrom" in source or ("valueFrom" in parameter and "value" not in source):
            raise NotSimulated(f"{where}: valueFrom of parameter {name}")
        value = source.get("value", parameter.get("value", parameter.get("default")))
        if value is None:
            raise InvalidSpec(f"{where} inputs.parameters.{name} was not supplied")
        values[name] = text_of(value)
    return values


def items_of(step: Json, where: str) -> list[Any] | None:
    """The items of `withItems` or `withParam`; None without either."""
    if "withSequence" in step:
        raise NotSimulated(f"{where}: withSequence")
    if "withItems" in step:
        return list(step["withItems"])
    if "withParam" not in step:
        return None
    try:
        found = orjson.loads(step["withParam"])
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list):
        raise NotSimulated(f"{where}: withParam {step['withParam']!r} is no literal list")
    return found


def expand(step: Json, where: str) -> list[Json]:
    """A step or task, once for each item; unchanged if there is no loop."""
    items = items_of(step, where)
    if items is None:
        return [step]
    body = {key: value for key, value in step.items() if key not in ("withItems", "withParam")}
    expanded = []
    for index, item in enumerate(items):
        scope = {"item": text_of(item)}
        description = scope["item"]
        if isinstance(item, dict):
            scope |= {f"item.{key}": text_of(value) for key, value in item.items()}
            description = ",".join(sorted(f"{key}:{text_of(value)}" for key, value in item.items()))
        elif isinstance(item, list):
            raise NotSimulated(f"{where}: a list as an item")
        name = f"{step['name']}({index}:{description.replace('(', '').replace(')', '')})"
        expanded.append(substitute(body, scope) | {"name": name})
    return expanded


def holds(when: str, where: str) -> bool:
    """Whether a `when` of literals is true."""
    if not when:
        return True
    if when.strip() in ("true", "false"):
        return when.strip() == "true"
    match = _COMPARISON.fullmatch(when)
    if match is None:
        raise NotSimulated(f"{where}: when {when!r}")
    left, operator, right = _literal(match[1]), match[2], _literal(match[3])
    if operator in ("==", "!="):
        return (left == right) == (operator == "==")
    if not isinstance(left, float) or not isinstance(right, float):
        raise NotSimulated(f"{where}: when {when!r}")
    order = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return order[operator]


def _literal(word: str) -> str | float:
    if word[:1] in "\"'" and word:
        return word[1:-1]
    try:
        return float(word)
    except ValueError:
        return word


def _replacement(match: re.Match[str], scope: Scope) -> str:
    name = match[1]
    if name.startswith("="):
        raise NotSimulated(f"expression {match[0]}")
    return orjson.dumps(scope[name]).decode()[1:-1] if name in scope else match[0]
