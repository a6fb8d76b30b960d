"""The gateway on a real socket, in front of a stand-in of the platform."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from argosy.api.app import create_app
from argosy.client import Client
from argosy.settings import Settings
from tests.support.certificates import PEM
from tests.support.hosts import HERE
from tests.support.launching import HELLO
from tests.support.platform import FULL, PLAIN, PlatformServer, platform, serving


@dataclass
class World:
    """A platform with a gateway behind it; `http` has the credentials of a user who may do everything in project 1."""

    platform: PlatformServer
    app: FastAPI
    settings: Settings
    client: Client
    http: httpx.Client

    def as_(self, token: str | None) -> httpx.Client:
        """Somebody else."""
        headers = {} if token is None else {"Authorization": f"Token {token}"}
        return httpx.Client(base_url=self.platform.gateway, headers=headers, timeout=30, trust_env=False, verify=PLAIN)


@pytest.fixture
def gateway_settings(settings: Settings) -> Settings:
    """What a test changes of the gateway's settings."""
    return settings


@pytest.fixture
def world(gateway_settings: Settings, client: Client) -> Iterator[World]:
    with platform() as server:
        configured = gateway_settings.model_copy(
            update={
                "rest_url": server.rest,
                "host": server.url,
                "api_rate": 10_000.0,
                "trusted_hosts": [*HERE, "127.0.0.2", "127.0.0.3", "127.0.0.9"],
            }
        )
        app = create_app(configured)
        with serving(app) as url:
            server.gateway = url
            headers = {"Authorization": f"Token {FULL}"}
            with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, verify=PLAIN) as http:
                yield World(server, app, configured, client, http)


@pytest.fixture
def registered(world: World) -> World:
    """With a cluster and an algorithm."""
    world.client.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", default=True, organization=3)
    world.client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=3)
    return world
