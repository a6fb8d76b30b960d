"""Names of fields that differ from Argo's only in upper and lower case. Pure.

Go reads `SecondsAfterSuccess` as `secondsAfterSuccess`, so manifests with such names work in Tator. The cluster itself removes or refuses
such fields, so argosy corrects them, with a warning.
"""

from collections.abc import Iterator
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.document import MAX_FINDINGS, Document, Path, as_argo_reads, spell
from argosy.manifest.schema import definitions, type_of


def respell(document: Document) -> list[ManifestError]:
    """Correct them in the document.

    Returns:
        A warning for each, up to `MAX_FINDINGS`.
    """
    found = list(_respelled("Workflow", document.body, ()))
    if found:
        as_argo_reads(document.body)  # again, because it depends on the names
    return [document.error(path, f"{spell(path)}: read as {name}", warning=True) for path, name in found[:MAX_FINDINGS]]


def _respelled(kind: str, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if kind.startswith("["):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _respelled(kind[1:-1], item, (*path, index))
    elif kind.startswith("{"):
        for key, item in value.items() if isinstance(value, dict) else ():
            yield from _respelled(kind[1:-1], item, (*path, key))
    elif isinstance(value, dict):
        fields = definitions().get(kind, {}).get("properties", {})
        right = {name.lower(): name for name in fields}
        for given in list(value):
            name = given if given in fields else right.get(given.lower(), given)
            if name != given and name not in value:
                yield (*path, given), name
                value[name] = value.pop(given)
            if name in fields and name in value:
                yield from _respelled(type_of(kind, name), value[name], (*path, name))
