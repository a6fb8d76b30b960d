"""The release before this one works on, under load, while the schema is upgraded; then processes of both work side by side (F90)."""

import asyncio
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from argosy.settings import Settings
from argosy.store import migrate, processes, schema
from argosy.store.processes import TRACKER, WORKER
from tests.conftest import ROOT
from tests.faults.world import World
from tests.support.readme import exported
from tests.support.stack import until

JOBS = 3

_LOAD = f"""
import signal, sys, time
from argosy.client import Client
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
client, under_way = Client(), []
while not told:
    under_way.append(client.launch("hello", project=1, user=7, media_ids=range(1, {JOBS + 1}), token="canary").gid)
    print(under_way[-1], flush=True)
    while len(under_way) > 3 and not told:
        ended = [job.status == "Succeeded" for job in client.list(gid=under_way[0])]
        if ended and all(ended):
            del under_way[0]
        time.sleep(0.1)
"""
"""A caller with the library of its release: four launches are under way at any time. When it is told to end, what it launched is said."""


@pytest.fixture
def previous(tmp_path: Path) -> tuple[str, str]:
    """Where the code of the release before is, and the newest migration that it knows."""
    (wheel,) = (ROOT / "tests" / "previous").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "previous")
    versions = tmp_path / "previous" / "argosy" / "store" / "migrations" / "versions"
    return str(tmp_path / "previous"), max(file.name[:4] for file in versions.glob("0*.py"))


@contextmanager
def load(settings: Settings, code: str, gids: list[UUID]) -> Iterator[None]:
    """A caller of the release before launches until the end of the block; what it launched is added to `gids`."""
    environment = os.environ | exported(settings) | {"PYTHONPATH": code}
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as caller:
        try:
            yield
            assert caller.poll() is None, "it could not launch"
        finally:
            caller.terminate()
            out, err = caller.communicate()
            gids += map(UUID, out.split())
            sys.stderr.write(err)


async def test_the_release_before_works_on_while_the_schema_is_upgraded_and_beside_this_one(
    world: World, settings: Settings, previous: tuple[str, str]
) -> None:
    code, revision = previous

    def ended() -> int:
        return int(world.row("SELECT count(*) FROM argosy.attempt WHERE state = 'succeeded'")[0])

    async def some_more() -> None:
        before = await asyncio.to_thread(ended)
        await until(ended, lambda now: now >= before + 3 * JOBS, 120)

    def alive() -> list[str]:
        with world.client.engine.connect() as connection:
            return [process.kind for process in processes.alive(connection)]

    migrate.downgrade(settings, revision)
    gids: list[UUID] = []
    old = [world.fleet.tracker(PYTHONPATH=code), world.fleet.worker(PYTHONPATH=code)]
    with load(settings, code, gids):
        await some_more()
        assert await asyncio.to_thread(migrate.upgrade, settings) == schema.NEWEST
        await some_more()
        assert alive() == [], "what works is not the release before"
        new = [world.fleet.tracker(), world.fleet.worker()]
        await until(alive, [TRACKER, WORKER].__eq__, 120)
        await some_more()
        for process in old:
            await process.stopped()
        await some_more()
    for gid in gids:
        await world.whole(gid, JOBS, 120)
    assert len(gids) >= 4
    for process in new:
        await process.stopped()
    with world.client.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM argosy.job")).scalar_one() == JOBS * len(gids)
