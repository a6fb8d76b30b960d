"""Joins a node's network to this one without a link between them: listeners, and nothing else of the machine is changed.

`python -m clusters.local.gateway PID API_PORT EGRESS_SOCKET SERVICE_ADDRESS UP [PORT THERE]`, where PID is a process in the node's
namespaces:

- in the node's network, SERVICE_ADDRESS:443 leads to 127.0.0.1:API_PORT here: pods and kubelet reach the apiserver;
- here, HTTP CONNECT on a unix socket without a file (`@name`) leads into the node's network: the apiserver reaches kubelet
  (EgressSelectorConfiguration);
- here, if they are given, 127.0.0.1:PORT leads to the port THERE of the node itself: tests reach Argo Server.

The file UP says that all listen.
"""

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

CLONE_NEWNET = 0x40000000
PIECE = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Gateway:
    """All ways.

    Args:
        pid: A process in the node's namespaces.
        api_port: The apiserver's, on 127.0.0.1.
    """

    def __init__(self, pid: int, api_port: int) -> None:
        self._api_port = api_port
        self._here = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._node = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)

    def socket_there(self) -> socket.socket:
        """A socket in the node's network: it stays in the namespace in which it was made."""
        _enter(self._node)
        try:
            return socket.socket()
        finally:
            _enter(self._here)

    async def to_apiserver(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from the node's network."""
        try:
            other = await asyncio.open_connection("127.0.0.1", self._api_port)
        except OSError:
            writer.close()
            return
        await _join(reader, writer, *other)

    async def to_node(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection into the node's network, to the host and port that CONNECT names."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            other = await self._open_there(host, int(port))
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
            print(f"connect: {error}", flush=True)
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await _join(reader, writer, *other)

    async def to_port(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to a port of the node itself."""
        try:
            other = await self._open_there("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await _join(reader, writer, *other)

    async def _open_there(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = self.socket_there()
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, port))
        return await asyncio.open_connection(sock=made)


async def _join(
    one: asyncio.StreamReader, to_one: asyncio.StreamWriter, two: asyncio.StreamReader, to_two: asyncio.StreamWriter
) -> None:
    await asyncio.gather(_pump(one, to_two), _pump(two, to_one))
    to_one.close()
    to_two.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def main(pid: int, api_port: int, egress: str, service_address: str, up: str, *way: str) -> None:
    """Listen until the process is ended."""
    gateway = Gateway(pid, api_port)
    listener = gateway.socket_there()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((service_address, 443))
    api = await asyncio.start_server(gateway.to_apiserver, sock=listener)
    node = await asyncio.start_unix_server(gateway.to_node, egress.replace("@", "\0", 1))
    listening = [api, node]
    if way:
        here, there = map(int, way)
        listening.append(await asyncio.start_server(partial(gateway.to_port, there), "127.0.0.1", here))
    await asyncio.to_thread(Path(up).touch)
    await asyncio.gather(*(listener.serve_forever() for listener in listening))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], *sys.argv[6:]))
