"""Volumes that a manifest declares and no container mounts. Pure.

Real manifests declare the node's Docker socket and never mount it. What nobody mounts can hurt nobody: it is left out, with a warning,
and not refused.
"""

from collections.abc import Collection, Iterator
from typing import Any

from argosy.manifest.document import Document, Path

_FROM_ELSEWHERE = {"podSpecPatch", "templateRef", "workflowTemplateRef"}
"""Fields by which containers come in that the manifest does not show."""

_MOUNTS = {"volumeMounts", "volumeDevices"}


def unmounted(document: Document) -> list[Path]:
    """The paths of such volumes; none where only Argo can tell, because a mount's name is a parameter, or a patch or a
    template of the cluster may mount any."""
    names = set(_mounted(document.body))
    if any("{{" in name for name in names) or _has(document.body, _FROM_ELSEWHERE):
        return []
    return [path for path, name in _declared(("spec",), document.body.get("spec")) if name not in names]


def drop(document: Document) -> None:
    """Leave them out of the document."""
    for *holder, index in reversed(unmounted(document)):
        there: Any = document.body
        for step in holder:
            there = there[step]
        del there[index]


def _mounted(value: Any) -> Iterator[str]:
    for key, item in _items(value):
        if key in _MOUNTS and isinstance(item, list):
            yield from (str(mount.get("name")) for mount in item if isinstance(mount, dict))
        else:
            yield from _mounted(item)


def _declared(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    for key, item in _items(value):
        if key == "volumes" and isinstance(item, list):
            yield from (
                ((*path, key, index), str(volume.get("name")))
                for index, volume in enumerate(item)
                if isinstance(volume, dict)
            )
        else:
            yield from _declared((*path, key), item)


def _has(value: Any, fields: Collection[str]) -> bool:
    return any(key in fields or _has(item, fields) for key, item in _items(value))


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)
