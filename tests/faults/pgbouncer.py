"""A real PgBouncer before a PostgreSQL server, on a socket of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARY = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
"""None where it is not installed; on Debian: apt-get install pgbouncer."""


@contextmanager
def pgbouncer(url: str, **settings: str) -> Iterator[str]:
    """One that stands before a server with the database of `url`, until the end of the block.

    Args:
        url: Of a server on a unix socket.
        settings: Of PgBouncer.

    Yields:
        The database's address by way of it.
    """
    assert BINARY is not None
    socket = url.partition("host=")[2]
    directory = Path(tempfile.mkdtemp(prefix="argosy-pgbouncer-"))
    (directory / "users").write_text('"postgres" ""\n')
    lines = {
        "unix_socket_dir": directory,
        "listen_port": 6432,
        "auth_type": "any",
        "auth_file": directory / "users",
        "logfile": directory / "log",
    } | settings
    (directory / "ini").write_text(
        f"[databases]\n* = host={socket} user=postgres\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    owner = Path(socket).stat().st_uid  # as root it does not run
    for path in (directory, *directory.iterdir()):
        os.chown(path, owner, -1)
    process = subprocess.Popen([BINARY, "-q", str(directory / "ini")], user=owner)
    try:
        deadline = time.monotonic() + 20
        while not (directory / ".s.PGSQL.6432").exists():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, "PgBouncer did not start"
            time.sleep(0.02)
        name = url.partition("?")[0].rpartition("/")[2]
        yield f"postgresql://postgres@/{name}?host={directory}&port=6432"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)
