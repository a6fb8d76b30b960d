"""The real Prometheus, and promtool: built once from its module (clusters/local/build.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.local.build import ensure_prometheus
from clusters.local.guard import Guard
from tests.conftest import ROOT

ALERTS = ROOT / "helm" / "argosy" / "files" / "alerts.yaml"


@pytest.fixture(scope="session")
def promtool() -> Path:
    return ensure_prometheus(print)[1]


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    with Guard(tmp_path_factory.mktemp("prometheus")) as made:
        yield made
