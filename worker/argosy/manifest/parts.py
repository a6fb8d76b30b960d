"""Reading parts of a manifest whose type may be wrong: values of another type are skipped, because the schema check reports them. Pure."""

from collections.abc import Iterator
from typing import Any

from argosy.manifest.document import Path


def items(path: Path, value: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The mappings of a list, with their paths."""
    for index, item in enumerate(listed(value)):
        if isinstance(item, dict):
            yield (*path, index), item


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def strings(value: Any) -> list[str]:
    """The texts of a list."""
    return [each for each in listed(value) if isinstance(each, str)]
