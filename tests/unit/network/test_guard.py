"""Which addresses argosy connects to, however they are written."""

import socket
from threading import Event
from typing import Any

import pytest
from yarl import URL

from argosy.network.guard import ForbiddenAddress, Guard, Zone, inside, outside, zone
from argosy.notify import sender

HERE = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1"]
PRIVATE = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "ff05::2"),
    *("169.254.169.254", "169.254.170.23", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "fe80::a9fe:a9fe%eth0"),
    *("192.0.0.192", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    *("2002:7f00:1::", "2001:0:1::", "64:ff9b:1::7f00:1", "fec0::1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
]  # fmt: skip
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]


@pytest.mark.parametrize(
    ("addresses", "where"), [(HERE, Zone.HERE), (PRIVATE, Zone.PRIVATE), (NEVER, Zone.NEVER), (PUBLIC, Zone.PUBLIC)]
)
def test_an_address_is_judged_by_its_value(addresses: list[str], where: Zone) -> None:
    assert {address: zone(address) for address in addresses} == dict.fromkeys(addresses, where)


def refused(guard: object, url: str) -> bool:
    try:
        guard.check_url(URL(url))  # type: ignore[attr-defined]
    except ForbiddenAddress:
        return True
    return False


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://[::1]/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://127.1/",
     "https://017700000001/", "https://[::ffff:127.0.0.1]/", "https://[0:0:0:0:0:ffff:7f00:1]/", "https://①②⑦.⓪.⓪.①/",
     "https://１２７.0.0.1/", "https://127。0。0。1/", "https://169.254.169.254/latest", "https://[fe80::1%25eth0]/", "https://[::]/",
     "https://user:password@127.0.0.1/", "https://0/", "http://example.org/", "ftp://example.org/", "file:///etc/passwd",
     "//example.org/", "/etc/passwd", ""],
)  # fmt: skip
def test_no_spelling_leads_to_this_machine_or_past_tls(url: str) -> None:
    assert refused(inside(), url)
    assert refused(outside(), url)


def test_private_networks_are_for_what_is_usually_there_and_never_for_what_a_tenant_names() -> None:
    assert not refused(inside(), "https://10.1.2.3:6443")
    assert refused(outside(), "https://10.1.2.3:6443")
    assert not refused(outside(), "https://93.184.216.34/")


def test_what_an_operator_lists_may_be_here_and_in_the_clear_but_is_never_metadata() -> None:
    for guard in (inside(["LocalHost", "127.0.0.1"]), outside(["LocalHost", "127.0.0.1"])):
        assert not refused(guard, "http://localhost:8080/rest")
        assert not refused(guard, "http://127.0.0.1:8080/rest")
        guard.check("localhost", "127.0.0.1")
        assert refused(guard, "http://127.0.0.2/")
        with pytest.raises(ForbiddenAddress, match="never called"):
            guard.check("localhost", "169.254.169.254")
    assert refused(inside(["169.254.169.254"]), "http://169.254.169.254/latest")


def test_the_reason_says_which_setting_lists_hosts() -> None:
    with pytest.raises(ForbiddenAddress, match=r"10\.0\.0\.1 .* not public; .* ARGOSY_WEBHOOK_HOSTS"):
        outside().check_url(URL("https://10.0.0.1/"))
    with pytest.raises(ForbiddenAddress, match=r"platform: only https .* ARGOSY_TRUSTED_HOSTS"):
        inside().check_url(URL("http://platform/"))


def test_names_that_hang_keep_no_other_from_being_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a hostile reader: one tenant's webhooks with a silent name server had all threads, three times as long as a try takes."""
    go_on, real = Event(), socket.getaddrinfo

    def hanging(host: str, *given: Any, **named: Any) -> Any:
        if host == "hangs.example":
            go_on.wait(60)
            raise OSError
        return real(host, *given, **named)

    monkeypatch.setattr("socket.getaddrinfo", hanging)
    guard = Guard(True, {"localhost"}, "a test")
    try:
        for _ in range(3 * sender._AT_ONCE):
            guard.lookup("hangs.example", 443)
        assert guard.lookup("localhost", 443).result(30)
    finally:
        go_on.set()
