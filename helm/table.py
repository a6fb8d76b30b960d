"""The table of values in the chart's README, out of its schema and its defaults: `python -m helm.table` writes it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "argosy"
README = CHART / "README.md"
_HEAD = "| value | default | what it is |\n|---|---|---|\n"


def rows() -> list[str]:
    """One line for each value that can be set, in the schema's order."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return [
        f"| `{path}` | {default} | {what} |".replace("|  |", "| |")
        for path, default, what in _leaves(schema, schema, defaults, "")
    ]


def _leaves(schema: dict[str, Any], part: dict[str, Any], default: Any, path: str) -> Iterator[tuple[str, str, str]]:
    for name, inner in part["properties"].items():
        given = default.get(name) if isinstance(default, dict) else None
        of_kubernetes = "$ref" in inner
        if of_kubernetes:
            inner = schema["definitions"][inner["$ref"].rpartition("/")[2]]
        if "properties" in inner and not of_kubernetes:
            yield from _leaves(schema, inner, given, f"{path}{name}.")
        elif name != "global":
            yield f"{path}{name}", "" if given is None else f"`{json.dumps(given)}`", inner["description"]


def written() -> str:
    """The README with the table as it must be."""
    before, _, rest = README.read_text().partition(_HEAD)
    after = rest[rest.index("\n\n") :]
    return before + _HEAD + "\n".join(rows()) + after


if __name__ == "__main__":
    README.write_text(written())
