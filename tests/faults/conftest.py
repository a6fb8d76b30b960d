"""What the fault tests share: a client whose cluster "here" is reached through the fault proxy, and who else looks at that cluster.

The product's worker and tracker run in the test's own event loop, as does the proxy, so that a test can hold one of them at a point and
let the others go on. `there` sees the cluster without the proxy, a witness what came to be on it, and the apiserver's audit log who did it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.kube.answers import Expired, Missing
from argosy.kube.connection import Access, Connection
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_INSTALLATION
from argosy.launch.expand import expand
from argosy.network.guard import inside
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store.installation import identity
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import Cluster, delete
from tests.faults.actions import Request
from tests.faults.processes import SHORT
from tests.faults.proxy import HOST, Proxy
from tests.faults.witness import Witness
from tests.faults.world import World, opened
from tests.support.hosts import HERE
from tests.support.stack import Direct, until

T = TypeVar("T")
P = ParamSpec("P")

Audited = Callable[[str, object], list[dict[str, Any]]]
"""The audit log's records of a verb on workflows that succeeded, by what is in their name: a uid, or a name."""

Creates = Callable[[UUID], int]
"""How many workflows ever came to be for a job."""

MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: fault-}
spec:
  entrypoint: main
  %s
  templates:
    - name: main
      container:
        image: alpine:3.22
        command: [sh, -c]
        args: ['%ssleep "$ARGOSY_SECONDS"; exit "${ARGOSY_EXIT_CODE:-0}"']
        env:
          - {name: ARGOSY_SECONDS, value: "%s"}
"""


def manifest(seconds: float, spec: str = "arguments: {}", deaf: bool = False) -> str:
    """One pod that runs so long, also when it is told to end where it is `deaf`; `spec` is one more line of the spec."""
    return MANIFEST % (spec, 'trap "" TERM; ' if deaf else "", seconds)


TOKEN_ENV = '          - {name: TOKEN, value: "{{workflow.parameters.rest_token}}"}\n'
"""One more line of a manifest's env: the launch's API token."""

ALGORITHMS = {
    "quick": manifest(0.05),
    "long": manifest(600),
    "long-with-token": manifest(600) + TOKEN_ENV,
    "short-lived": manifest(0.05, "ttlStrategy: {secondsAfterCompletion: 1}"),
}


def register(client: Client, access: Access) -> Client:
    """Register a cluster as "here", and the algorithms, one medium a job."""
    client.add_cluster(
        name="here",
        host=access.host,
        port=access.port,
        cert=access.ca,
        token=access.token,
        namespace=access.namespace,
        service_account="argosy-job",
        default=True,
    )
    for name, text_ in ALGORITHMS.items():
        client.register_algorithm(name=name, project=1, user=7, manifest=text_, files_per_job=1)
    return client


class Steps(Direct):
    """A worker that submits only when the test says so: `await steps.submitter.run(1)`."""

    def submit(self, cluster_id: int) -> None:
        return

    async def cut(self, gid: UUID) -> None:
        """Have a launch cut, by whoever is first: a tracker's housekeeping may be about it."""

        def uncut() -> bool:
            with self.engine.connect() as connection:
                query = text("SELECT state IN ('accepted', 'resolved') FROM argosy.launch WHERE gid = :gid")
                return bool(connection.execute(query, {"gid": gid}).scalar_one())

        await asyncio.to_thread(expand, self.launching, gid)
        await until(uncut, lambda waits: not waits)

    async def settle(self) -> None:
        """Submit, and again, until no create is unclear."""

        def unclear() -> int:
            with self.engine.connect() as connection:
                query = text("SELECT count(*) FROM argosy.attempt WHERE state = 'submitting'")
                return int(connection.execute(query).scalar_one())

        async def settled() -> bool:
            await self.submitter.run(1)
            return not await asyncio.to_thread(unclear)

        await until(settled, bool, 60)


@asynccontextmanager
async def stepping(settings: Settings) -> AsyncIterator[Steps]:
    """A worker that goes step by step, and no tracker."""
    steps = Steps(settings)
    try:
        yield steps
    finally:
        await steps.clusters.close()
        steps.engine.dispose()


@asynccontextmanager
async def tracking(settings: Settings, wakeups: Direct) -> AsyncIterator[None]:
    """A tracker, until the end of the block."""
    tracker = asyncio.create_task(Tracker(wakeups.engine, settings, wakeups).run())
    try:
        yield
    finally:
        tracker.cancel()
        await asyncio.gather(tracker, return_exceptions=True)


async def ours(engine: Engine, there: Connection) -> list[dict[str, Any]]:
    """Every workflow of the test's installation, as the cluster has it."""
    page = await Workflows(there).page(f"{LABEL_INSTALLATION}={identity(engine)}")
    return page.items


async def remove(there: Connection, name: str) -> None:
    """Delete a workflow, finalizer or not, and return when it is gone. The tracker may be about the same."""
    workflows = Workflows(there)
    with suppress(Missing):
        metadata = (await workflows.get(name))["metadata"]
        await delete(there, name, metadata["uid"])
        await workflows.release(name, metadata["uid"], metadata.get("finalizers", []))
    await become(bool, gone, workflows, name)


