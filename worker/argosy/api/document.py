"""The OpenAPI document that clients read.

The newest published client makes its methods from it, with assumptions that a usual document breaks: under a path it takes everything for
a method, a body must be a plain reference whose name becomes the argument's, and operation ids are split at capital letters. It reads
the document with a slow YAML parser, so what no client needs is left out. A golden file in the tests shows every change.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha256
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

_LEFT_OUT = {"title", "tags", "summary"}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application."""
    found: dict[str, Any] = get_openapi(
        title="argosy", version="1", openapi_version="3.0.3", routes=app.routes, separate_input_output_schemas=False
    )
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for item in found["paths"].values():
        for operation in item.values():
            operation["responses"].pop("422", None)
            operation["security"] = [{"TokenAuth": []}]
    found["components"]["securitySchemes"] = {
        "TokenAuth": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token …"}
    }
    found["components"]["responses"] = _errors_once(found["paths"])
    slim: dict[str, Any] = _slim(found)
    slim["info"] = {"title": "argosy", "version": "1"}
    return slim


def _errors_once(paths: dict[str, Any]) -> dict[str, Any]:
    """Have each operation refer to its error responses, which are the same for all. Returns them by their names."""
    errors: dict[str, Any] = {}
    for item in paths.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                name = f"E{status}"
                if status >= "400" and errors.setdefault(name, response) == response:
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return errors


def _slim(value: Any, names: bool = False) -> Any:
    """Without titles and the like, and in the words of OpenAPI 3.0; `names` says that the keys are names and no words of the document."""
    if isinstance(value, list):
        return [_slim(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {
        key: _slim(item, key in ("properties", "schemas", "paths", "responses") and not names)
        for key, item in value.items()
        if names or key not in _LEFT_OUT
    }
    return found if names else _nullable(_bounded(found))


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """A bound that is not reached is a flag in OpenAPI 3.0."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), int | float) and not isinstance(schema[exclusive], bool):
            schema |= {bound: schema[exclusive], exclusive: True}
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` with null is `nullable` in OpenAPI 3.0."""
    options = schema.get("anyOf")
    if not isinstance(options, list) or {"type": "null"} not in options:
        return schema
    others = [option for option in options if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(others) != 1:
        return rest | ({"anyOf": others} if others else {}) | {"nullable": True}
    return rest | ({"allOf": others} if "$ref" in others[0] else others[0]) | {"nullable": True}


def route(app: FastAPI) -> Callable[[Request], Awaitable[Response]]:
    """The route that answers with the document, to everybody: the client reads it before it has a token to send."""

    @cache
    def body() -> tuple[bytes, str]:
        text = orjson.dumps(document(app))
        return text, f'"{sha256(text).hexdigest()[:32]}"'

    async def schema(request: Request) -> Response:
        text, tag = body()
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(text, media_type="application/json", headers=headers)

    return schema
