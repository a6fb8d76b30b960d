"""Checks a manifest against Argo's own schema of a Workflow.

Argo ignores a field that it does not know (or, with its full CRD, the apiserver removes it), so with a misspelt `conatiner` a job does
nothing. The schema here is Argo's, but it allows no unknown fields: each one is a finding, with its line and the name that was probably
meant. `clusters/local/schema.py` makes the schema from a release of Argo.
"""

import copy
import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from argosy.errors import ManifestError
from argosy.manifest.document import Document, Path, shorten, spell


def schema_errors(document: Document) -> Iterator[ManifestError]:
    """Find where a manifest differs from Argo's schema. Its kind and version were checked before, and its status does not matter."""
    body = _body(document)
    if isinstance(spec := document.body.get("spec"), dict):
        old = spec.get("ttlSecondsAfterFinished", 0)
        if isinstance(old, bool) or not isinstance(old, int):
            path: Path = ("spec", "ttlSecondsAfterFinished")
            yield document.error(path, f"{spell(path)}: must be an integer, not {_shown(old)}")
        elif not 0 <= old < 1 << 31:
            path = ("spec", "ttlSecondsAfterFinished")
            yield document.error(path, f"{spell(path)}: {_shown(old)} is beyond the limit {(1 << 31) - 1}")
    for error in _validator().iter_errors(body):
        yield from _findings(document, error)


def well_formed(document: Document) -> Document | None:
    """A manifest in which everything is of the type that Argo's schema says, and nothing is missing that it requires, so that who looks
    further can rely on that. Numbers and the like that stand for texts are texts in it, because their authors forget the quotes. None where
    more is wrong than that. Fields that the schema does not know, and values that it does not allow, do not matter.
    """
    wrong = [error for error in _validator().iter_errors(_body(document)) if isinstance(error.kind, _OF_ANOTHER_TYPE)]
    if not wrong:
        return document
    if not all(_is_unquoted(error) for error in wrong):
        return None
    body = copy.deepcopy(document.body)
    for error in wrong:
        *steps, last = error.instance_path
        holder: Any = body
        for step in steps:
            holder = holder[step]
        holder[last] = str(error.instance)
    return replace(document, body=body)


_OF_ANOTHER_TYPE = (Kind.Type, Kind.Required)


def _is_unquoted(error: ValidationError) -> bool:
    return (
        isinstance(error.kind, Kind.Type) and "string" in error.kind.types and isinstance(error.instance, int | float)
    )


def _body(document: Document) -> dict[str, Any]:
    body = {key: value for key, value in document.body.items() if key not in {"apiVersion", "kind", "status"}}
    if isinstance(spec := body.get("spec"), dict):
        body["spec"] = {key: value for key, value in spec.items() if key != "ttlSecondsAfterFinished"}
    return body


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = orjson.loads(resources.files(__package__).joinpath("workflow.schema.json").read_bytes())
    return schema


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(_schema())


def definitions() -> dict[str, Any]:
    """Argo's types by name, with their fields under `properties`."""
    types: dict[str, Any] = _schema()["definitions"]
    return types


@cache
def type_of(kind: str, name: str) -> str:
    """The type of a field: a definition's name, `[…]` for a list of such, `{…}` for a mapping to such, empty for a scalar."""
    return _type(definitions()[kind]["properties"][name])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = definitions()[name]
        return _type(found) if found.get("type") == "array" else name
    if schema.get("type") == "array":
        return f"[{_type(schema['items'])}]"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"{{{_type(schema['additionalProperties'])}}}"
    return ""


def _findings(document: Document, error: ValidationError) -> Iterator[ManifestError]:
    path: Path = tuple(error.instance_path)
    match error.kind:
        case Kind.AdditionalProperties(unexpected=names):
            known = _known(error.schema_path)
            for name in sorted(names):
                close = difflib.get_close_matches(name, known, 1)
                hint = f'; did you mean "{close[0]}"?' if close else ""
                yield document.error((*path, name), f"{spell((*path, name))}: unknown field{hint}")
            return
        case Kind.Required(property=name):
            problem = f'"{name}" is missing'
        case Kind.Type(types=types):
            quotes = ": put it in quotes" if "string" in types and isinstance(error.instance, int | float) else ""
            problem = f"must be {' or '.join(types)}, not {_shown(error.instance)}{quotes}"
        case Kind.Minimum(limit=limit) | Kind.Maximum(limit=limit):
            problem = f"{_shown(error.instance)} is beyond the limit {limit}"
        case Kind.Enum(options=options):
            problem = f"{_shown(error.instance)} is not one of {', '.join(map(_shown, options))}"
        case Kind.Pattern():
            problem = f"{_shown(error.instance)} is not a quantity such as 500m, 2 or 1.5Gi{_unit(error.instance)}"
        case _:
            problem = f"{_shown(error.instance)} is not allowed here"
    yield document.error(path, f"{spell(path)}: {problem}")


def _unit(quantity: Any) -> str:
    """What somebody meant who wrote bytes as people do."""
    meant = _AS_PEOPLE_WRITE.fullmatch(str(quantity))
    if meant is None:
        return ""
    number, unit = meant[1], meant[2].upper()
    return f"; write {number}{unit}i, or {number}{'k' if unit == 'K' else unit}"


_AS_PEOPLE_WRITE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([kKmMgGtT])i?[bB]")


def _known(schema_path: Sequence[str | int]) -> Collection[str]:
    """The fields of the type in which an unknown one was found."""
    kind = schema_path[-2]
    fields: dict[str, Any] = definitions().get(str(kind), {}).get("properties", {})
    return fields


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return shorten(orjson.dumps(value).decode())
