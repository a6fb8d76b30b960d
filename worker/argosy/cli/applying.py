"""`argosy apply`: an algorithm as a file says, whether it is registered already or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli import arguments, output
from argosy.cli.algorithms import findings_of, warn
from argosy.cli.boundary import UsageError
from argosy.cli.session import client
from argosy.errors import Conflict, NotFound

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.shown import AlgorithmShape

EXAMPLES = """Examples:

argosy algorithm get hello -o yaml > hello.algorithm.yaml

argosy apply hello.algorithm.yaml"""


def apply(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="YAML as `argosy algorithm get NAME -o yaml` prints it; - reads standard input.", metavar="FILE..."
        ),
    ],
) -> None:
    """Register algorithms as files say, or change those that are registered; what a file leaves out stays as it is."""
    from argosy.shapes.given import AlgorithmSpec
    from argosy.shapes.shown import AlgorithmShape

    shown_only = AlgorithmShape.model_fields.keys() - AlgorithmSpec.model_fields.keys()
    for file in files:
        given = arguments.mapping(file, "FILE")
        fields = {name: value for name, value in given.items() if name not in shown_only}
        name = fields.get("name")
        if not isinstance(name, str):
            raise UsageError(f"FILE: {file}: name: which algorithm? write name: NAME")
        with client() as opened, findings_of(str(file)):
            made, done = _put(opened, name, fields)
            warn(opened, made)
        output.note(f"algorithm {made.name} is {done}")


def _put(opened: Client, name: str, fields: dict[str, Any]) -> tuple[AlgorithmShape, str]:
    """Register or update; whoever else does the same at this moment is no hindrance."""
    try:
        before = opened.algorithm(name)
    except NotFound:
        try:
            return opened.register_algorithm(**fields), "registered"
        except Conflict:
            before = opened.algorithm(name)
    made = opened.update_algorithm(name, **fields)
    return made, "unchanged" if made.model_copy(update={"warnings": []}) == before else "changed"
