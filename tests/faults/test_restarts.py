"""The servers go down under load and come back, and clocks are wrong: every job ends well, with one create."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import orjson
import pytest
import redis
from pydantic import SecretStr

from argosy.client import Client
from argosy.settings import Settings
from clusters.local.cluster import LocalCluster
from tests.faults import servers
from tests.faults.processes import SHORT, Process
from tests.faults.world import World, opened
from tests.support.stack import until

JOBS = 60

FAKETIME = find_spec("libfaketime")

UNHURRIED = SHORT | {"ARGOSY_CLAIM_LEASE": "120"}
"""With a lease that nobody has reason to take over before the test is done."""


class Cutter:
    """Stands before a PostgreSQL server and breaks every fifth connection at its COMMIT, until it has broken enough.

    Args:
        server: The server's socket.
        committed: Whether the server gets the COMMIT before its client is cut off.
    """

    ENOUGH = 25

    def __init__(self, server: Path, committed: bool) -> None:
        self._server, self._committed = server, committed
        self._commits = 0
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        answers = asyncio.create_task(_copy(from_server, writer))
        try:
            while data := await reader.read(1 << 16):
                if b"COMMIT" in data and self._due():
                    answers.cancel()
                    if self._committed:
                        to_server.write(data)
                        await from_server.read(1 << 16)  # the answer comes after the commit
                    return
                to_server.write(data)
                await to_server.drain()
        except ConnectionError:
            return  # the client was killed
        finally:
            answers.cancel()
            to_server.transport.abort()
            writer.transport.abort()

    def _due(self) -> bool:
        self._commits += 1
        due = self._commits % 5 == 0 and self.cuts < self.ENOUGH
        self.cuts += due
        return due


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def own_valkey() -> Iterator[servers.Valkey]:
    with servers.valkey() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        yield server


def load(world: World) -> UUID:
    """Two of each process, and enough jobs that a fault falls among them."""
    for _ in range(2):
        world.fleet.worker()
        world.fleet.tracker()
    return world.launch("hello", JOBS)


async def in_mid_load(world: World, gid: UUID, ended: int) -> None:
    """Once so many have ended, and not all have been submitted."""
    query = (
        "SELECT count(*) FILTER (WHERE state = 'succeeded') AS ended, count(*) FILTER (WHERE state = 'queued') AS queued "
        "FROM argosy.attempt WHERE gid = :gid"
    )
    found = await until(lambda: world.row(query, gid=gid), lambda row: row.ended >= ended, 60)
    assert found.queued, "the fault came too late"


async def test_every_job_ends_well_when_redis_is_flushed_before_and_in_mid_load(world: World) -> None:
    gid = world.launch("hello", JOBS)
    world.fleet.tracker()
    await until(lambda: redis.Redis.from_url(world.redis_url).exists("argosy:expand"), bool)
    world.flush()
    world.fleet.worker()
    world.fleet.worker()
    for ended in (1, 10, 20):
        await in_mid_load(world, gid, ended)
        world.flush()
    await world.whole(gid, JOBS, 120)


async def test_every_job_ends_well_when_redis_is_restarted_under_load(
    settings: Settings, client: Client, local_cluster: LocalCluster, own_valkey: servers.Valkey, tmp_path: Path
) -> None:
    with opened(
        settings, client, local_cluster, own_valkey.url, tmp_path, ARGOSY_REDIS_URL=own_valkey.url, **SHORT
    ) as world:
        gid = load(world)
        for ended in (1, 15):
            await in_mid_load(world, gid, ended)
            await asyncio.to_thread(own_valkey.restart)
        await world.whole(gid, JOBS, 120)


async def test_every_job_ends_well_when_the_database_is_restarted_under_load(
    settings: Settings, own_postgres: servers.Postgres, local_cluster: LocalCluster, valkey: str, tmp_path: Path
) -> None:
    with on(settings, own_postgres.url, local_cluster, valkey, tmp_path) as world:
        gid = load(world)
        for ended in (1, 15):
            await in_mid_load(world, gid, ended)
            await asyncio.to_thread(own_postgres.restart)
        await world.whole(gid, JOBS, 120)


@pytest.mark.parametrize("committed", [False, True], ids=["before it", "after it"])
async def test_every_job_ends_well_when_connections_break_at_their_commit(
    settings: Settings,
    own_postgres: servers.Postgres,
    local_cluster: LocalCluster,
    valkey: str,
    tmp_path: Path,
    committed: bool,
) -> None:
    cutter = Cutter(own_postgres.socket / ".s.PGSQL.5432", committed)
    with tempfile.TemporaryDirectory(prefix="cutter-") as directory:
        async with await asyncio.start_unix_server(cutter.serve, Path(directory) / ".s.PGSQL.5432"):
            cut = own_postgres.url.replace(str(own_postgres.socket), directory)
            with on(settings, own_postgres.url, local_cluster, valkey, tmp_path, ARGOSY_DATABASE_URL=cut) as world:
                gid = load(world)
                await world.whole(gid, JOBS, 120)
    assert cutter.cuts == Cutter.ENOUGH


async def test_every_job_ends_well_when_the_apiserver_is_restarted_under_load(world: World) -> None:
    gid = load(world)
    for ended in (1, 15):
        await in_mid_load(world, gid, ended)
        await asyncio.to_thread(world.local.apiserver.restart)
    # Argo drops what it could not write and looks again after 20 minutes; a controller that starts looks at once.
    await asyncio.to_thread(world.local.argo.restart)
    jobs = await world.whole(gid, JOBS, 120)
    there = {item["metadata"]["name"]: item["metadata"]["uid"] for item in world.workflows(gid)}
    assert there == {
        str(job.id): world.row("SELECT k8s_uid FROM argosy.attempt WHERE uid = :uid", uid=job.uid).k8s_uid
        for job in jobs
    }


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_worker_whose_clock_is_wrong_neither_loses_its_lease_nor_takes_anothers_early(
    settings: Settings, client: Client, local_cluster: LocalCluster, valkey: str, tmp_path: Path, hours: int
) -> None:
    leases = "SELECT claim_epoch, extract(epoch FROM lease_until - clock_timestamp())::float AS left FROM argosy.attempt WHERE gid = :gid"
    with opened(settings, client, local_cluster, valkey, tmp_path, **UNHURRIED) as world:
        world.fleet.tracker()
        wrong = world.fleet.worker("submit.sending=stop", **faked(hours))
        first = world.send("hello", 1)
        await wrong.frozen()
        assert round(ahead(wrong) / 3600) == hours
        assert 0 < world.row(leases, gid=first).left < 120
        right = world.fleet.worker("submit.sending=stop")
        second = world.send("hello", 1)
        await right.frozen()
        wrong.resume()
        await world.whole(first, 1)
        # Only the one with the wrong clock is awake now: what it does next, it does while another's lease lasts.
        await world.whole(world.send("hello", 1), 1)
        assert [world.row(leases, gid=gid).claim_epoch for gid in (first, second)] == [1, 1]
        right.resume()
        await world.whole(second, 1)


def ahead(process: Process) -> float:
    """Seconds by which its clock was ahead when it wrote the last line of its log."""
    told = datetime.fromisoformat(orjson.loads(process.log.read_text().splitlines()[-1])["timestamp"])
    return (told - datetime.now(UTC)).total_seconds()


def faked(hours: int) -> dict[str, str]:
    """The environment of a process whose clock is wrong; it still counts seconds rightly."""
    assert FAKETIME is not None
    library = max(Path(str(FAKETIME.origin)).parent.rglob("libfaketime*.so.1"))  # …MT is the one for threads
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{hours * 3600:+d}",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


@contextmanager
def on(
    settings: Settings, url: str, local: LocalCluster, redis_url: str, directory: Path, **environment: str
) -> Iterator[World]:
    """A world on a database server of its own."""
    own = settings.model_copy(update={"database_url": SecretStr(url)})
    with ExitStack() as stack:
        client = Client(own)
        stack.callback(client.close)
        yield stack.enter_context(opened(own, client, local, redis_url, directory, **SHORT | environment))
