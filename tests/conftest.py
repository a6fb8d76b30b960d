"""Real servers for the tests that need them: one PostgreSQL, Valkey and control plane a process, one fresh database a test."""

import gc
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from argosy.client import Client
from argosy.demo import embedded
from argosy.settings import Settings
from argosy.store import database
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import Cluster, of_local
from tests.support import databases, rights

_ON_NODE = re.compile(r"/test_node(_logs)?\.py::|tests/cluster/.*\[(.*-)?node(-.*)?\]")

ROOT = Path(__file__).parents[1]

# A test makes a database, and a write of the control plane waits for its disk: in memory either takes a tenth of the time.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 8 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
# Control planes collect garbage a quarter of their time otherwise.
os.environ.setdefault("GOGC", "400")

# A machine that does something else as well makes no example wrong.
hypothesis.settings.register_profile("argosy", deadline=None)
hypothesis.settings.load_profile("argosy")


class _Together(LoadScopeScheduling):
    """Tests on a real node stay together, and so do those in a browser, and those of a module that share a fixture, so that one of the
    processes side by side has it; of the others each goes where there is room. An Argo Server and a chart have a node of their own.
    (xdist's own groups go by names of tests that pytest 9 does not let it change.)"""

    def _split_scope(self, nodeid: str) -> str:
        if _ON_NODE.search(nodeid):
            return "node"
        if "tests/integration/page/" in nodeid:
            return "page"
        module = nodeid.partition("::")[0]
        return module if _shares(module) else nodeid


@cache
def _shares(module: str) -> bool:
    return module.endswith("_on_a_node.py") or 'scope="module"' in (ROOT / module).read_text()


def pytest_configure(config: pytest.Config) -> None:
    """What tests/cluster and the rest used of argosy's rights is added up (T9)."""
    files = set((ROOT / "tests" / "cluster").glob("test_*.py"))
    config.pluginmanager.register(rights.Tally(config, rights.granted(), files))


def pytest_collection_finish() -> None:
    """What is there now stays to the end, so the collections of garbage to come leave it out; they were a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together:
    """How tests are shared out; called by pytest-xdist."""
    return _Together(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server whose database `template` is migrated."""
    with databases.server() as url:
        yield url


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    with embedded.valkey() as url:
        yield url


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    with databases.fresh(postgres) as url:
        yield url


@pytest.fixture
def settings(database_url: str) -> Settings:
    return databases.configured(database_url)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = database.engine(settings)
    yield made
    made.dispose()


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    made = Client(settings)
    yield made
    made.close()


@pytest.fixture(scope="session")
def local_cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalCluster]:
    """The real control plane, with an audit log of who did what. What argosy asked it for in all tests is what it is granted (T9)."""
    with LocalCluster(audit_log=tmp_path_factory.mktemp("audit") / "audit.log") as local:
        yield local
        rights.settle(pytestconfig, local)


@pytest.fixture(scope="session")
def real_cluster(local_cluster: LocalCluster) -> Cluster:
    """The real control plane, as tests see every cluster."""
    return of_local(local_cluster)
