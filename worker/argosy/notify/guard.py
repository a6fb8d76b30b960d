"""Which addresses a tenant may have argosy call: public ones only, so that nobody reaches a network, or a cloud's metadata, through it.

A name is resolved once, and the connection goes to the addresses that were checked: a name that resolves to something else a moment later
changes nothing. What an operator lists by name is not checked, because he knows his network.
"""

import asyncio
import socket
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from argosy.errors import InvalidRequest

_ODD = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10")))
"""IPv6 addresses that lead to an IPv4 address, by NAT64, 6to4 or Teredo, and the old private ones."""


_THREADS = 8


class Forbidden(InvalidRequest):
    """An address that may not be called."""


def public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    odd = isinstance(found, IPv6Address) and any(found in network for network in _ODD)
    return found.is_global and not (found.is_multicast or found.is_reserved or odd)


def check_literal(host: str) -> None:
    """Check a host that may be an IP address, because nobody resolves that.

    Raises:
        Forbidden: It is one, and not a public one.
    """
    try:
        good = public(host)
    except ValueError:
        good = not _is_number(host)
    if not good:
        raise Forbidden(f"{host} is not a public address")


def _is_number(host: str) -> bool:
    """Whether it is another way to write an IPv4 address, such as 2130706433 or 0x7f.1."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


class Resolver(AbstractResolver):
    """Resolves names to public addresses only. It has threads of its own, because a name server may be slow for as long as it likes, and
    the process's threads work with the database.

    Args:
        trusted: Names that an operator vouches for, wherever they lead.
    """

    def __init__(self, trusted: Collection[str]) -> None:
        self._trusted = trusted
        self._threads = ThreadPoolExecutor(_THREADS, "resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            Forbidden: One of them is not public.
            OSError: The name does not resolve.
        """
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        addresses = [str(address[0]) for *_, address in answers]
        if host not in self._trusted and not all(map(public, addresses)):
            raise Forbidden(f"{host} leads into a network that is not public")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for (kind, *_), address in zip(answers, addresses, strict=True)
        ]

    async def close(self) -> None:
        """Close it; a name server that is still waited for is left alone."""
        self._threads.shutdown(wait=False, cancel_futures=True)
