"""Whether a cluster's policy allows a manifest: compares every field, by its type, with the table in policy.py. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.checks import RESTRICTED, TRUSTED, ValuePath
from argosy.manifest.document import Document, Path, spell
from argosy.manifest.expressions import Use, refused, use_of
from argosy.manifest.growth import growing
from argosy.manifest.lists import lists
from argosy.manifest.policy import NEVER, OPEN, TABLE, TypePolicy
from argosy.manifest.schema import definitions, type_of
from argosy.manifest.volumes import memory_of_pods, unmounted
from argosy.shapes.given import PROFILES, Policy

_NOTHING = TypePolicy({})


def check_policy(document: Document, policy: Policy, cluster: str = "") -> Iterator[ManifestError]:
    """Find everything in a manifest that a cluster's policy does not allow. Fields that Argo's schema does not know are skipped: the schema
    check reports them.

    Args:
        document: The manifest.
        policy: The cluster's policy.
        cluster: Its name, for the findings.
    """
    spec, dropped = document.body.get("spec"), set(unmounted(document))
    if isinstance(spec, dict):
        if policy.profile != TRUSTED:
            for path, problem in growing(document):
                yield document.error(path, f"{spell(path)}: {problem}")
            for path, problem in memory_of_pods(document) if policy.profile == RESTRICTED else ():
                yield document.error(path, f"{spell(path)}: {problem}")
            for path, problem in lists(document):
                yield document.error(path, f"{spell(path)}: {problem}")
        place = ValuePath(policy, cluster, (), {}, spec, any(_exit_handlers(spec)))
        for path, problem in _walk("Workflow", document.body, place):
            if not any(path[:end] in dropped for end in range(len(path) + 1)):
                yield document.error(path, f"{spell(path)}: {problem}")


def _exit_handlers(value: Any) -> Iterator[bool]:
    """True for each handler that runs on after a deadline."""
    for key, item in _parts(value):
        if key in ("onExit", "hooks"):
            yield True
        yield from _exit_handlers(item)


def _walk(kind: str, value: Any, at: ValuePath, use: Use = Use.OTHER) -> Iterator[tuple[Path, str]]:
    """Check a value that has a type of the schema, and the values inside it; `use` is what becomes of it if it is a text."""
    if kind.startswith("["):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _walk(kind[1:-1], item, _below(at, index, at.holder), use)
        return
    if kind.startswith("{"):
        for key, item in value.items() if isinstance(value, dict) else ():
            if "{{" in key:
                yield (*at.path, key), "a key is literal: Argo would fill it in after it was checked"
            elif why := refused(key, (*at.path, key), at.policy.profile):
                yield (*at.path, key), why
            yield from _walk(kind[1:-1], item, _below(at, key, value), use)
        return
    if kind in OPEN:
        yield from _texts(value, at)
        return
    if not isinstance(value, dict):
        if why := refused(value, at.path, at.policy.profile, use):
            yield at.path, why
        return
    row = TABLE.get(kind, _NOTHING)
    for name, item in value.items():
        there = _below(at, name, value)
        if name in row.ignored or name not in definitions().get(kind, {}).get("properties", {}):
            continue
        level = row.levels.get(name, NEVER)
        harmless = item is False or item in (0, "", [])
        if not harmless and (level == NEVER or PROFILES.index(at.policy.profile) < PROFILES.index(level)):
            yield there.path, _needs(level, at)
            continue
        if name in row.checks and (why := row.checks[name](item, there)):
            yield there.path, why
            continue
        if name in row.each:
            for step, part in _parts(item):
                if why := row.each[name](part, _below(there, step, value)):
                    yield (*there.path, step), why
        yield from _walk(type_of(kind, name), item, there, use_of(kind, name))


def _parts(value: Any) -> Iterable[tuple[str | int, Any]]:
    """Items of a list, or keys of a mapping with their values."""
    if isinstance(value, list):
        return enumerate(value)
    return value.items() if isinstance(value, dict) else ()


def _texts(value: Any, at: ValuePath) -> Iterator[tuple[Path, str]]:
    """Check the texts in a value whose type has no list of fields."""
    if isinstance(value, list | dict):
        for step, item in _parts(value):
            there = _below(at, step, at.holder)
            if why := refused(step, there.path, at.policy.profile):
                yield there.path, why
            yield from _texts(item, there)
    elif why := refused(value, at.path, at.policy.profile):
        yield at.path, why


def _below(at: ValuePath, step: str | int, holder: Mapping[str, Any]) -> ValuePath:
    return replace(at, path=(*at.path, step), holder=holder)


def _needs(level: str, at: ValuePath) -> str:
    if level == NEVER:
        return "not allowed on any cluster"
    of = f" of cluster {at.cluster}" if at.cluster else ""
    return f"not allowed by profile {at.policy.profile}{of}; the cluster's owner may allow it with profile {level}"
