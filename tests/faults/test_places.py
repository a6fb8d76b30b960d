"""A cluster is what answers at its address, not its row: registered twice, moved, or another's (P1, F43)."""

import asyncio

import orjson
import pytest
from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.errors import Conflict
from argosy.kube.connection import Connection
from argosy.kube.marks import Marks
from argosy.settings import Settings
from argosy.store.installation import identity
from tests.cluster.clusters import access
from tests.faults.conftest import become, register, stepping, tracking
from tests.support.held import fields
from tests.support.stack import finished, running, until


async def test_the_same_place_is_not_registered_twice(client: Client, impatient: Settings) -> None:
    with SimulatedCluster() as cluster:
        at = access(cluster.connection)
        register(client, at)
        with pytest.raises(Conflict, match="the same cluster and namespace as 'here'"):
            await asyncio.to_thread(client.add_cluster, name="again", **fields(at))
        with pytest.raises(Conflict, match="the same cluster and namespace as 'here'"):
            await asyncio.to_thread(client.add_cluster, name="again", **fields(at, host="localhost"))
        await asyncio.to_thread(client.remove_cluster, "here")
        await asyncio.to_thread(client.add_cluster, name="again", **fields(at))


async def test_a_place_that_could_not_be_asked_when_it_was_registered_a_second_time_gets_no_job_and_ends_none(
    client: Client, impatient: Settings, engine: Engine
) -> None:
    with SimulatedCluster() as cluster:
        at = access(cluster.connection)
        register(client, at)
        async with running(impatient):
            launched = client.launch("long", project=1, user=7, media_ids=[1])
            await until(lambda: client.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"])
            client.add_cluster(name="again", **fields(at, port=1))
            with engine.begin() as database:
                database.execute(text("UPDATE argosy.cluster SET port = :port WHERE name = 'again'"), {"port": at.port})
            await until(
                lambda: client.cluster("again"),
                lambda found: (
                    found.health == "misplaced" and "same cluster and namespace as 'here'" in found.health_message
                ),
                60,
            )
            client.update_algorithm("quick", cluster=client.cluster("again").id)
            waits = client.launch("quick", project=1, user=7, media_ids=[1])
            (job,) = await until(lambda: client.list(gid=waits.gid), bool)
            assert [found.status for found in client.list(gid=launched.gid)] == ["Running"]
            assert client.get(job.uid).status == "Queued"
            client.update_algorithm("quick", cluster=client.cluster("here").id)
            client.remove_cluster("again", abandon=True)


async def test_a_cluster_is_not_moved_to_another_place_under_its_jobs(client: Client, impatient: Settings) -> None:
    with SimulatedCluster() as first, SimulatedCluster() as second:
        at, elsewhere = access(first.connection), access(second.connection)
        register(client, at)
        async with running(impatient):
            launched = client.launch("long", project=1, user=7, media_ids=[1])
            await until(lambda: client.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"])
            with pytest.raises(Conflict, match="leads to another cluster or namespace"):
                await asyncio.to_thread(client.update_cluster, "here", **fields(elsewhere))
            with pytest.raises(Conflict, match="cannot be asked"):
                await asyncio.to_thread(client.update_cluster, "here", namespace="another")
            # Another name of the same place is no other place.
            await asyncio.to_thread(client.update_cluster, "here", host="localhost", token=at.token)
            client.cancel(launched.gid)
            (job,) = await finished(client, launched.gid)
            assert job.status == "Cancelled"
            await asyncio.to_thread(client.update_cluster, "here", **fields(elsewhere))
            after = client.launch("quick", project=1, user=7, media_ids=[1])
            (job,) = await finished(client, after.gid)
            assert job.status == "Succeeded"


async def test_an_address_that_leads_elsewhere_loses_no_job_and_gets_none(
    client: Client, impatient: Settings, engine: Engine
) -> None:
    """As when a name is given to another machine: nobody has changed the row."""
    with SimulatedCluster() as first, SimulatedCluster() as second:
        at, elsewhere = access(first.connection), access(second.connection)
        register(client, at)
        async with stepping(impatient) as steps, tracking(impatient, steps):
            launched = client.launch("long", project=1, user=7, media_ids=[1])
            await steps.cut(launched.gid)
            await steps.submitter.run(1)
            await until(lambda: client.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"])
            await asyncio.to_thread(client.add_cluster, name="other", **fields(elsewhere))
            move = (
                "UPDATE argosy.cluster c SET (port, cert, token_sealed) = (SELECT o.port, o.cert, o.token_sealed FROM argosy.cluster o "
                "WHERE o.name = :of), credential_version = credential_version + 1 WHERE c.id = 1"
            )
            with engine.begin() as database:
                database.execute(text("CREATE TABLE kept AS TABLE argosy.cluster"))
                database.execute(text("UPDATE argosy.cluster SET identity = '' WHERE name = 'other'"))
                database.execute(text(move), {"of": "other"})
                database.execute(text("UPDATE argosy.cluster SET removed_at = now() WHERE name = 'other'"))
            await until(
                lambda: client.cluster("here"),
                lambda found: found.health == "misplaced" and "leads to another cluster" in found.health_message,
                60,
            )
            waits = client.launch("quick", project=1, user=7, media_ids=[1])
            await steps.cut(waits.gid)
            await steps.submitter.run(1)
            assert [job.status for job in client.list(gid=waits.gid)] == ["Queued"]
            assert [job.status for job in client.list(gid=launched.gid)] == ["Running"]
            with engine.begin() as database:
                back = move.replace("FROM argosy.cluster o WHERE o.name", "FROM kept o WHERE o.name")
                database.execute(text(back), {"of": "here"})
            await until(lambda: client.cluster("here"), lambda found: found.health == "ok", 60)

            async def submitted() -> list[str]:
                await steps.submitter.run(1)  # which is left alone for a while
                return [job.status for job in client.list(gid=waits.gid)]

            await become(lambda statuses: statuses == ["Succeeded"], submitted)
            assert [job.status for job in client.list(gid=launched.gid)] == ["Running"]


async def test_a_copy_of_the_database_holds_the_clusters_that_it_knows_and_touches_nothing_there(
    client: Client, impatient: Settings, other: Settings, engine: Engine
) -> None:
    """A database cloned for staging, keys and all, whose processes somebody starts."""
    with SimulatedCluster() as cluster:
        at = access(cluster.connection)
        register(client, at)
        copy = Client(other.model_copy(update={"keys": impatient.keys}))
        with copy.engine.begin() as database:
            database.execute(text("UPDATE argosy.installation SET id = :id"), {"id": identity(engine)})
        with engine.connect() as source, copy.engine.begin() as database:
            for table in ("cluster", "algorithm"):
                rows = source.execute(text(f"SELECT to_jsonb(t) FROM argosy.{table} t")).scalars().all()
                for row in rows:
                    insert = f"INSERT INTO argosy.{table} SELECT * FROM jsonb_populate_record(NULL::argosy.{table}, CAST(:row AS jsonb))"
                    database.execute(text(insert), {"row": orjson.dumps(row).decode()})
        async with running(impatient):
            launched = client.launch("long", project=1, user=7, media_ids=[1])
            await until(lambda: client.list(gid=launched.gid), lambda jobs: [j.status for j in jobs] == ["Running"])
            async with running(copy.settings):
                (why,) = (await until(copy.held, bool, 60)).values()
                assert "another database looks after" in why
                waits = copy.launch("quick", project=1, user=7, media_ids=[1])
                (known,) = await until(lambda: copy.launches(gid=waits.gid), lambda found: found[0].reason)
                assert "waits because cluster here is held" in known.reason
                async with Connection(at) as there:
                    mark = await Marks(there, identity(engine)).read()
                assert copy.list(gid=waits.gid) == []
            assert [job.status for job in client.list(gid=launched.gid)] == ["Running"]
            assert client.held() == {}
            assert mark is not None
        copy.close()
