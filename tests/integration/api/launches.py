"""Launches over HTTP, and what is listed of them."""

from sqlalchemy import Engine

from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from tests.integration.api.conftest import World


def launch(world: World, **fields: object) -> tuple[str, list[str]]:
    answer = world.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["object"][0]["gid"], answer.json()["id"]


def cut(world: World, engine: Engine, gid: str) -> None:
    expand(Launching(engine, world.settings, RestMediaSource(world.settings)), gid)  # type: ignore[arg-type]


def listed(world: World, **query: object) -> list[dict[str, object]]:
    answer = world.http.get("/rest/Jobs/1", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()
    return found
