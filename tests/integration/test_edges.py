"""Connections to clusters, background tasks, failpoints, revisions: what went wrong there without a word."""

import asyncio
import math

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine
from structlog.testing import capture_logs

from argosy.access import Clusters
from argosy.client import Client
from argosy.failpoints import failpoint
from argosy.processes.housekeeping import Housekeeping
from argosy.settings import Settings
from argosy.store import secrets
from tests.support.queues import clusters
from tests.support.stack import Direct, until


async def test_two_who_reach_a_cluster_at_once_share_one_connection(
    client: Client, engine: Engine, settings: Settings
) -> None:
    clusters(client, "c")
    reaching = Clusters(engine, settings)
    first, second = await asyncio.gather(reaching.reach(1), reaching.reach(1))
    assert first.connection is second.connection
    await reaching.close()


async def test_new_credentials_do_not_close_the_connection_of_who_is_at_work(
    client: Client, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters(client, "c")
    closed = []

    async def close(self: object) -> None:
        closed.append(self)

    monkeypatch.setattr("argosy.kube.connection.Connection.close", close)
    reaching = Clusters(engine, settings)
    old = await reaching.reach(1)
    await asyncio.to_thread(client.update_cluster, "c", token="another")
    new = await reaching.reach(1)
    assert new.connection is not old.connection
    await asyncio.sleep(0)
    assert closed == []
    await reaching.close()
    assert set(closed) == {old.connection, new.connection}


async def test_a_background_task_of_housekeeping_that_fails_is_said_and_counted(
    client: Client, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters(client, "c")

    async def defect(*_: object) -> None:
        raise AttributeError("a defect")

    monkeypatch.setattr(Clusters, "reach", defect)
    gid = client.launch("hello", project=1, user=7, media_ids=[1]).gid
    monkeypatch.setattr("argosy.processes.housekeeping._secrets_due", lambda _: [secrets.Debt(gid=gid, cluster_id=1)])
    housekeeping = Housekeeping(engine, settings, Clusters(engine, settings), Direct(settings))
    with capture_logs() as logs:
        await housekeeping._delete_secrets()
        await until(lambda: [line["event"] for line in logs], ["defect, Secrets not deleted yet"].__eq__)
    assert REGISTRY.get_sample_value("argosy_loop_errors_total", {"loop": "secrets"})


async def test_a_removed_cluster_is_no_longer_measured(client: Client, engine: Engine, settings: Settings) -> None:
    clusters(client, "removed-one")
    housekeeping = Housekeeping(engine, settings, Clusters(engine, settings), Direct(settings))
    await housekeeping._measure()

    def shown() -> float:
        value = REGISTRY.get_sample_value("argosy_cluster_active", {"cluster": "removed-one"})
        assert value is not None
        return value

    assert shown() == 0
    client.remove_algorithm("hello")
    await asyncio.to_thread(client.remove_cluster, "removed-one", abandon=True)
    await housekeeping._measure()
    assert math.isnan(shown())


def test_a_misspelt_failpoint_is_an_error_and_not_nothing() -> None:
    with pytest.raises(LookupError, match="typo"):
        failpoint("typo")
