"""Fixtures of everything that runs against a JobCluster: one suite, both kinds.

The clusters live as long as the session. What keeps the tests apart is the label `argosy-test`: each has its own, its workflows and
secrets carry it, and whatever carries it is gone after the test.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest

from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Connection
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from clusters.local import images, services
from clusters.local.cluster import LocalCluster
from clusters.local.node import PATH, unable
from tests.cluster.clusters import POWERLESS, Cluster, access, delete, of_local
from tests.cluster.manifests import IMAGE, LABEL, TRUE
from tests.support import rights

KINDS = ("simulated", "local")


@pytest.fixture(scope="session")
def simulated_cluster() -> Iterator[Cluster]:
    """The simulator, as tests see every cluster."""
    with SimulatedCluster(pod_seconds=0.05, powerless_token=POWERLESS) as simulated:
        connection = simulated.connection
        context = ssl.create_default_context(cadata=connection.ca)
        url = f"https://{connection.host}:{connection.port}/simulator/compact"

        def compact() -> None:
            headers = {"Authorization": f"Bearer {connection.admin_token}"}
            httpx.post(url, headers=headers, verify=context).raise_for_status()

        yield Cluster("simulated", access(connection), connection.admin_token, POWERLESS, compact)


FIXTURES = {"simulated": "simulated_cluster", "local": "real_cluster", "node": "node_cluster"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a JobCluster runs once with each kind; on a real node, where a pod costs seconds of a processor, those that say so."""
    if "cluster" in metafunc.fixturenames:
        on_node = metafunc.definition.get_closest_marker("on_node") is not None
        metafunc.parametrize("cluster", [*KINDS, "node"] if on_node else KINDS, indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A JobCluster, of the kind that the parameter names."""
    found: Cluster = request.getfixturevalue(FIXTURES[request.param])
    return found


@pytest.fixture(scope="session")
def local_node(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalCluster]:
    """A control plane with a real node, which serves the image of the tests' manifests, and where it can be, a chart's objects."""
    if why := unable():
        pytest.skip(why)
    audit = tmp_path_factory.mktemp("audit") / "audit.log"
    with LocalCluster(node=True, with_services=not services.unable(), audit_log=audit) as local:
        assert local.node is not None
        image = tmp_path_factory.mktemp("image") / "none.tar"
        true = images.Program(TRUE, "usr/local/bin/true")
        images.write(image, [IMAGE], [local.node.shell, true], {"Env": [PATH]})
        local.node.load(image)
        yield local
        rights.settle(pytestconfig, local)


@pytest.fixture(scope="session")
def argo_node(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[LocalCluster]:
    """A control plane with a real node and an Argo Server. Argo keeps all nodes, and ended workflows, in a database of their own."""
    if why := unable():
        pytest.skip(why)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE argo_archive")
    audit = tmp_path_factory.mktemp("audit") / "audit.log"
    archive = postgres.replace("/postgres?", "/argo_archive?")
    with LocalCluster(node=True, archive=archive, audit_log=audit) as local:
        yield local
        rights.settle(pytestconfig, local)


@pytest.fixture(scope="session")
def node_cluster(local_node: LocalCluster) -> Cluster:
    """The control plane with a real node, as tests see every cluster."""
    return of_local(local_node)


@pytest.fixture
def mine() -> str:
    """A name that no other test has: the value of the label, and the beginning of every object's name."""
    return f"t{uuid4().hex[:10]}"


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[Connection]:
    """A person's connection, who may do what argosy may not."""
    async with Connection(cluster.access("admin", cluster.admin_token)) as opened:
        yield opened


@pytest.fixture
async def connection(cluster: Cluster, admin: Connection, mine: str) -> AsyncIterator[Connection]:
    """A connection with argosy's own token; what the test leaves behind is taken away."""
    async with Connection(cluster.access(mine)) as opened:
        yield opened
        workflows, secrets = Workflows(opened), Secrets(opened)
        page = await workflows.page(f"{LABEL}={mine}")
        for item in page.items:
            name, uid = item["metadata"]["name"], item["metadata"]["uid"]
            await workflows.release(name, uid, item["metadata"].get("finalizers", []))
            if "deletionTimestamp" not in item["metadata"]:
                await delete(admin, name, uid)
        for found in await secrets.found({LABEL: mine}):
            await secrets.delete(found.name, found.uid)


@pytest.fixture
def workflows(connection: Connection) -> Workflows:
    """The product's own calls."""
    return Workflows(connection)
