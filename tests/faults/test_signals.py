"""A process manager tells a whole group to end (systemd does, and `timeout`), or says it twice: the process ends once, and well."""

import os
import signal
from pathlib import Path

import pytest
import redis

from argosy.settings import Settings
from tests.faults.processes import Fleet
from tests.support.readme import exported


@pytest.mark.parametrize(
    ("kind", "twice"),
    [("worker", False), ("worker", True), ("tracker", False)],
    ids=["worker, as a group", "worker, twice", "tracker"],
)
async def test_a_process_that_is_told_to_end_more_than_once_ends(
    settings: Settings, valkey: str, tmp_path: Path, kind: str, twice: bool
) -> None:
    redis.Redis.from_url(valkey).flushall()
    with Fleet(exported(settings, ARGOSY_REDIS_URL=valkey), tmp_path) as fleet:
        process = fleet.worker() if kind == "worker" else fleet.tracker()
        await (process.said("is ready for action", 60) if kind == "worker" else process.answers(60))
        for pid in [process.pid] if twice else process.pids():
            os.kill(pid, signal.SIGTERM)
        if twice and kind == "worker":
            await process.said("Stopping worker process")
            os.kill(process.pid, signal.SIGTERM)
        assert await process.ended() == 0, process.tail()
        # The process that serves metrics has nothing to end well.
        assert "Killing worker process" not in process.log.read_text()
        assert process.pids() == set()
