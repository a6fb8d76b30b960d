"""A host that servers seem to run on, and that can vanish: a network namespace behind a veth pair.

Whoever talks to it when it vanishes gets no answer and no error, as when a machine loses its power: only who counts the seconds notices.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

_FORWARD = """
import asyncio, sys

async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(copy(reader, back), copy(there, writer))

async def main():
    server = await asyncio.start_server(serve, sys.argv[1], 5432)
    print("up", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def unable() -> str:
    """Why no namespace can be made here; empty where one can."""
    if shutil.which("ip") is None:
        return "needs iproute2"
    name = f"argosy-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"needs the right to make network namespaces: {tried.stderr.strip()}"
    _ip(f"netns del {name}")
    return ""


@dataclass(frozen=True)
class Host:
    """Where the server is, and what lets it vanish."""

    address: str
    _name: str
    _caller: str

    def vanish(self) -> None:
        """Nothing that it sends arrives any more, acknowledgements included."""
        _ip(f"-n {self._name} route add blackhole {self._caller}/32")

    def come_back(self) -> None:
        """As if nothing had been."""
        _ip(f"-n {self._name} route del blackhole {self._caller}/32")


@contextmanager
def host(socket: str) -> Iterator[Host]:
    """A host whose port 5432 leads to a unix socket of this machine."""
    number = secrets.randbelow(2**14)  # of a network of four addresses; other tests run beside this one
    name, near, far = f"argosy-{number}", f"agy{number}a", f"agy{number}b"
    network = f"10.213.{number // 64}.{number % 64 * 4}"
    here, there = (str(IPv4Address(network) + each) for each in (1, 2))
    _ip(f"netns add {name}")
    try:
        _ip(f"link add {near} type veth peer name {far} netns {name}")
        _ip(f"addr add {here}/30 dev {near}")
        _ip(f"link set {near} up")
        _ip(f"-n {name} addr add {there}/30 dev {far}")
        _ip(f"-n {name} link set {far} up")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", _FORWARD, there, socket]
        forwarder = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert forwarder.stdout is not None
            assert forwarder.stdout.readline() == b"up\n"
            yield Host(there, name, here)
        finally:
            forwarder.kill()
            forwarder.communicate()
    finally:
        with suppress(subprocess.CalledProcessError):
            _ip(f"link del {near}")
        _ip(f"netns del {name}")


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, timeout=30)
