"""The texts of a manifest, and the `{{…}}` in them. Pure."""

from collections.abc import Iterator
from typing import Any

from argosy.manifest.document import Path


def tags(text: str) -> Iterator[tuple[int, str]]:
    """The `{{…}}` of a text as Argo's template engine finds them, with their offsets."""
    start = text.find("{{")
    while start >= 0 and (end := text.find("}}", start + 2)) >= 0:
        yield start, text[start : end + 2]
        start = text.find("{{", end + 2)


def texts(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    """Every text in a value, with its path; including the keys of mappings."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts((*path, index), item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from texts((*path, key), item)
