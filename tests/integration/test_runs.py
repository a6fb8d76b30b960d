"""A run of a cluster's queue that a wake-up has started stands alone: what keeps it from beginning is said, and only a defect alarms."""

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import Engine
from structlog.testing import capture_logs

from argosy.access import Clusters
from argosy.client import Client
from argosy.settings import Settings
from argosy.store import database
from argosy.submit.run import Submitter
from tests.support.queues import clusters


def alarms() -> float:
    return REGISTRY.get_sample_value("argosy_loop_errors_total", {"loop": "submit"}) or 0.0


async def started(settings: Settings, cluster_id: int) -> list[str]:
    """What a run of a new submitter logs."""
    engine = database.engine(settings)
    submitter = Submitter(engine, settings, Clusters(engine, settings), "here", "w")
    with capture_logs() as logs:
        submitter.start(cluster_id)
        await submitter.drained()
    engine.dispose()
    return [line["event"] for line in logs]


async def test_a_database_that_is_away_when_a_run_begins_is_said_and_is_no_defect(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:9/nothing")})
    before = alarms()
    assert await started(away, 1) == ["database away, nothing submitted"]
    assert alarms() == before


@pytest.mark.parametrize("cluster_id", [1, 2], ids=["whose token cannot be opened", "that was removed"])
async def test_a_cluster_that_cannot_be_worked_with_is_said_and_is_no_defect(
    client: Client, engine: Engine, settings: Settings, cluster_id: int
) -> None:
    clusters(client, "c")
    before = alarms()
    assert await started(settings.model_copy(update={"keys": []}), cluster_id) == ["nothing submitted"]
    assert alarms() == before


async def test_a_run_that_fails_by_a_defect_alarms_and_is_survived(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters(client, "c")

    async def defect(self: Submitter, cluster_id: int) -> None:
        raise AttributeError("a defect")

    monkeypatch.setattr(Submitter, "_pass", defect)
    before = alarms()
    assert await started(settings, 1) == ["defect, nothing submitted"]
    assert alarms() == before + 1
