"""Launches of a small algorithm, and an API server that says which media there are."""

from collections.abc import Iterator
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.launch.accept import accept
from argosy.launch.expand import Launching
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.given import LaunchRequest
from tests.conftest import ROOT
from tests.integration.api_server import ApiServer, serving
from tests.support.certificates import PEM

HELLO = (ROOT / "manifests" / "hello.yaml").read_text()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture
def stage(engine: Engine, settings: Settings, api: ApiServer) -> Launching:
    configured = settings.model_copy(update={"rest_url": api.url, "media_page": 4})
    return Launching(engine, configured, RestMediaSource(configured))


@pytest.fixture
def registered(client: Client) -> Client:
    client.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", default=True)
    client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=3)
    return client


def sent(client: Client, **fields: object) -> UUID:
    """A launch as a worker commits it for a message: judged only when it is expanded."""
    request = {"gid": uuid1(), "project": 1, "user": 7, "algorithm_name": "hello", "media_ids": [1]} | fields
    made = LaunchRequest.model_validate(request)
    accept(client.engine, client.settings, made)
    return made.gid


def outcome(client: Client, gid: object) -> tuple[str, str]:
    (launch,) = (launch for launch in client.launches() if launch.gid == gid)
    return launch.state, launch.reason
