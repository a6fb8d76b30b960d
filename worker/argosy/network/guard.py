"""Which addresses argosy connects to on somebody's word: hosts of clusters, the platform, uploads, webhooks. One guard for all, so that
nobody reaches this machine, a private network or a cloud's metadata through argosy (T15).

A name is resolved once, and the connection goes to the addresses that were checked: a name that leads elsewhere a moment later changes
nothing. An address is judged by its value and not by its spelling, because `0x7f.1` and `::ffff:127.0.0.1` are 127.0.0.1, too. What an
operator lists by name may be on this machine and be asked by plain http, because he knows his network.
"""

import asyncio
import socket
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from argosy.errors import InvalidRequest

_NAT64 = IPv6Network("64:ff9b::/96")
"""Its last four bytes are the IPv4 address that it leads to."""

_NEVER = tuple(
    map(
        ip_network,
        (
            *(
                "0.0.0.0/8",
                "169.254.0.0/16",
                "192.0.0.0/24",
                "224.0.0.0/4",
                "255.255.255.255/32",
                "fe80::/10",
                "ff00::/8",
            ),
            # NAT64, 6to4, Teredo and site-local: they lead elsewhere.
            *("64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10"),
            # Metadata at Alibaba, Azure, AWS and Google.
            *("100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32", "fd20:ce::/32"),
        ),
    )
)
"""What nobody means who names a server."""

_THREADS = 64
"""Of one kind. A system's resolver may hold a thread for 30 s after its request was given up at 10: three times as many as are under way at
once (notify/sender.py), or names of one tenant keep another's from being resolved."""

Found = tuple[socket.AddressFamily, str]
"""An address of a name."""


class ForbiddenAddress(InvalidRequest):
    """An address that may not be connected to."""


class Zone(Enum):
    """Where an address is."""

    PUBLIC = auto()
    PRIVATE = auto()
    HERE = auto()
    NEVER = auto()


def zone(address: str) -> Zone:
    """Where an IP address is.

    Raises:
        ValueError: It is not an IP address.
    """
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = IPv4Address(found.packed[-4:]) if found in _NAT64 else found.ipv4_mapped
        found = inner or found
    if found.is_loopback:
        return Zone.HERE
    if (found.version == 6 and found.is_reserved) or any(found in network for network in _NEVER):
        return Zone.NEVER
    return Zone.PUBLIC if found.is_global else Zone.PRIVATE


@dataclass(frozen=True)
class Guard:
    """Where requests of one kind may go.

    Args:
        private: Whether private networks are allowed.
        trusted: Hosts that may be asked by plain http, and lead to private networks and this machine.
        setting: The variable that lists them.
    """

    private: bool
    trusted: Collection[str]
    setting: str

    def check_url(self, url: URL) -> None:
        """Check what an address says of itself, before its name is resolved.

        Raises:
            Forbidden: It may not be asked.
        """
        host = url.raw_host or ""
        if url.scheme != "https" and not (url.scheme == "http" and host in self.trusted):
            raise ForbiddenAddress(
                f"{host or 'the address'}: only https is allowed; hosts that may be asked by plain http are listed in {self.setting}"
            )
        self.check_host(host)

    def check_host(self, host: str) -> None:
        """Check a host that may be an IP address, because nobody resolves that.

        Raises:
            Forbidden: It is one that may not be connected to, or another way to write one, such as 2130706433 or 0x7f.1.
        """
        try:
            self.check(host, host)
        except ValueError:
            if _is_number(host):
                raise ForbiddenAddress(f"{host}: write the IP address as four numbers") from None

    def check(self, host: str, address: str) -> None:
        """Check an address of a host.

        Raises:
            Forbidden: It may not be connected to.
            ValueError: It is not an IP address.
        """
        where = zone(address)
        if where is Zone.NEVER:
            raise ForbiddenAddress(
                f"{host} is, or leads to, an address that is never called (link-local, metadata, multicast, reserved)"
            )
        if where is Zone.PUBLIC or host in self.trusted or (where is Zone.PRIVATE and self.private):
            return
        what = "this machine" if where is Zone.HERE else "a network that is not public"
        raise ForbiddenAddress(
            f"{host} is, or leads to, {what}; hosts for which that is right are listed in {self.setting}"
        )

    def lookup(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> "Future[list[Found]]":
        """Begin to resolve a host: to its addresses, each of them checked.

        In threads of their own, because a name server may be slow for as long as it likes, and the process's threads work with the
        database. The result raises `ForbiddenAddress` if one of the addresses may not be connected to, and OSError if there is none.
        """
        return _threads(self.setting).submit(self._addresses, host, port, family)

    def _addresses(self, host: str, port: int, family: int) -> list[Found]:
        answers = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found: list[Found] = [(kind, str(address[0])) for kind, *_, address in answers]
        for _, address in found:
            self.check(host, address)
        return found


def inside(trusted: Iterable[str] = ()) -> Guard:
    """The guard of what usually is in a private network: clusters, Argo Servers, the platform, uploads."""
    return Guard(True, frozenset(map(str.lower, trusted)), "ARGOSY_TRUSTED_HOSTS")


def outside(trusted: Iterable[str] = ()) -> Guard:
    """The guard of what tenants name: webhooks."""
    return Guard(False, frozenset(map(str.lower, trusted)), "ARGOSY_WEBHOOK_HOSTS")


class Resolver(AbstractResolver):
    """Resolves names for aiohttp. It does not ask about hosts that are IP addresses: check these with `check_url`.

    Args:
        guard: Which addresses may be connected to.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            Forbidden: One of them may not be connected to.
            OSError: The name does not resolve.
        """
        found = await asyncio.wrap_future(self._guard.lookup(host, port, family))
        made = partial(ResolveResult, hostname=host, port=port, proto=0, flags=socket.AI_NUMERICHOST)
        return [made(host=address, family=kind) for kind, address in found]

    async def close(self) -> None:
        """Nothing is to be closed."""


@cache
def _threads(kind: str) -> ThreadPoolExecutor:
    """The threads in which names of one kind are resolved: tenants' slow names delay no cluster's."""
    return ThreadPoolExecutor(_THREADS, f"resolve-{kind.lower()}")


def _is_number(host: str) -> bool:
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True
