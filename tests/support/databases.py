"""Databases for tests, each a copy of the migrated template."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg

from argosy import crypto
from argosy.demo import embedded
from argosy.settings import Settings
from argosy.store import migrate
from tests.support.hosts import HERE

_databases = count(1)


@contextmanager
def server() -> Iterator[str]:
    """A server that has the template; the URL of its database `postgres`."""
    with embedded.postgres() as url:
        # A crash of the machine is no part of any test, and creating databases waits for the disk otherwise.
        execute(url, "ALTER SYSTEM SET fsync = off")
        execute(url, "ALTER SYSTEM SET max_wal_size = '128MB'")
        execute(url, "SELECT pg_reload_conf()")
        execute(url, "CREATE DATABASE template")
        migrate.upgrade(Settings(database_url=named(url, "template")))
        yield url


@contextmanager
def fresh(server: str) -> Iterator[str]:
    """A database of its own on a server that has the template, until the end of the block; its URL."""
    name = f"test_{next(_databases)}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE template STRATEGY FILE_COPY")
    url = named(server, name)
    # A copied template is a copied installation; each test is one of its own.
    execute(url, "UPDATE argosy.installation SET id = left(replace(gen_random_uuid()::text, '-', ''), 12)")
    yield url
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def configured(url: str) -> Settings:
    """Settings with new keys for tests on a database."""
    keys = crypto.new_keys()
    return Settings(
        database_url=url,
        keys=keys["ARGOSY_KEYS"],
        token_private_key=keys["ARGOSY_TOKEN_PRIVATE_KEY"],
        token_public_key=keys["ARGOSY_TOKEN_PUBLIC_KEY"],
        metrics_port=0,
        release_after=0,  # what ends can go at once
        metrics_host="127.0.0.1",
        trusted_hosts=HERE,
    )


def named(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return url.replace("/postgres?", f"/{name}?")


def execute(url: str, statement: str) -> None:
    """Run one statement, outside of a transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
