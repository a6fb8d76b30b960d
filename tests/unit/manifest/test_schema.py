"""The packaged schema is whole and closed."""

from functools import cache
from importlib import resources
from typing import Any

import orjson
from jsonschema_rs import meta


@cache
def definitions() -> dict[str, Any]:
    text = resources.files("argosy.manifest").joinpath("workflow.schema.json").read_bytes()
    assert len(text) < 400_000
    schema: dict[str, Any] = orjson.loads(text)
    meta.validate(schema)
    found: dict[str, Any] = schema["definitions"]
    return found


def test_every_object_with_fields_is_closed() -> None:
    assert [
        name
        for name, schema in definitions().items()
        if "properties" in schema and schema.get("additionalProperties") is not False
    ] == []


def test_only_what_argo_leaves_open_is_open() -> None:
    objects = {name for name, schema in definitions().items() if schema.get("type", "object") == "object"}
    assert {name for name in objects if "properties" not in definitions()[name]} == {"Item", "Plugin", "k8s.FieldsV1"}


def test_every_reference_is_defined() -> None:
    known = definitions()

    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(references, node))
        if not isinstance(node, dict):
            return set()
        own = {node["$ref"].removeprefix("#/definitions/")} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))

    assert references(known) <= known.keys()
