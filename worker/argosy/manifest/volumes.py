"""Volumes that a manifest declares and no container mounts. Pure.

Some real manifests declare the node's Docker socket and never mount it. A volume that no container mounts is harmless, so it is left out,
with a warning, instead of refused.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from argosy.manifest.calls import templates
from argosy.manifest.checks import MEMORY_VOLUME, quantity_bytes
from argosy.manifest.document import Document, Path
from argosy.manifest.parts import items, mapping

_FROM_ELSEWHERE = {"podSpecPatch", "templateRef", "workflowTemplateRef"}
"""Fields that can add containers which are not in the manifest."""

_MOUNTS = {"volumeMounts", "volumeDevices"}


def unmounted(document: Document) -> list[Path]:
    """The paths of such volumes. None if only Argo can know what is mounted: the name in a mount is a parameter, or a patch or a template
    of the cluster may mount any volume."""
    names = set(_mounted(document.body))
    if any("{{" in name for name in names) or _has(document.body, _FROM_ELSEWHERE):
        return []
    return [path for path, name in _declared(document) if name not in names]


def drop(document: Document) -> None:
    """Remove them from the document."""
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


def _declared(document: Document) -> Iterator[tuple[Path, str]]:
    spec: Path = ("spec",)
    holders = [(spec, document.spec), ((*spec, "templateDefaults"), mapping(document.spec.get("templateDefaults")))]
    holders += [(template.path, template.body) for template in templates(document)]
    for path, holder in holders:
        for place, volume in items((*path, "volumes"), holder.get("volumes")):
            yield place, str(volume.get("name"))


def _has(value: Any, fields: Collection[str]) -> bool:
    return any(key in fields or _has(item, fields) for key, item in _items(value))


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def memory_of_pods(document: Document) -> Iterator[tuple[Path, str]]:
    """Templates whose pods would have more volumes in memory than one may: the workflow's, the defaults' and their own together."""
    shared = _in_memory(document.spec) + _in_memory(mapping(document.spec.get("templateDefaults")))
    for template in templates(document):
        if shared + _in_memory(template.body) > MEMORY_VOLUME:
            yield template.path, f"the volumes in memory of its pods may have {MEMORY_VOLUME >> 30}Gi together"


def _in_memory(holder: Mapping[str, Any]) -> float:
    found = [mapping(volume.get("emptyDir")) for _, volume in items((), holder.get("volumes"))]
    return sum(quantity_bytes(each.get("sizeLimit")) or 0 for each in found if each.get("medium"))
