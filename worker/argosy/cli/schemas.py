"""`argosy schema`: the contracts with other programs, as JSON Schema."""

from __future__ import annotations

import sys
from typing import Any

import typer

app = typer.Typer(help="Print the contracts with other programs, as JSON Schema.", no_args_is_help=True)


@app.callback()
def schema() -> None:
    """Print the contracts with other programs, as JSON Schema."""


@app.command()
def launch() -> None:
    """The launch message on queue `launch`: its keyword arguments."""
    import orjson

    sys.stdout.write(orjson.dumps(launch_schema(), option=orjson.OPT_INDENT_2).decode() + "\n")


def launch_schema() -> dict[str, Any]:
    """The schema of a launch message."""
    from argosy.shapes.given import LaunchRequest

    found = LaunchRequest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "argosy:launch:1", **found}
