"""Launches that leave out what is done, split what failed, or wait for another one, through the gateway."""

import asyncio

from sqlalchemy import Engine

from argosy.states import State
from tests.integration.api.conftest import World
from tests.integration.api.test_jobs import cut, launch
from tests.support.jobs import run
from tests.support.stack import until


async def test_the_answer_says_how_many_media_were_left_out(registered: World, engine: Engine) -> None:
    cut(registered, engine, launch(registered, media_ids=[1, 2, 3])[0])
    run(engine, State.SUCCEEDED)
    body = {"algorithm_name": "hello", "media_ids": [1, 2, 3, 4], "skip_done": True}
    asked = asyncio.create_task(asyncio.to_thread(registered.http.post, "/rest/Jobs/1", json=body))
    (found, _) = await until(registered.client.launches, lambda launches: len(launches) == 2)
    await asyncio.to_thread(cut, registered, engine, str(found.gid))
    answer = (await asked).json()
    assert len(answer["id"]) == 1
    assert answer["message"].endswith(": 1 jobs, 3 media left out because they are done")
    shown = registered.http.get(f"/v1/Launch/{found.gid}").json()
    assert (shown["jobs"], shown["skipped"]) == (1, 3)
