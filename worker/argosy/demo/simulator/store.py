"""The objects, their history, and the rules of a kube-apiserver for changing them.

Every change gets the next revision of one counter and is remembered, as in etcd: a list names the revision that it shows, a watch continues
from there, and a request for compacted revisions is answered with 410. Objects are never changed in place: a new version replaces the old
one, so the history and the snapshots for paged lists only need references.
"""

import asyncio
import datetime
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from argosy.demo.simulator import statuses
from argosy.demo.simulator.statuses import WORKFLOWS, Object, Resource

HISTORY = 5000
"""The least number of changes that are remembered."""

_SNAPSHOTS = 64
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEPT = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the history: `ADDED`, `MODIFIED` or `DELETED`."""

    revision: int
    resource: Resource
    type: str
    object: Object
    previous: Object | None


class Store:
    """All objects of the one namespace.

    Args:
        namespace: Its name.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.revision = 1
        self.compacted = 1
        self.closed = False
        self._objects: dict[Resource, dict[str, Object]] = {}
        self._history: list[Change] = []
        self._snapshots: OrderedDict[tuple[Resource, int], list[Object]] = OrderedDict()
        self._waiting: set[asyncio.Event] = set()

    def get(self, resource: Resource, name: str) -> Object:
        """One object.

        Raises:
            StatusError: 404.
        """
        try:
            return self._objects[resource][name]
        except KeyError:
            raise statuses.not_found(resource, name) from None

    def find(self, resource: Resource, name: str) -> Object | None:
        """One object, or None."""
        return self._objects.get(resource, {}).get(name)

    def all(self, resource: Resource) -> list[Object]:
        """All objects of a kind in the order of their names."""
        objects = self._objects.get(resource, {})
        return [objects[name] for name in sorted(objects)]

    def snapshot(self, resource: Resource, revision: int) -> list[Object]:
        """All objects as they were at a revision that `keep_snapshot` was called for.

        Raises:
            StatusError: 410.
        """
        if revision == self.revision:
            return self.all(resource)
        try:
            if revision < self.compacted:
                raise KeyError
            return self._snapshots[resource, revision]
        except KeyError:
            raise statuses.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter."
            ) from None

    def keep_snapshot(self, resource: Resource, revision: int, objects: list[Object]) -> None:
        """Remember the objects of a list's first page for its next pages."""
        self._snapshots[resource, revision] = objects
        if len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)

    def create(self, resource: Resource, body: Object) -> Object:
        """Add an object.

        Raises:
            StatusError: 409 AlreadyExists, 400 or 422.
        """
        metadata = body["metadata"]
        name = _valid_metadata(resource, metadata)
        if name in self._objects.get(resource, {}):
            raise statuses.already_exists(resource, name)
        dropped = ("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink")
        metadata = {key: value for key, value in metadata.items() if key not in dropped and value is not None}
        metadata |= {"namespace": self.namespace, "uid": str(uuid4()), "creationTimestamp": now()}
        if resource is WORKFLOWS:
            metadata["generation"] = 1
        return self._write(resource, body | {"metadata": metadata}, None)

    def replace(self, resource: Resource, new: Object) -> Object:
        """Replace an object by a new version. If it is being deleted and has no finalizer any more, it is removed.

        Returns:
            The stored version; the old one if nothing changed.

        Raises:
            StatusError: 404, 409 Conflict, 400 or 422.
        """
        name = new["metadata"].get("name", "")
        old = self.get(resource, name)
        _valid_update(resource, old, new)
        was = old["metadata"]
        kept = {key: was[key] for key in _KEPT if key in was} | {"resourceVersion": was["resourceVersion"]}
        metadata = {key: value for key, value in new["metadata"].items() if key not in _KEPT and value not in ([], {})}
        metadata |= kept
        if "generation" in was:
            metadata["generation"] = was["generation"]
        new = new | {"metadata": metadata}
        if new == old:
            return old
        if "generation" in was and any(new.get(key) != old.get(key) for key in {*new, *old} - {"metadata"}):
            metadata["generation"] += 1
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(resource, old)
            return new
        return self._write(resource, new, old)

    def delete(self, resource: Resource, name: str, uid: str | None = None) -> Object | None:
        """Delete an object, or mark it as being deleted while it has finalizers.

        Args:
            resource: Its kind.
            name: Its name.
            uid: The precondition.

        Returns:
            The object if finalizers keep it; None if it is gone.

        Raises:
            StatusError: 404 or 409 Conflict.
        """
        old = self.get(resource, name)
        metadata = old["metadata"]
        if uid not in (None, metadata["uid"]):
            raise statuses.other_uid(resource, name, str(uid), metadata["uid"])
        if not metadata.get("finalizers"):
            self._remove(resource, old)
            return None
        if "deletionTimestamp" in metadata:
            return old
        metadata = metadata | {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
        if "generation" in metadata:
            metadata["generation"] += 1
        return self._write(resource, old | {"metadata": metadata}, old)

    def since(self, revision: int) -> Iterable[Change]:
        """The changes after a revision.

        Raises:
            StatusError: 410.
        """
        if revision < self.compacted:
            raise statuses.expired(f"too old resource version: {revision} ({self.compacted})")
        return self._history[revision - self.compacted :]

    def compact(self) -> None:
        """Forget the history up to now, as etcd's compaction does."""
        self._history.clear()
        self._snapshots.clear()
        self.compacted = self.revision

    def subscribe(self) -> asyncio.Event:
        """An event that is set at every change and at the end. Pass it to `unsubscribe` when it is no longer needed."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """End a subscription."""
        self._waiting.discard(event)

    def close(self) -> None:
        """Wake all subscribers for the last time."""
        self.closed = True
        self._wake()

    def _write(self, resource: Resource, new: Object, old: Object | None) -> Object:
        self.revision += 1
        new = new | {"metadata": new["metadata"] | {"resourceVersion": str(self.revision)}}
        self._objects.setdefault(resource, {})[new["metadata"]["name"]] = new
        self._remember(Change(self.revision, resource, "MODIFIED" if old else "ADDED", new, old))
        return new

    def _remove(self, resource: Resource, old: Object) -> None:
        self.revision += 1
        del self._objects[resource][old["metadata"]["name"]]
        last = old | {"metadata": old["metadata"] | {"resourceVersion": str(self.revision)}}
        self._remember(Change(self.revision, resource, "DELETED", last, old))

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) >= 2 * HISTORY:
            del self._history[:-HISTORY]
            self.compacted = self.revision - HISTORY
        self._wake()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _valid_metadata(resource: Resource, metadata: Object) -> str:
    name = metadata.get("name") or ""
    if not name:
        raise statuses.invalid(resource, "", "metadata.name", "Required value: name or generateName is required")
    if len(name) > 253 or not _NAME.fullmatch(name):
        why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        raise statuses.invalid(resource, name, "metadata.name", f'Invalid value: "{name}": {why}')
    for key, value in (metadata.get("labels") or {}).items():
        for text, pattern in ((key, _LABEL_KEY), (value, _LABEL_VALUE)):
            if not isinstance(text, str) or not pattern.fullmatch(text):
                why = (
                    f"Invalid value: \"{text}\": a valid label must consist of alphanumeric characters, '-', '_' or '.'"
                )
                raise statuses.invalid(resource, name, "metadata.labels", why)
    return str(name)


def _valid_update(resource: Resource, old: Object, new: Object) -> None:
    was, metadata = old["metadata"], new["metadata"]
    name = was["name"]
    _valid_metadata(resource, metadata)
    if metadata.get("resourceVersion", was["resourceVersion"]) != was["resourceVersion"]:
        raise statuses.modified(resource, name)
    if (uid := metadata.get("uid", was["uid"])) != was["uid"]:
        raise statuses.invalid(resource, name, "metadata.uid", f'Invalid value: "{uid}": field is immutable')
    added: list[Any] = [item for item in metadata.get("finalizers") or [] if item not in was.get("finalizers", [])]
    if added and "deletionTimestamp" in was:
        quoted = ", ".join(f'"{item}"' for item in added)
        why = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{quoted}}}"
        )
        raise statuses.invalid(resource, name, "metadata.finalizers", why)
    if old.get("immutable") and (old.get("data") != new.get("data") or not new.get("immutable")):
        raise statuses.invalid(resource, name, "data", "Forbidden: field is immutable when `immutable` is set")
