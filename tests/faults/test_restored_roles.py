"""A dump of a database with its roles is restored on a server that does not know them: afterwards everybody may do there what they might
(T21). Each way that roles.md names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.settings import Settings
from argosy.store import roles
from tests.faults.servers import Postgres, postgres
from tests.support import databases
from tests.support import roles as users


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Postgres]:
    """Another server."""
    with postgres() as server:
        server.hurry()
        yield server


@pytest.fixture
def restored(elsewhere: Postgres) -> Iterator[Settings]:
    """An empty database there, in whose server none of the roles is."""
    elsewhere.execute("CREATE DATABASE restored")
    yield databases.configured(databases.named(elsewhere.url, "restored"))
    elsewhere.execute("DROP DATABASE restored WITH (FORCE)")
    for name in (*users.USERS, roles.OWNER, roles.PROCESS, roles.CALLER):
        elsewhere.execute(f"DROP ROLE IF EXISTS {name}")


@pytest.fixture(scope="module")
def dumped(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of a database with the roles."""
