"""Being told that something has changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from argosy.api import stream
from argosy.api.routing import Busy, TooFast
from argosy.api.stream import Hub, Stream, Watched
from argosy.client import Client
from argosy.launch.expand import Launching
from argosy.settings import Settings
from argosy.states import State
from tests.support.jobs import launched, registered, run, stage
from tests.support.launching import api

__all__ = ["api", "registered", "stage"]

ALL = Watched(7, None)


@asynccontextmanager
async def reading(settings: Settings, *watched: Watched) -> AsyncIterator[list[Any]]:
    """Readers on a hub that listens."""
    hub = Hub(settings)
    async with hub.running():
        async with asyncio.timeout(20):
            await hub.listening.wait()
        readers = [hub.reading(each) for each in watched]
        found = [each.__enter__() for each in readers]
        yield found
        for each in readers:
            each.__exit__(None, None, None)
        assert hub.readers == 0


async def told(reader: Any) -> list[str]:
    async with asyncio.timeout(20):
        await reader.woken.wait()
    found: list[str] = reader.taken()
    return found


def noted(reader: Any) -> list[str]:
    """All that a reader is told, also what it is told twice."""
    found: list[str] = []
    note = reader.note

    def both(data: str) -> None:
        found.append(data)
        note(data)

    reader.note = both
    return found


def test_who_watches_a_launch_is_told_of_it_alone_and_nobody_of_projects_that_they_may_not_read() -> None:
    gid, other, uid = UUID(int=1), UUID(int=2), UUID(int=3)
    notice = f"launch {gid} 7"
    assert Watched(7, None).told(notice) == Watched(7, frozenset({7}), gid).told(notice) == f'{{"gid":"{gid}"}}'
    assert Watched(7, frozenset({8})).told(notice) is Watched(7, frozenset({8}), gid).told(notice) is None
    assert Watched(7, None, other).told(notice) is None
    assert Watched(7, None, gid, uid).told(f"job {uid}") == f'{{"uid":"{uid}"}}'
    assert Watched(7, None).told(f"job {uid}") is None
    assert Watched(7, frozenset()).told("cluster 5") == Watched(7, frozenset()).told("*") == "{}"


async def test_a_batch_of_changes_is_one_notice_for_each_launch(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    gid = await asyncio.to_thread(launched, registered, stage, 50)
    async with reading(settings, ALL, Watched(7, frozenset({2}))) as (mine, others):
        notices = noted(mine)
        await asyncio.to_thread(run, engine, State.SUCCEEDED, 100)
        registered.pause(cluster="c")
        seen: set[str] = set()
        while "{}" not in seen:
            seen.update(await told(mine))
        assert seen == {f'{{"gid":"{gid}"}}', "{}"}
        assert len(notices) < 60, "one a transaction: a claim, a record, an end of each"
        assert {*others.pending} <= {"{}"}


async def test_a_transaction_that_changes_thousands_of_launches_has_a_hundred_notices_at_most(
    registered: Client, engine: Engine, settings: Settings
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest) "
                "SELECT gen_random_uuid(), 1, 1, 'a', '' FROM generate_series(1, 3000)"
            )
        )
    async with reading(settings, ALL) as (reader,):
        notices = noted(reader)
        with engine.begin() as connection:
            connection.execute(text("UPDATE argosy.launch SET reason = 'x'"))
        await told(reader)
        assert "{}" in notices
        assert len(notices) <= 110
        assert len(reader.pending) <= 100


async def test_what_is_rolled_back_is_not_told(
    registered: Client, stage: Launching, engine: Engine, settings: Settings
) -> None:
    await asyncio.to_thread(launched, registered, stage, 1)
    async with reading(settings, ALL) as (reader,):
        with engine.connect() as connection:
            connection.execute(text("UPDATE argosy.launch SET reason = 'x'"))
            connection.rollback()
        registered.pause(project=1)
        registered.pause(cluster="c")
        assert await told(reader) == ["{}"]


class _Sent:
    """A reader's end of an answer, which takes nothing while its gate is shut."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.gate, self.left, self.more = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.gate.wait()
        self.texts.append(message.get("body", b"").decode())
        self.more.set()


async def _answering(hub: Hub, sent: _Sent) -> asyncio.Task[None]:
    async with asyncio.timeout(20):
        await hub.listening.wait()
    task = asyncio.ensure_future(Stream(hub, ALL)({"type": "http"}, sent.receive, sent.send))
    while len(sent.texts) < 2:
        await sent.more.wait()
        sent.more.clear()
    return task


async def test_a_stream_beats_and_tells_and_ends_when_its_reader_leaves(
    registered: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT", 0.1)
    hub, sent = Hub(settings), _Sent()
    async with hub.running():
        task = await _answering(hub, sent)
        registered.pause(cluster="c")
        async with asyncio.timeout(20):
            while sent.texts.count("event: beat\ndata: {}\n\n") < 3 or "event: change\ndata: {}\n\n" not in sent.texts:
                await sent.more.wait()
                sent.more.clear()
        sent.left.set()
        await task
        assert hub.readers == 0


async def test_a_slow_reader_is_dropped(
    registered: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PATIENCE", 0.1)
    hub, sent = Hub(settings), _Sent()
    async with hub.running():
        task = await _answering(hub, sent)
        sent.gate.clear()
        registered.pause(cluster="c")
        await task
        assert hub.readers == 0


async def test_a_stream_ends_and_says_so_when_the_database_is_away_and_can_be_had_again(
    registered: Client, settings: Settings, engine: Engine
) -> None:
    hub, sent = Hub(settings), _Sent()
    async with hub.running():
        task = await _answering(hub, sent)
        with engine.begin() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN argosy_change%'")
            )
        await task
        assert "event: lost\ndata: {}\n\n" in sent.texts
        again = _Sent()
        task = await _answering(hub, again)
        again.left.set()
        await task


async def test_a_process_that_stops_ends_its_streams_and_opens_none(registered: Client, settings: Settings) -> None:
    hub, sent = Hub(settings), _Sent()
    async with hub.running():
        task = await _answering(hub, sent)
        hub.stop()
        await task
        with pytest.raises(Busy), hub.reading(ALL):
            raise AssertionError


async def test_one_user_does_not_take_all_streams(registered: Client, settings: Settings) -> None:
    hub = Hub(settings)
    async with hub.running(), asyncio.timeout(20):
        await hub.listening.wait()
        with ExitStack() as stack:
            for _ in range(stream._EACH):
                stack.enter_context(hub.reading(ALL))
            with pytest.raises(TooFast, match="user 7 has 50 streams"), hub.reading(ALL):
                raise AssertionError
            with hub.reading(Watched(8, None)):
                assert hub.readers == stream._EACH + 1
        with hub.reading(ALL):
            assert hub.readers == 1
