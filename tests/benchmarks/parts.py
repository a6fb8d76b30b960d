"""The real parts that a benchmark runs on: its own; or, where `shared`, those of all benchmarks of the process, one after another.

A figure that is kept comes from parts of its own. The small runs of the test suite would start the same parts twenty times.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from argosy.demo import embedded
from argosy.settings import Settings
from argosy.store import migrate
from clusters.local.cluster import LocalCluster
from tests.support import databases


class _Shared:
    """Parts that start when they are first asked for, and end with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    @cached_property
    def postgres(self) -> str:
        return self._stack.enter_context(databases.server())

    @cached_property
    def valkey(self) -> str:
        return self._stack.enter_context(embedded.valkey())

    @cached_property
    def cluster(self) -> LocalCluster:
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-benchmarks-"))
        return self._stack.enter_context(LocalCluster(audit_log=Path(directory) / "audit.log"))


_shared: _Shared | None = None


@contextmanager
def shared() -> Iterator[None]:
    """Until the end of the block, all benchmarks of this process have the same parts."""
    global _shared
    with ExitStack() as stack:
        _shared = _Shared(stack)
        try:
            yield
        finally:
            _shared = None


@contextmanager
def database() -> Iterator[str]:
    """The URL of a database that has argosy's schema and nothing in it."""
    if _shared is not None:
        with databases.fresh(_shared.postgres) as url:
            yield url
        return
    with embedded.postgres() as url:
        migrate.upgrade(Settings(database_url=url))
        yield url


@contextmanager
def valkey() -> Iterator[str]:
    """The URL of a Valkey."""
    if _shared is not None:
        yield _shared.valkey
        return
    with embedded.valkey() as url:
        yield url


@contextmanager
def cluster(audit_log: Path | None = None) -> Iterator[LocalCluster]:
    """A control plane without workflows; where it is shared, it has an audit log of its own."""
    if _shared is None:
        with LocalCluster(audit_log=audit_log) as local:
            yield local
        return
    local = _shared.cluster
    try:
        yield local
    finally:
        _empty(local)
        for component in local.components:
            if component.process is None:
                component.start()


def _empty(local: LocalCluster) -> None:
    """Remove all workflows, also those that a finalizer holds; nothing runs them any more when the controller comes back."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{local.connection.namespace}/workflows"
    for item in local.admin.get(path, timeout=60).raise_for_status().json()["items"]:
        body = {"metadata": {"finalizers": None}}
        headers = {"Content-Type": "application/merge-patch+json"}
        local.admin.patch(f"{path}/{item['metadata']['name']}", json=body, headers=headers).raise_for_status()
    local.admin.delete(path, timeout=60).raise_for_status()