async def become(holds: Callable[[T], object], ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a coroutine function answers once that holds."""

    async def again() -> T:
        return await ask(*args, **kwargs)

    return await until(again, holds, 60)


async def gone(workflows: Workflows, name: str) -> bool:
    """Whether the name is free."""
    try:
        await workflows.get(name)
    except Missing:
        return True
    return False


async def expire(local: LocalCluster, there: Connection, request: Request) -> None:
    """Have etcd forget its history, and return when the apiserver refuses a list or a watch because of that.

    For a watch the apiserver must forget its own memory of the last minute too.
    """
    later = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "later-"}}
    path = f"/api/v1/namespaces/{there.access.namespace}/configmaps"
    created = await asyncio.to_thread(local.admin.post, path, json=later)  # or there is nothing to forget
    created.raise_for_status()
    await asyncio.to_thread(local.compact)
    if request.verb == "watch":
        await asyncio.to_thread(local.apiserver.restart)

    async def refused() -> bool:
        try:
            if request.verb == "list":
                await there.call("list", "workflows", request.path, query=request.query)
                return False
            async with there.stream("workflows", request.path, request.query | {"timeoutSeconds": "1"}, 5) as lines:
                return any([b'"code":410' in line async for line in lines])
        except Expired:
            return True

    await become(bool, refused)


def rows(engine: Engine, nodes: bool = True) -> list[Any]:
    """All attempts, and all nodes, as the database has them; without the times of the last look and of the last create."""
    statement = "SELECT to_jsonb(r) - 'as_of' - 'quiet_at' FROM argosy.{} r ORDER BY 1"
    with engine.connect() as connection:
        tables = ("attempt", "node") if nodes else ("attempt",)
        return [connection.execute(text(statement.format(table))).scalars().all() for table in tables]


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """What takes long with the defaults does not."""
    return settings.model_copy(
        update={"claim_lease": 6.0, "request_timeout": 3.0, "tracker_lease": 5.0, "housekeeping_interval": 0.5}
    )


@pytest.fixture
def patient(impatient: Settings) -> Settings:
    """A claim and a request that outlast whatever the test does meanwhile."""
    return impatient.model_copy(update={"claim_lease": 60.0, "request_timeout": 50.0})


@pytest.fixture
def other(postgres: str, impatient: Settings) -> Iterator[Settings]:
    """A second installation, in a database of its own."""
    url = impatient.database_url.get_secret_value()
    name = urlsplit(url).path[1:]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE other_{name} TEMPLATE template".encode())
        second = url.replace(f"/{name}?", f"/other_{name}?")
        with psycopg.connect(second, autocommit=True) as there:
            there.execute("UPDATE argosy.installation SET id = left(replace(gen_random_uuid()::text, '-', ''), 12)")
        yield impatient.model_copy(update={"database_url": SecretStr(second)})
        connection.execute(f"DROP DATABASE other_{name} WITH (FORCE)".encode())


@pytest.fixture
async def proxy(real_cluster: Cluster) -> AsyncIterator[Proxy]:
    """In front of the real control plane."""
    assert real_cluster.at.host is not None
    async with Proxy(real_cluster.at.host, real_cluster.at.port, real_cluster.at.ca) as made:
        yield made


@pytest.fixture
async def proxied(client: Client, proxy: Proxy, real_cluster: Cluster) -> Client:
    """A client whose cluster "here" is the proxy, which serves while that is registered."""
    at = real_cluster.at
    access = Access("here", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE))
    made = await asyncio.to_thread(register, client, access)
    proxy.exchanges.clear()
    return made


@pytest.fixture
async def there(real_cluster: Cluster, engine: Engine) -> AsyncIterator[Connection]:
    """The cluster without the proxy, as its administrator has it. What the test leaves behind is taken away."""
    async with Connection(real_cluster.access("test", real_cluster.admin_token)) as connection:
        yield connection
        for item in await ours(engine, connection):
            await remove(connection, item["metadata"]["name"])


@pytest.fixture
def audited(local_cluster: LocalCluster) -> Audited:
    """What the apiserver says that it carried out."""
    log = local_cluster.audit_log
    assert log is not None

    return lambda verb, key: [record for record in _records(log, verb) if str(key) in record["objectRef"]["name"]]


def _records(log: Path, verb: str) -> list[dict[str, Any]]:
    read = [orjson.loads(line) for line in log.read_bytes().splitlines() if verb.encode() in line]
    return [
        record
        for record in read
        if record["verb"] == verb
        and record["objectRef"]["resource"] == "workflows"
        and record["responseStatus"]["code"] < 300
    ]


@pytest.fixture(scope="session")
def witness(local_cluster: LocalCluster) -> Iterator[Witness]:
    """Of every workflow of the session."""
    with Witness(local_cluster) as made:
        yield made


@pytest.fixture
def creates(witness: Witness) -> Creates:
    """Of one job at a time."""
    return lambda uid: witness.created([uid]).total()


@pytest.fixture
def world(
    settings: Settings, client: Client, local_cluster: LocalCluster, valkey: str, tmp_path: Path
) -> Iterator[World]:
    """Real processes, with leases that end while a test waits."""
    with opened(settings, client, local_cluster, valkey, tmp_path, **SHORT) as made:
        yield made


@pytest.fixture
def unhurried(
    settings: Settings, client: Client, local_cluster: LocalCluster, valkey: str, tmp_path: Path
) -> Iterator[World]:
    """Real processes, with the leases of production."""
    with opened(settings, client, local_cluster, valkey, tmp_path) as made:
        yield made
